//! `TokenStream` and `TextStream`.

use std::sync::Arc;

use arrayvec::ArrayString;
use parking_lot::Mutex;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::at_hand::Take;
use super::callables::{Answerer, Slot};
use super::chunk::chunk;
use super::generation::Generation;
use super::logprobs::{self, Likely};
use super::options;
use super::source::{Awaited as _, Stream, source_class};
use crate::model::{Handle, Poll, Source as _, stream};
use crate::protocol::error::Failure;

/// A stream of the chunks of an answer; `RKLLM.stream` returns it.
///
/// Iterate with `for` or `async for`. Both yield `Chunk` objects until the run ends, and raise the errors of
/// `result()`. A stream keeps its model open. Its run ends early if the stream is closed, by `close()` or at
/// the end of a `with` block, or if nothing refers to it any more.
///
/// Read it from one thread or task at a time. `cancel()` and `close()` may be called from any thread.
#[pyclass(module = "rkllm_rs", frozen, weakref)]
pub(super) struct TokenStream {
    /// Locked for moments only, never while waiting, and never while Python objects are made or
    /// dropped: both can run the program's code, which may come here again.
    stream: Mutex<stream::TokenStream>,
    handle: Handle,
    answerer: Answerer,
    /// Called with each chunk before it is handed out.
    on_token: Slot,
    /// Makes the value of the answer.
    parse: Slot,
    /// Whether chunks tell how likely their tokens are.
    logprobs: bool,
}

/// Nearly all pieces of text are shorter: copying them takes less time than asking for memory.
const SHORT: usize = 32;

impl TokenStream {
    pub(super) fn new(
        stream: stream::TokenStream,
        answerer: Answerer,
        on_token: Option<Py<PyAny>>,
        parse: Option<Py<PyAny>>,
    ) -> Self {
        let handle = stream.handle().clone();
        let logprobs = stream.logprobs().is_some();
        Self {
            stream: Mutex::new(stream),
            handle,
            answerer,
            on_token: Slot::new(on_token),
            parse: Slot::new(parse),
            logprobs,
        }
    }

    /// The next piece if there is one. It is copied, so that `make` turns it into an object when the
    /// lock is free again.
    #[inline]
    fn poll<T>(&self, make: impl FnOnce(&str, i32, Likely) -> T) -> Poll<T> {
        let mut short = ArrayString::<SHORT>::new();
        let mut stream = self.stream.lock();
        let (text, id) = match stream.poll_piece() {
            Poll::Ready(piece) => piece,
            Poll::Nothing => return Poll::Nothing,
            Poll::Ended(outcome) => return Poll::Ended(outcome),
        };
        if short.try_push_str(text).is_ok() {
            let likely = logprobs::new(self.logprobs, &mut stream);
            drop(stream);
            return Poll::Ready(make(&short, id, likely));
        }
        let long = text.to_owned();
        let likely = logprobs::new(self.logprobs, &mut stream);
        drop(stream);
        Poll::Ready(make(&long, id, likely))
    }

    /// [`Self::poll`] for a run with `on_token`, which is told first. What that raises ends the run.
    #[cold]
    fn poll_told<T>(
        &self,
        py: Python<'_>,
        on_token: &Py<PyAny>,
        make: impl FnOnce(&str, i32, Likely) -> T,
    ) -> PyResult<Poll<T>> {
        let owned = |text: &str, id, likely| (text.to_owned(), id, likely);
        let (text, id, likely) = match self.poll(owned) {
            Poll::Ready(piece) => piece,
            Poll::Nothing => return Ok(Poll::Nothing),
            Poll::Ended(outcome) => return Ok(Poll::Ended(outcome)),
        };
        let chunk = chunk(py, &text, id, likely.as_deref())?;
        self.answerer
            .desk
            .in_callback(|| on_token.call1(py, (chunk,)))
            .inspect_err(|_| self.handle.cancel())?;
        Ok(Poll::Ready(make(&text, id, likely)))
    }

    /// [`Self::poll`], past `on_token` where there is one.
    #[inline]
    fn pass<T>(
        &self,
        py: Python<'_>,
        make: impl FnOnce(&str, i32, Likely) -> T,
    ) -> PyResult<Poll<T>> {
        match self.on_token.get(py) {
            None => Ok(self.poll(make)),
            Some(on_token) => self.poll_told(py, &on_token, make),
        }
    }

    #[cold]
    fn ended(&self, py: Python<'_>, outcome: Result<(), Arc<Failure>>) -> PyResult<()> {
        match outcome {
            Ok(()) => {
                super::vendor_log::pass_on(py);
                Ok(())
            }
            Err(error) => Err(self.fail(py, &error)),
        }
    }

    fn fail(&self, py: Python<'_>, error: &Failure) -> PyErr {
        self.failed(py, error, || {
            let stream = self.stream.lock();
            let (text, ids) = stream.so_far();
            let logprobs = stream.logprobs().map(<[_]>::to_vec);
            drop(stream);
            Generation::partial(py, text, ids, logprobs)
        })
    }

    /// Waits for the next piece; `None` at the end of the run.
    #[inline]
    fn next<T>(
        &self,
        py: Python<'_>,
        mut make: impl FnMut(&str, i32, Likely) -> T,
    ) -> PyResult<Option<T>> {
        loop {
            match self.pass(py, &mut make)? {
                Poll::Ready(item) => return Ok(Some(item)),
                Poll::Ended(outcome) => return self.ended(py, outcome).map(|()| None),
                Poll::Nothing => self.wait(py)?,
            }
        }
    }

    /// Waits until there is something to read; a signal cancels the run and raises.
    pub(super) fn wait(&self, py: Python<'_>) -> PyResult<()> {
        self.answerer.wait(py, &self.handle)
    }

    /// Answers what the library asks; what the callable raises ends the run.
    #[inline]
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        self.answerer.serve(py, Some(&self.handle))
    }

    /// The whole answer if the run has ended.
    fn finished(&self, py: Python<'_>) -> PyResult<Option<Generation>> {
        if self.on_token.get(py).is_some() {
            // Every chunk must pass by it.
            loop {
                match self.pass(py, |_, _, _| ())? {
                    Poll::Ready(()) => {}
                    Poll::Nothing => return self.serve(py).map(|()| None),
                    Poll::Ended(_) => break,
                }
            }
        }
        match super::detach(py, || self.stream.lock().generation()) {
            Some(Ok(generation)) => {
                self.ended(py, Ok(()))?;
                Generation::new(py, &generation, self.parse.get(py)).map(Some)
            }
            Some(Err(error)) => Err(self.fail(py, &error)),
            None => self.serve(py).map(|()| None),
        }
    }

    /// The next piece, or `None` when one has to be waited for.
    fn poll_async<T>(
        &self,
        py: Python<'_>,
        make: impl FnOnce(&str, i32, Likely) -> T,
    ) -> PyResult<Option<T>> {
        match self.pass(py, make)? {
            Poll::Ready(item) => Ok(Some(item)),
            Poll::Nothing => {
                self.serve(py)?;
                Ok(None)
            }
            Poll::Ended(outcome) => {
                self.ended(py, outcome)?;
                Err(PyStopAsyncIteration::new_err(()))
            }
        }
    }
}

impl Stream for TokenStream {
    fn handle(&self) -> &Handle {
        &self.handle
    }
    fn answerer(&self) -> &Answerer {
        &self.answerer
    }
    fn on_token(&self) -> Option<&Slot> {
        Some(&self.on_token)
    }
    fn parse(&self) -> Option<&Slot> {
        Some(&self.parse)
    }
    fn at_hand(&self) -> Option<Take> {
        let take: Take = |stream| {
            let py = stream.py();
            let this = stream.cast::<Self>()?.get();
            let chunk = this.poll_async(py, |text, id, likely| {
                chunk(py, text, id, likely.as_deref())
            })?;
            chunk.transpose()
        };
        Some(take)
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.answerer.forget(&self.handle);
    }
}

source_class! {
    stream TokenStream {
        fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
            self.next(py, |text, id, likely| chunk(py, text, id, likely.as_deref()))?.transpose()
        }

        /// The next chunk, `None` if it has to be waited for; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
            self.poll_async(py, |text, id, likely| chunk(py, text, id, likely.as_deref()))?
                .transpose()
        }

        /// Returns the same stream, yielding plain `str`.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn texts(
            slf: Py<Self>,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<TextStream> {
            options::refuse(py, "TokenStream.texts", &[], surplus, unknown)?;
            Ok(TextStream { stream: slf })
        }

        /// Waits for the end of the run and returns the whole answer, including chunks already read.
        ///
        /// Chunks that were not read are consumed: iteration ends after this.
        ///
        /// Raises:
        ///     GenerationError: The run failed; `log` has the lines of the library.
        ///     GenerationTimeout: The time limit has passed; `partial` has the answer so far.
        ///     ContextLengthError: The prompt does not fit into the context window.
        ///     ClosedError: The model was closed before the run ended.
        ///     ForkedProcessError: The run was started before `fork()`.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn result(
            &self,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<Generation> {
            options::refuse(py, "TokenStream.result", &[], surplus, unknown)?;
            loop {
                match self.finished(py)? {
                    Some(generation) => return Ok(generation),
                    None => self.wait(py)?,
                }
            }
        }

        /// Whether `result` takes longer than an event loop should wait: never.
        #[allow(clippy::unused_self, reason = "as that of ArrayStream")]
        fn _is_long(&self) -> bool {
            false
        }

        /// The whole answer in a tuple if the run has ended; for the event loop.
        fn _finished(&self, py: Python<'_>) -> PyResult<Option<(Generation,)>> {
            Ok(self.finished(py)?.map(|generation| (generation,)))
        }

        fn __repr__(&self) -> String {
            let (text, ids) = self.stream.lock().so_far();
            format!(
                "<rkllm_rs.TokenStream: {} tokens, {} characters{}>",
                ids.len(),
                text.chars().count(),
                if self.handle.has_ended() {
                    ""
                } else {
                    " so far"
                },
            )
        }
    }
}

/// A `TokenStream` that yields plain `str`; `TokenStream.texts` returns it.
///
/// Both share one run: a chunk read from one is not yielded by the other.
///
/// Read it from one thread or task at a time. `cancel()` and `close()` may be called from any thread.
#[pyclass(module = "rkllm_rs", frozen, weakref)]
pub(super) struct TextStream {
    stream: Py<TokenStream>,
}

impl Stream for TextStream {
    fn handle(&self) -> &Handle {
        &self.stream.get().handle
    }
    fn answerer(&self) -> &Answerer {
        &self.stream.get().answerer
    }
    fn at_hand(&self) -> Option<Take> {
        let take: Take = |stream| {
            let py = stream.py();
            let this = stream.cast::<Self>()?.get().stream.get();
            let text = this.poll_async(py, |text, _, _| PyString::new(py, text).unbind())?;
            Ok(text.map(Py::into_any))
        };
        Some(take)
    }
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)
    }
}

source_class! {
    stream TextStream {
        fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
            self.stream
                .get()
                .next(py, |text, _, _| PyString::new(py, text).unbind())
        }

        /// The next text, `None` if it has to be waited for; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
            self.stream
                .get()
                .poll_async(py, |text, _, _| PyString::new(py, text).unbind())
        }

        /// Waits for the end of the run and returns the whole answer, including chunks already read.
        ///
        /// Chunks that were not read are consumed: iteration ends after this.
        ///
        /// Raises:
        ///     GenerationError: The run failed; `log` has the lines of the library.
        ///     GenerationTimeout: The time limit has passed; `partial` has the answer so far.
        ///     ContextLengthError: The prompt does not fit into the context window.
        ///     ClosedError: The model was closed before the run ended.
        ///     ForkedProcessError: The run was started before `fork()`.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn result(
            &self,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<Generation> {
            options::refuse(py, "TextStream.result", &[], surplus, unknown)?;
            self.stream.get().result(py, surplus, unknown)
        }

        fn __repr__(&self) -> String {
            self.stream.get().__repr__().replacen("Token", "Text", 1)
        }
    }
}

//! `TokenStream` and `TextStream`.

use std::sync::Arc;

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::attached::Attached;
use super::awaited_item::Take;
use super::c_class;
use super::callables::{Answerer, Slot};
use super::chunk::chunk;
use super::generation::Generation;
use super::iteration::Iterated;
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
#[pyclass(module = "rkllm_rs", frozen, weakref, subclass)]
pub(super) struct TokenStream {
    stream: Attached<stream::TokenStream>,
    handle: Handle,
    answerer: Answerer,
    /// Called with each chunk before it is handed out.
    on_token: Slot,
    /// Makes the value of the answer.
    parse: Slot,
    /// Whether chunks tell how likely their tokens are.
    logprobs: bool,
    /// Whether a piece is handed out without further ado.
    plain: bool,
}

/// A piece of text, its token, and how likely that is.
type Piece<'py> = (Bound<'py, PyString>, i32, Likely);

/// A piece as a chunk.
#[inline]
fn made((text, id, likely): Piece<'_>) -> PyResult<Py<PyAny>> {
    chunk(text, id, likely.as_deref())
}

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
            plain: !logprobs && on_token.is_none(),
            stream: Attached::new(stream),
            handle,
            answerer,
            on_token: Slot::new(on_token),
            parse: Slot::new(parse),
            logprobs,
        }
    }

    /// The next piece if there is one.
    #[inline]
    fn poll<'py>(&self, py: Python<'py>) -> Poll<Piece<'py>> {
        self.stream.with(py, |stream| match stream.poll_piece() {
            // Making a string runs none of the program's code.
            Poll::Ready((text, id)) => {
                let text = PyString::new(py, text);
                Poll::Ready((text, id, logprobs::new(self.logprobs, stream)))
            }
            Poll::Nothing => Poll::Nothing,
            Poll::Ended(outcome) => Poll::Ended(outcome),
        })
    }

    /// Tells `on_token` of a piece. What that raises ends the run.
    #[cold]
    fn tell(&self, on_token: &Bound<'_, PyAny>, (text, id, likely): &Piece<'_>) -> PyResult<()> {
        let chunk = chunk(text.clone(), *id, likely.as_deref())?;
        self.answerer
            .desk
            .in_callback(|| on_token.call1((chunk,)))
            .inspect_err(|_| self.handle.cancel())?;
        Ok(())
    }

    /// [`Self::poll`], past `on_token` where there is one.
    #[inline]
    fn pass<'py>(&self, py: Python<'py>) -> PyResult<Poll<Piece<'py>>> {
        let found = self.poll(py);
        if let (Some(on_token), Poll::Ready(piece)) = (self.on_token.get(py), &found) {
            self.tell(on_token.bind(py), piece)?;
        }
        Ok(found)
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
            let ((text, ids), logprobs) = self.stream.with(py, |stream| {
                (stream.so_far(), stream.logprobs().map(<[_]>::to_vec))
            });
            Generation::partial(py, text, ids, logprobs)
        })
    }

    /// What `hand_out` makes of the next text and its token, where nothing else is to be done for them. Does not
    /// panic; if there is no memory, the piece is not lost.
    #[inline]
    pub(super) fn ready<'py>(
        &self,
        py: Python<'py>,
        hand_out: impl FnOnce(Bound<'py, PyString>, i32) -> Option<Bound<'py, PyAny>>,
    ) -> Option<Bound<'py, PyAny>> {
        if !self.plain {
            return None;
        }
        // Making a string or a chunk runs none of the program's code.
        let made = self.stream.try_with(py, |stream| {
            stream.at_hand(|text, id| hand_out(c_class::string(py, text)?, id))
        });
        made.flatten()
    }

    /// Waits for the next piece; `None` at the end of the run.
    #[cold]
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Piece<'py>>> {
        loop {
            match self.pass(py)? {
                Poll::Ready(piece) => return Ok(Some(piece)),
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
                match self.pass(py)? {
                    Poll::Ready(_) => {}
                    Poll::Nothing => return self.serve(py).map(|()| None),
                    Poll::Ended(_) => break,
                }
            }
        }
        match self.stream.with(py, stream::TokenStream::generation) {
            Some(Ok(generation)) => {
                self.ended(py, Ok(()))?;
                Generation::new(py, &generation, self.parse.get(py)).map(Some)
            }
            Some(Err(error)) => Err(self.fail(py, &error)),
            None => self.serve(py).map(|()| None),
        }
    }

    /// The next piece, or `None` when one has to be waited for.
    #[cold]
    fn poll_async<'py>(&self, py: Python<'py>) -> PyResult<Option<Piece<'py>>> {
        match self.pass(py)? {
            Poll::Ready(piece) => Ok(Some(piece)),
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
    fn taker(&self) -> Option<Take> {
        let take: Take = |stream| {
            let py = stream.py();
            let this = stream.cast::<Self>()?.get();
            match this.at_hand(py) {
                Some(chunk) => Ok(Some(chunk.unbind())),
                None => this.poll_async(py)?.map(made).transpose(),
            }
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
            self.next(py)?.map(made).transpose()
        }

        /// The next chunk, `None` if it has to be waited for; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
            self.poll_async(py)?.map(made).transpose()
        }

        /// Returns the same stream, yielding plain `str`.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn texts<'py>(
            slf: Py<Self>,
            py: Python<'py>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<Bound<'py, TextStream>> {
            options::refuse(py, "TokenStream.texts", &[], surplus, unknown)?;
            TextStream { stream: slf }.object(py)
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

        fn __repr__(&self, py: Python<'_>) -> String {
            let (text, ids) = self.stream.with(py, |stream| stream.so_far());
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
#[pyclass(module = "rkllm_rs", frozen, weakref, subclass)]
pub(super) struct TextStream {
    pub(super) stream: Py<TokenStream>,
}

impl Stream for TextStream {
    fn handle(&self) -> &Handle {
        &self.stream.get().handle
    }
    fn answerer(&self) -> &Answerer {
        &self.stream.get().answerer
    }
    fn taker(&self) -> Option<Take> {
        let take: Take = |stream| {
            let py = stream.py();
            let this = stream.cast::<Self>()?.get();
            let text = match this.at_hand(py) {
                Some(text) => Some(text),
                None => this
                    .stream
                    .get()
                    .poll_async(py)?
                    .map(|(text, _, _)| text.into_any()),
            };
            Ok(text.map(Bound::unbind))
        };
        Some(take)
    }
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)
    }
}

source_class! {
    stream TextStream {
        fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
            Ok(self.stream.get().next(py)?.map(|(text, _, _)| text))
        }

        /// The next text, `None` if it has to be waited for; for the event loop.
        fn _poll<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
            Ok(self.stream.get().poll_async(py)?.map(|(text, _, _)| text))
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

        fn __repr__(&self, py: Python<'_>) -> String {
            self.stream.get().__repr__(py).replacen("Token", "Text", 1)
        }
    }
}

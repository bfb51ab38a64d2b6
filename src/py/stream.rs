//! `TokenStream` and `TextStream`.

use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyStopAsyncIteration};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use spin::Mutex;

use super::callables::Answerer;
use super::errors::with_partial;
use super::outputs::{Chunk, Generation};
use crate::error::Error;
use crate::output;
use crate::stream::{self, Poll, StreamHandle};

/// The tokens of a run as they come; `RKLLM.stream` makes it.
///
/// Iterate with `for` or `async for`: both give `Chunk`s and end with the run. A stream that nothing
/// refers to any more cancels its run. Iteration raises what `result` raises.
#[pyclass(module = "rkllm_rs", frozen, weakref)]
pub(super) struct TokenStream {
    /// Locked for moments only, never while waiting; this kind of lock costs half of another's.
    stream: Mutex<stream::TokenStream>,
    handle: StreamHandle,
    answerer: Answerer,
    /// Called with each chunk before it is handed out.
    on_token: Option<Py<PyAny>>,
}

impl TokenStream {
    pub(super) fn new(
        stream: stream::TokenStream,
        answerer: Answerer,
        on_token: Option<Py<PyAny>>,
    ) -> Self {
        let handle = stream.handle().clone();
        Self {
            stream: Mutex::new(stream),
            handle,
            answerer,
            on_token,
        }
    }

    /// The next piece if there is one; `make` turns it into an object while the text is at hand.
    #[inline]
    fn poll<T>(&self, make: impl FnOnce(&str, i32) -> T) -> Poll<T> {
        match self.stream.lock().poll() {
            Poll::Ready((text, id)) => Poll::Ready(make(text, id)),
            Poll::Nothing => Poll::Nothing,
            Poll::Ended(outcome) => Poll::Ended(outcome),
        }
    }

    /// [`Self::poll`] for a run with `on_token`: told when the lock is free, since the callable may do
    /// anything with the stream. What it raises ends the run.
    #[cold]
    fn poll_told<T>(
        &self,
        py: Python<'_>,
        on_token: &Py<PyAny>,
        make: impl FnOnce(&str, i32) -> T,
    ) -> PyResult<Poll<T>> {
        let (text, id) = match self.poll(|text, id| (text.to_owned(), id)) {
            Poll::Ready(piece) => piece,
            Poll::Nothing => return Ok(Poll::Nothing),
            Poll::Ended(outcome) => return Ok(Poll::Ended(outcome)),
        };
        let chunk = chunk(py, &text, id)?;
        self.answerer
            .desk
            .in_callback(|| on_token.call1(py, (chunk,)))
            .inspect_err(|_| self.handle.cancel())?;
        Ok(Poll::Ready(make(&text, id)))
    }

    /// [`Self::poll`], past `on_token` where there is one.
    #[inline]
    fn pass<T>(&self, py: Python<'_>, make: impl FnOnce(&str, i32) -> T) -> PyResult<Poll<T>> {
        match &self.on_token {
            None => Ok(self.poll(make)),
            Some(on_token) => self.poll_told(py, on_token, make),
        }
    }

    fn arm(&self) -> PyResult<Option<i32>> {
        self.stream
            .lock()
            .arm()
            .map_err(|error| PyOSError::new_err(error.to_string()))
    }

    #[cold]
    fn ended(&self, py: Python<'_>, outcome: Result<(), Arc<Error>>) -> PyResult<()> {
        match outcome {
            Ok(()) => {
                super::vendor_log::pass_on(py);
                Ok(())
            }
            Err(error) => Err(self.fail(py, &error)),
        }
    }

    fn fail(&self, py: Python<'_>, error: &Arc<Error>) -> PyErr {
        super::vendor_log::pass_on(py);
        if let Some(raised) = self.answerer.raised(&self.handle) {
            return raised;
        }
        with_partial(py, error, || {
            let stream = self.stream.lock();
            let (text, ids) = stream.so_far();
            let perf = output::PerfStats {
                tokens: ids.len(),
                ..Default::default()
            };
            Ok(Py::new(py, Generation::of(py, &text, &ids, "cancelled", perf)?)?.into_any())
        })
    }

    /// Waits for the next piece; `None` at the end of the run.
    #[inline]
    fn next<T>(&self, py: Python<'_>, mut make: impl FnMut(&str, i32) -> T) -> PyResult<Option<T>> {
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
        if self.on_token.is_some() {
            // Every chunk must pass by it.
            loop {
                match self.pass(py, |_, _| ())? {
                    Poll::Ready(()) => {}
                    Poll::Nothing => return self.serve(py).map(|()| None),
                    Poll::Ended(_) => break,
                }
            }
        }
        match super::detach(py, || self.stream.lock().generation()) {
            Some(Ok(generation)) => {
                self.ended(py, Ok(()))?;
                Generation::new(py, &generation).map(Some)
            }
            Some(Err(error)) => Err(self.fail(py, &error)),
            None => self.serve(py).map(|()| None),
        }
    }

    /// The next piece, or `None` when one has to be waited for.
    fn poll_async<T>(
        &self,
        py: Python<'_>,
        make: impl FnOnce(&str, i32) -> T,
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

pub(super) fn chunk(py: Python<'_>, text: &str, token_id: i32) -> PyResult<Py<Chunk>> {
    Py::new(
        py,
        Chunk {
            text: PyString::new(py, text).unbind(),
            token_id,
        },
    )
}

/// The coroutine that waits for the next item of `stream`.
pub(super) fn wait_async<'py>(
    py: Python<'py>,
    stream: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    static NEXT_ITEM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    NEXT_ITEM
        .import(py, "rkllm_rs._aio", "next_item")?
        .call1((stream,))
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        // Nobody will ask for it any more, and its traceback may hold the model.
        drop(self.answerer.raised(&self.handle));
    }
}

#[pymethods]
impl TokenStream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<Chunk>>> {
        self.next(py, |text, id| chunk(py, text, id))?.transpose()
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        wait_async(slf.py(), slf.as_any())
    }

    /// The next chunk, `None` if it has to be waited for; for the event loop.
    fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<Chunk>>> {
        self.poll_async(py, |text, id| chunk(py, text, id))?
            .transpose()
    }

    /// Whether questions may come that the loop must look for.
    #[getter]
    fn _asks(&self) -> bool {
        self.answerer.any()
    }

    /// A descriptor that becomes readable when something comes; `None` if it is there already.
    fn _arm(&self) -> PyResult<Option<i32>> {
        self.arm()
    }

    /// The same stream, giving plain `str`.
    fn texts(slf: Py<Self>) -> TextStream {
        TextStream { stream: slf }
    }

    /// Ends the run (`rkllm_abort`), from any thread; again, or after the end, it does nothing.
    ///
    /// Iteration then ends normally, and the finish reason is "cancelled".
    fn cancel(&self, py: Python<'_>) {
        super::detach(py, || self.handle.cancel());
    }

    /// Waits for the end and gives the whole answer, pieces that were read before included.
    ///
    /// Pieces not yet read are taken away: iteration ends after this.
    ///
    /// Raises:
    ///     GenerationError: The run failed; `log` has the library's own lines.
    ///     GenerationTimeout: The deadline passed; `partial` has what came.
    ///     ContextLengthError: More tokens than the context window holds.
    ///     ForkedProcessError: The run was started before `fork()`.
    fn result(&self, py: Python<'_>) -> PyResult<Generation> {
        loop {
            match self.finished(py)? {
                Some(generation) => return Ok(generation),
                None => self.wait(py)?,
            }
        }
    }

    /// The whole answer in a tuple if the run has ended; for the event loop.
    fn _finished(&self, py: Python<'_>) -> PyResult<Option<(Generation,)>> {
        Ok(self.finished(py)?.map(|generation| (generation,)))
    }

    fn __repr__(&self) -> String {
        let stream = self.stream.lock();
        let (text, ids) = stream.so_far();
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

/// A `TokenStream` that gives plain `str`; `TokenStream.texts` makes it.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct TextStream {
    stream: Py<TokenStream>,
}

#[pymethods]
impl TextStream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
        self.stream
            .get()
            .next(py, |text, _| PyString::new(py, text).unbind())
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        wait_async(slf.py(), slf.as_any())
    }

    /// The next text, `None` if it has to be waited for; for the event loop.
    fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
        self.stream
            .get()
            .poll_async(py, |text, _| PyString::new(py, text).unbind())
    }

    /// Whether questions may come that the loop must look for.
    #[getter]
    fn _asks(&self) -> bool {
        self.stream.get().answerer.any()
    }

    /// A descriptor that becomes readable when something comes; `None` if it is there already.
    fn _arm(&self) -> PyResult<Option<i32>> {
        self.stream.get().arm()
    }

    /// Ends the run (`rkllm_abort`), from any thread; again, or after the end, it does nothing.
    ///
    /// Iteration then ends normally, and the finish reason is "cancelled".
    fn cancel(&self, py: Python<'_>) {
        self.stream.get().cancel(py);
    }

    /// Waits for the end and gives the whole answer, pieces that were read before included.
    ///
    /// Pieces not yet read are taken away: iteration ends after this.
    ///
    /// Raises:
    ///     GenerationError: The run failed; `log` has the library's own lines.
    ///     GenerationTimeout: The deadline passed; `partial` has what came.
    ///     ContextLengthError: More tokens than the context window holds.
    ///     ForkedProcessError: The run was started before `fork()`.
    fn result(&self, py: Python<'_>) -> PyResult<Generation> {
        self.stream.get().result(py)
    }

    fn __repr__(&self) -> String {
        self.stream.get().__repr__().replacen("Token", "Text", 1)
    }
}

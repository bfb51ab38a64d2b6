//! `ChatStream` and `ChatTexts`.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::answers::{ChatAnswer, ChatDelta};
use super::callables::{Answerer, Slot};
use super::options;
use super::source::{Awaited as _, Stream, source_class};
use crate::chat;
use crate::model::{Handle, Poll, Source as _};
use crate::protocol::error::Failure;

/// A stream of the answer of a chat; `RKLLM.chat_stream` returns it.
///
/// Iterate with `for` or `async for`. Both yield `ChatDelta` objects until the answer ends, and raise the
/// errors of `result()`. A stream keeps its model open. Its run ends early if the stream is closed, by
/// `close()` or at the end of a `with` block, or if nothing refers to it any more.
///
/// Read it from one thread or task at a time. `cancel()` and `close()` may be called from any thread.
#[pyclass(module = "rkllm_rs", frozen, weakref)]
pub(super) struct ChatStream {
    /// Locked for moments only, as that of `TokenStream`.
    stream: Mutex<chat::ChatStream>,
    runs: chat::Runs,
    answerer: Answerer,
    /// Called with each delta before it is handed out.
    on_token: Slot,
    /// Makes the value of the answer.
    parse: Slot,
}

impl ChatStream {
    pub(super) fn new(
        stream: chat::ChatStream,
        answerer: Answerer,
        on_token: Option<Py<PyAny>>,
        parse: Option<Py<PyAny>>,
    ) -> Self {
        Self {
            runs: stream.runs().clone(),
            stream: Mutex::new(stream),
            answerer,
            on_token: Slot::new(on_token),
            parse: Slot::new(parse),
        }
    }

    /// The next delta if there is one, past `on_token` where that is given. What it raises ends the run.
    fn poll(&self, py: Python<'_>) -> PyResult<Poll<Py<ChatDelta>>> {
        let (found, likely) = {
            let mut stream = self.stream.lock();
            let found = stream.poll();
            let is_there = matches!(found, Poll::Ready(_));
            let likely = is_there.then(|| stream.new_logprobs()).flatten();
            (found, likely)
        };
        let delta = match found {
            Poll::Ready(delta) => Py::new(py, ChatDelta::new(py, delta, likely.as_deref())?)?,
            Poll::Nothing => return Ok(Poll::Nothing),
            Poll::Ended(outcome) => return Ok(Poll::Ended(outcome)),
        };
        if let Some(on_token) = self.on_token.get(py) {
            self.answerer
                .desk
                .in_callback(|| on_token.call1(py, (delta.clone_ref(py),)))
                .inspect_err(|_| self.runs.cancel())?;
        }
        Ok(Poll::Ready(delta))
    }

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
            let partial = self.stream.lock().partial();
            Ok(Py::new(py, ChatAnswer::new(py, partial, None)?)?.into_any())
        })
    }

    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        self.answerer.wait(py, self.runs.handle())
    }

    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        self.answerer.serve(py, Some(self.runs.handle()))
    }

    /// The next delta, `None` at the end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Py<ChatDelta>>> {
        loop {
            match self.poll(py)? {
                Poll::Ready(delta) => return Ok(Some(delta)),
                Poll::Ended(outcome) => return self.ended(py, outcome).map(|()| None),
                Poll::Nothing => self.wait(py)?,
            }
        }
    }

    /// The next delta, or `None` when one has to be waited for.
    fn poll_async(&self, py: Python<'_>) -> PyResult<Option<Py<ChatDelta>>> {
        match self.poll(py)? {
            Poll::Ready(delta) => Ok(Some(delta)),
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

    /// The whole answer if it has ended.
    fn finished(&self, py: Python<'_>) -> PyResult<Option<ChatAnswer>> {
        if self.on_token.get(py).is_some() {
            // Every delta must pass by it.
            loop {
                match self.poll(py)? {
                    Poll::Ready(_) => {}
                    Poll::Nothing => return self.serve(py).map(|()| None),
                    Poll::Ended(_) => break,
                }
            }
        }
        match super::detach(py, || self.stream.lock().answer()) {
            Some(Ok(answer)) => {
                self.ended(py, Ok(()))?;
                ChatAnswer::new(py, answer, self.parse.get(py)).map(Some)
            }
            Some(Err(error)) => Err(self.fail(py, &error)),
            None => self.serve(py).map(|()| None),
        }
    }
}

impl Stream for ChatStream {
    fn handle(&self) -> &Handle {
        self.runs.handle()
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
    fn end(&self) {
        self.runs.cancel();
    }
}

impl Drop for ChatStream {
    fn drop(&mut self) {
        self.answerer.forget(self.runs.handle());
    }
}

source_class! {
    stream ChatStream {
        fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<ChatDelta>>> {
            self.next(py)
        }

        /// The next delta, `None` if it has to be waited for; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<ChatDelta>>> {
            self.poll_async(py)
        }

        /// Returns the same stream, yielding only the content, as plain `str`.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn texts(
            slf: Py<Self>,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<ChatTexts> {
            options::refuse(py, "ChatStream.texts", &[], surplus, unknown)?;
            Ok(ChatTexts { stream: slf })
        }

        /// Waits for the end of the answer and returns all of it, including deltas already read.
        ///
        /// Deltas that were not read are consumed: iteration ends after this.
        ///
        /// Raises:
        ///     GenerationError: The run failed; `log` has the lines of the library.
        ///     GenerationTimeout: The time limit has passed; `partial` has the answer so far.
        ///     ContextLengthError: The conversation does not fit into the context window.
        ///     ClosedError: The model was closed before the run ended.
        ///     ForkedProcessError: The run was started before `fork()`.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn result(
            &self,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<ChatAnswer> {
            options::refuse(py, "ChatStream.result", &[], surplus, unknown)?;
            loop {
                match self.finished(py)? {
                    Some(answer) => return Ok(answer),
                    None => self.wait(py)?,
                }
            }
        }

        /// Whether `result` takes longer than an event loop should wait: never.
        #[allow(clippy::unused_self, reason = "as that of ArrayStream")]
        fn _is_long(&self) -> bool {
            false
        }

        /// The whole answer in a tuple if it has ended; for the event loop.
        fn _finished(&self, py: Python<'_>) -> PyResult<Option<(ChatAnswer,)>> {
            Ok(self.finished(py)?.map(|answer| (answer,)))
        }
    }
}

/// A `ChatStream` that yields only the content, as plain `str`; `ChatStream.texts` returns it.
///
/// Both share one answer: a delta read from one is not yielded by the other.
///
/// Read it from one thread or task at a time. `cancel()` and `close()` may be called from any thread.
#[pyclass(module = "rkllm_rs", frozen, weakref)]
pub(super) struct ChatTexts {
    stream: Py<ChatStream>,
}

impl Stream for ChatTexts {
    fn handle(&self) -> &Handle {
        self.stream.get().runs.handle()
    }
    fn answerer(&self) -> &Answerer {
        &self.stream.get().answerer
    }
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)
    }
    fn end(&self) {
        self.stream.get().runs.cancel();
    }
}

/// The content of a delta, if it has any.
fn content(py: Python<'_>, delta: &Py<ChatDelta>) -> Option<Py<PyString>> {
    let content = &delta.get().content;
    let is_empty = content.bind(py).is_empty().unwrap_or(true);
    (!is_empty).then(|| content.clone_ref(py))
}

source_class! {
    stream ChatTexts {
        fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
            while let Some(delta) = self.stream.get().next(py)? {
                if let Some(content) = content(py, &delta) {
                    return Ok(Some(content));
                }
            }
            Ok(None)
        }

        /// The next text, `None` if it has to be waited for; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyString>>> {
            while let Some(delta) = self.stream.get().poll_async(py)? {
                if let Some(content) = content(py, &delta) {
                    return Ok(Some(content));
                }
            }
            Ok(None)
        }

        /// Waits for the end of the answer and returns all of it, including deltas already read.
        ///
        /// Deltas that were not read are consumed: iteration ends after this.
        ///
        /// Raises:
        ///     GenerationError: The run failed; `log` has the lines of the library.
        ///     GenerationTimeout: The time limit has passed; `partial` has the answer so far.
        ///     ContextLengthError: The conversation does not fit into the context window.
        ///     ClosedError: The model was closed before the run ended.
        ///     ForkedProcessError: The run was started before `fork()`.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn result(
            &self,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<ChatAnswer> {
            options::refuse(py, "ChatTexts.result", &[], surplus, unknown)?;
            self.stream.get().result(py, surplus, unknown)
        }
    }
}

//! `Steps`: a run that pauses after each token.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::{PyStopAsyncIteration, PyStopIteration};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::callables::{Answerer, Slot};
use super::chunk::chunk;
use super::errors::raise;
use super::generation::Generation;
use super::inputs::input;
use super::options::{self, Argument};
use super::source::{Awaited as _, Stream, next_item, source_class};
use crate::model::Caller;
use crate::model::steps;
use crate::model::{Handle, Poll, Source as _};
use crate::protocol::error::Failure;

/// A run that pauses after each token; `RKLLM.steps` returns it.
///
/// It works like a generator: `next()`, a `for` or an `async for` loop continues with the token that was
/// just yielded, and `send()` replaces that token. Between two tokens the KV cache can be read and changed.
/// Other runs of the model wait until the steps end: at the end of the answer, by `close()`, at the end of a
/// `with` block, or if nothing refers to them any more.
///
/// Read it from one thread or task at a time. `cancel()` and `close()` may be called from any thread.
#[pyclass(module = "rkllm_rs", frozen, weakref)]
#[allow(clippy::struct_field_names, reason = "they are the steps")]
pub(super) struct Steps {
    steps: Mutex<steps::Steps>,
    handle: Handle,
    answerer: Answerer,
    on_token: Slot,
    /// An event loop has let the model go on, and waits.
    going: AtomicBool,
}

impl Steps {
    pub(super) fn new(
        steps: steps::Steps,
        answerer: Answerer,
        on_token: Option<Py<PyAny>>,
    ) -> Self {
        let handle = steps.handle().clone();
        Self {
            steps: Mutex::new(steps),
            handle,
            answerer,
            on_token: Slot::new(on_token),
            going: AtomicBool::new(false),
        }
    }

    fn fail(&self, py: Python<'_>, error: &Failure) -> PyErr {
        self.failed(py, error, || {
            let steps = self.steps.lock();
            let (text, ids) = steps.so_far();
            let logprobs = steps.logprobs().map(<[_]>::to_vec);
            drop(steps);
            Generation::partial(py, text, ids, logprobs)
        })
    }

    fn advance(&self, py: Python<'_>, next: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let next = next.filter(|next| !next.is_none()).map(input).transpose()?;
        self.note_caller(py)?;
        let advanced = self.steps.lock().advance(next);
        advanced.map_err(|error| raise(py, &error))
    }

    /// The token if it is there; `None` when it has to be waited for, `Err(Ok)` at the end.
    fn poll(&self, py: Python<'_>) -> Result<Option<Py<PyAny>>, PyResult<()>> {
        let (polled, likely) = {
            let mut steps = self.steps.lock();
            let polled = steps.poll();
            (polled, steps.new_logprobs().map(<[_]>::to_vec))
        };
        match polled {
            Poll::Ready(token) => {
                let made = chunk(
                    PyString::new(py, &token.text),
                    token.token_id,
                    likely.as_deref(),
                )
                .and_then(|made| {
                    if let Some(on_token) = self.on_token.get(py) {
                        let told = || on_token.call1(py, (made.clone_ref(py),));
                        self.answerer
                            .desk
                            .in_callback(told)
                            .inspect_err(|_| self.handle.cancel())?;
                    }
                    Ok(made)
                });
                made.map(Some).map_err(Err)
            }
            Poll::Nothing => match self.answerer.serve(py, Some(&self.handle)) {
                Ok(()) => Ok(None),
                Err(error) => Err(Err(error)),
            },
            Poll::Ended(Ok(())) => {
                super::vendor_log::pass_on(py);
                Err(Ok(()))
            }
            Poll::Ended(Err(error)) => Err(Err(self.fail(py, &error))),
        }
    }

    fn step(&self, py: Python<'_>, next: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
        self.advance(py, next)?;
        loop {
            match self.poll(py) {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) => self.wait(py)?,
                Err(ended) => return ended.map(|()| None),
            }
        }
    }

    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        self.answerer.wait(py, &self.handle)
    }
}

/// The number of the task that calls, if one does.
pub(super) fn task_number(py: Python<'_>) -> PyResult<Option<u64>> {
    static TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    TASK.import(py, "rkllm_rs._tasks", "task_number")?
        .call0()?
        .extract()
}

impl Stream for Steps {
    fn handle(&self) -> &Handle {
        &self.handle
    }
    fn answerer(&self) -> &Answerer {
        &self.answerer
    }
    fn on_token(&self) -> Option<&Slot> {
        Some(&self.on_token)
    }
    fn end(&self) {
        self.steps.lock().close();
    }
    /// What waits may run in a task of its own.
    fn note_caller(&self, py: Python<'_>) -> PyResult<()> {
        if self.steps.lock().has_caller() {
            return Ok(());
        }
        if let Some(task) = task_number(py)? {
            self.steps.lock().set_caller(Caller::task(task));
        }
        Ok(())
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.answerer.forget(&self.handle);
    }
}

source_class! {
    stream Steps {
        fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
            self.step(py, None)
        }

        /// Replaces the token that was just yielded by other input, and returns the next token.
        ///
        /// Args:
        ///     input: The replacement. To keep the token and add more, send it as well:
        ///         `Tokens([step.token_id, ...])`. `None` continues with the token itself.
        ///
        /// Returns:
        ///     The next token.
        ///
        /// Raises:
        ///     StopIteration: The answer has ended.
        ///     InvalidArgumentError: No token was yielded yet, or the input is not valid.
        ///     InvalidTypeError: The input has the wrong type.
        ///     GenerationError: The run failed.
        #[pyo3(signature = (input=Argument::default(), *surplus, **unknown), text_signature = "($self, /, input)")]
        fn send(
            &self,
            py: Python<'_>,
            input: Argument<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<Py<PyAny>> {
            options::refuse(py, "Steps.send", &["input"], surplus, unknown)?;
            let input = &input.of(py, "Steps.send", "input")?;
            let next = self.step(py, Some(input))?;
            next.ok_or_else(|| PyStopIteration::new_err(()))
        }

        /// Replaces the token that was just yielded, like `send()`, without blocking the event loop.
        ///
        /// Args:
        ///     input: The replacement; `None` continues with the token itself.
        ///
        /// Returns:
        ///     An awaitable that gives the next token.
        ///
        /// Raises:
        ///     StopAsyncIteration: The answer has ended.
        ///     InvalidArgumentError: No token was yielded yet, or the input is not valid.
        ///     InvalidTypeError: The input has the wrong type.
        ///     GenerationError: The run failed.
        #[pyo3(signature = (input=Argument::default(), *surplus, **unknown), text_signature = "($self, /, input)")]
        fn asend<'py>(
            slf: &Bound<'py, Self>,
            input: Argument<'py>,
            surplus: &Bound<'py, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'py, pyo3::types::PyDict>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            options::refuse(slf.py(), "Steps.asend", &["input"], surplus, unknown)?;
            let input = &input.of(slf.py(), "Steps.asend", "input")?;
            let steps = slf.get();
            steps.advance(slf.py(), Some(input))?;
            steps.going.store(true, Ordering::Relaxed);
            next_item(slf.as_any(), &steps.answerer, None)
        }

        /// The next token, `None` if it has to be waited for; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
            if !self.going.load(Ordering::Relaxed) {
                self.advance(py, None)?;
                self.going.store(true, Ordering::Relaxed);
            }
            match self.poll(py) {
                Ok(Some(chunk)) => {
                    self.going.store(false, Ordering::Relaxed);
                    Ok(Some(chunk))
                }
                Ok(None) => Ok(None),
                Err(Ok(())) => Err(PyStopAsyncIteration::new_err(())),
                Err(Err(error)) => Err(error),
            }
        }

        /// Returns the whole answer. Call it after the steps have ended.
        ///
        /// Raises:
        ///     InvalidArgumentError: The steps have not ended.
        ///     GenerationError: The run failed.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn result(
            &self,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<Generation> {
            options::refuse(py, "Steps.result", &[], surplus, unknown)?;
            let found = self.steps.lock().generation();
            match found {
                Some(Ok(generation)) => Generation::new(py, &generation, None),
                Some(Err(error)) => Err(self.fail(py, &error)),
                None => Err(raise(
                    py,
                    &Failure::invalid_with_hint(
                        "result",
                        "is not available before the run has ended",
                        "Read all tokens, or call close() first.",
                    ),
                )),
            }
        }

        fn __repr__(&self) -> String {
            let (text, ids) = self.steps.lock().so_far();
            format!(
                "<rkllm_rs.Steps: {} tokens, {} characters>",
                ids.len(),
                text.chars().count()
            )
        }
    }
}

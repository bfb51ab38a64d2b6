//! `ArrayStream`: logits and hidden states as they come.

use parking_lot::Mutex;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;

use super::array::FloatArray;
use super::callables::Answerer;
use super::options;
use super::source::{Awaited as _, Stream, source_class};
use crate::host::FloatBlock;
use crate::model::rows::{self, RowStream};
use crate::model::{Handle, Poll, Source as _};
use crate::protocol::error::Failure;

/// So many floats are copied within a millisecond or so.
const QUICKLY_COPIED: usize = 1 << 20;

/// A stream of logits or hidden states: one `FloatArray` per callback of the library.
///
/// `RKLLM.stream_logits` and `RKLLM.stream_hidden_states` return it. Iterate with `for` or `async for`.
/// Its run ends early if the stream is closed, by `close()` or at the end of a `with` block, or if nothing
/// refers to it any more.
///
/// Read it from one thread or task at a time. `cancel()` and `close()` may be called from any thread.
#[pyclass(module = "rkllm_rs", frozen, weakref)]
pub(super) struct ArrayStream {
    stream: Mutex<RowStream>,
    handle: Handle,
    answerer: Answerer,
    /// What `result` has taken so far, when it was interrupted.
    taken: Mutex<Vec<FloatBlock>>,
}

impl ArrayStream {
    pub(super) fn new(stream: RowStream, answerer: Answerer) -> Self {
        let handle = stream.handle().clone();
        Self {
            stream: Mutex::new(stream),
            handle,
            answerer,
            taken: Mutex::new(Vec::new()),
        }
    }

    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        self.answerer.wait(py, &self.handle)
    }

    fn fail(&self, py: Python<'_>, error: &Failure) -> PyErr {
        self.failed(py, error, || Ok(py.None()))
    }

    /// The next block, `None` when one has to be waited for; an end without error is `Err(Ok)`.
    fn poll(&self, py: Python<'_>) -> Result<Option<FloatBlock>, PyResult<()>> {
        let polled = self.stream.lock().poll();
        match polled {
            Poll::Ready(block) => Ok(Some(block)),
            Poll::Nothing => Ok(None),
            Poll::Ended(Ok(())) => {
                super::vendor_log::pass_on(py);
                Err(Ok(()))
            }
            Poll::Ended(Err(error)) => Err(Err(self.fail(py, &error))),
        }
    }

    /// All rows in one array, if the run has ended.
    fn finished(&self, py: Python<'_>) -> PyResult<Option<FloatArray>> {
        loop {
            match self.poll(py) {
                Ok(Some(block)) => self.taken.lock().push(block),
                Ok(None) => {
                    self.answerer.serve(py, Some(&self.handle))?;
                    return Ok(None);
                }
                Err(Err(error)) => return Err(error),
                Err(Ok(())) => {
                    let blocks = std::mem::take(&mut *self.taken.lock());
                    let (kind, any) = {
                        let stream = self.stream.lock();
                        (stream.kind(), stream.any())
                    };
                    let all = super::detach(py, || rows::join(blocks, kind, any));
                    let all = all.map_err(|error| self.fail(py, &error))?;
                    return Ok(Some(FloatArray::rows(all)));
                }
            }
        }
    }
}

impl Stream for ArrayStream {
    fn handle(&self) -> &Handle {
        &self.handle
    }
    fn answerer(&self) -> &Answerer {
        &self.answerer
    }
}

impl Drop for ArrayStream {
    fn drop(&mut self) {
        self.answerer.forget(&self.handle);
    }
}

source_class! {
    stream ArrayStream {
        fn __next__(&self, py: Python<'_>) -> PyResult<Option<FloatArray>> {
            loop {
                match self.poll(py) {
                    Ok(Some(block)) => return Ok(Some(FloatArray::rows(block))),
                    Ok(None) => self.wait(py)?,
                    Err(ended) => return ended.map(|()| None),
                }
            }
        }

        /// The next array, `None` if it has to be waited for; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<FloatArray>> {
            match self.poll(py) {
                Ok(Some(block)) => Ok(Some(FloatArray::rows(block))),
                Ok(None) => {
                    self.answerer.serve(py, Some(&self.handle))?;
                    Ok(None)
                }
                Err(Ok(())) => Err(PyStopAsyncIteration::new_err(())),
                Err(Err(error)) => Err(error),
            }
        }

        /// Waits for the end of the run and returns all rows that were not read, in one array.
        ///
        /// Raises:
        ///     GenerationError: The run failed, was cancelled before the first row, or the library returned no rows.
        ///     GenerationTimeout: The time limit has passed.
        ///     ContextLengthError: The prompt does not fit into the context window.
        ///     ClosedError: The model was closed before the run ended.
        #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
        fn result(
            &self,
            py: Python<'_>,
            surplus: &Bound<'_, pyo3::types::PyTuple>,
            unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
        ) -> PyResult<FloatArray> {
            options::refuse(py, "ArrayStream.result", &[], surplus, unknown)?;
            loop {
                match self.finished(py)? {
                    Some(array) => return Ok(array),
                    None => self.wait(py)?,
                }
            }
        }

        /// Whether the run has ended, and `result` now copies more than an event loop should wait for.
        fn _is_long(&self, py: Python<'_>) -> PyResult<bool> {
            loop {
                match self.poll(py) {
                    Ok(Some(block)) => self.taken.lock().push(block),
                    Ok(None) => return Ok(false),
                    Err(Err(error)) => return Err(error),
                    Err(Ok(())) => {
                        let taken = self.taken.lock();
                        let floats: usize =
                            taken.iter().map(|block| block.rows() * block.width()).sum();
                        return Ok(taken.len() > 1 && floats > QUICKLY_COPIED);
                    }
                }
            }
        }

        /// The same in a tuple if the run has ended; for the event loop.
        fn _finished(&self, py: Python<'_>) -> PyResult<Option<(FloatArray,)>> {
            Ok(self.finished(py)?.map(|array| (array,)))
        }

        fn __repr__(&self) -> String {
            let kind = self.stream.lock().kind().as_str();
            format!("<rkllm_rs.ArrayStream of {kind}>")
        }
    }
}

//! `npu_lock`: the machine's lock of the NPU, for calls of the program's own.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use super::errors::raise;
use super::source::{Awaited, entered, source_class};
use super::steps::task_number;
use super::{convert, options};
use crate::link::npu::{Block, Owner, Place, Record, Use, look};
use crate::protocol::error::Failure;

/// The lock of the NPU, for a `with` or `async with` block; `rkllm_rs.npu_lock()` returns it.
///
/// Any number of threads and tasks may use it at the same time; they take turns. The same object can be used
/// for several blocks.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct NpuLock {
    timeout: Option<Duration>,
    /// The blocks that are entered.
    entered: Mutex<Vec<Block>>,
}

/// A task's wait for the lock.
#[pyclass(module = "rkllm_rs._native", frozen)]
pub(super) struct NpuWait {
    lock: Py<NpuLock>,
    block: Mutex<Option<Block>>,
}

impl NpuLock {
    fn begin(&self, py: Python<'_>, blocks: bool) -> PyResult<Block> {
        let owner = Owner {
            task: task_number(py)?,
            ..Owner::thread()
        };
        let begin = || Block::begin(Place::chosen(), owner, self.timeout, blocks);
        super::detach(py, begin).map_err(|error| raise(py, &error))
    }

    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let block = self.entered.lock().pop();
        if block.is_none() {
            return Err(PyRuntimeError::new_err("the NPU lock is not held"));
        }
        super::detach(py, || drop(block));
        Ok(())
    }
}

#[pymethods]
impl NpuLock {
    #[new]
    #[pyo3(signature = (*_given, **_named), text_signature = None)]
    fn not_made(
        py: Python<'_>,
        _given: &Bound<'_, PyTuple>,
        _named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Err(options::not_made(py, "NpuLock"))
    }

    /// Waits for the lock.
    ///
    /// Raises:
    ///     BusyError: `timeout` has passed, or another task of this event loop holds the lock or waits for it.
    ///     UnsupportedFeatureError: No file can be used for the lock.
    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let lock = slf.get();
        let block = lock.begin(py, true)?;
        loop {
            let found = super::detach(py, || block.wait(super::STEP));
            if let Some(had) = found {
                had.map_err(|error| raise(py, &error))?;
                lock.entered.lock().push(block);
                return Ok(slf);
            }
            py.check_signals()?;
        }
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.leave(py)
    }

    /// Waits for the lock without blocking the event loop.
    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static DONE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = slf.py();
        let wait = NpuWait {
            block: Mutex::new(Some(slf.get().begin(py, false)?)),
            lock: slf.clone().unbind(),
        };
        let done = DONE.import(py, "rkllm_rs._waiting", "done")?;
        done.call1((wait,))
    }

    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        _error: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().leave(slf.py())?;
        entered(slf.py().None().bind(slf.py()))
    }

    fn __repr__(&self) -> String {
        let held = if self.entered.lock().is_empty() {
            "not held"
        } else {
            "held"
        };
        format!("<rkllm_rs.NpuLock, {held}>")
    }
}

impl Awaited for NpuWait {
    fn asks(&self) -> bool {
        false
    }
    fn arm(&self) -> std::io::Result<Option<RawFd>> {
        self.block.lock().as_ref().map_or(Ok(None), Block::arm)
    }
    fn leave(&self) {
        drop(self.block.lock().take());
    }
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lock)
    }
}

source_class! {
    NpuWait {
        /// The lock in a tuple if it is held; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<(Py<NpuLock>,)>> {
            let mut block = self.block.lock();
            let had = block.as_ref().and_then(|block| block.wait(Duration::ZERO));
            let had: Option<Result<(), Failure>> = had;
            match had {
                None => Ok(None),
                Some(Ok(())) => {
                    let had = block.take();
                    drop(block);
                    self.lock.get().entered.lock().extend(had);
                    Ok(Some((self.lock.clone_ref(py),)))
                }
                Some(Err(failure)) => {
                    drop(block);
                    Err(raise(py, &failure))
                }
            }
        }
    }
}

/// Returns the lock of the NPU, to reserve the NPU for a block of your own, such as calls of RKNN.
///
/// There is one lock for the whole machine. Every program that uses this package holds it during each run of
/// a model on the NPU; programs get it in the order in which they ask. Inside the block, runs of your own
/// models do not wait for it. It is released at the end of the block, or when the process ends.
///
/// Args:
///     timeout: Maximum time to wait, in seconds; 0 tries once. Default: no limit.
///
/// Returns:
///     A lock for `with` and `async with`. A thread or task that holds it may enter it again.
///
/// Raises:
///     InvalidArgumentError: `timeout` is negative or not a number.
#[pyfunction]
#[pyo3(signature = (timeout=None, *surplus, **unknown), text_signature = "(timeout=None)")]
pub(super) fn npu_lock(
    py: Python<'_>,
    timeout: Option<&Bound<'_, PyAny>>,
    surplus: &Bound<'_, PyTuple>,
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyResult<NpuLock> {
    options::refuse(py, "npu_lock", &["timeout"], surplus, unknown)?;
    Ok(NpuLock {
        timeout: convert::patience("timeout", timeout)?,
        entered: Mutex::default(),
    })
}

/// One in the line: pid, uid, program, what for, since when.
type InLine = Option<(u32, u32, String, &'static str, f64)>;

/// Looks at the lock of the NPU, and makes nothing.
///
/// Returns:
///     The file's path, why it cannot be looked at, and those in the line, the holder first.
#[pyfunction]
pub(super) fn npu_line(py: Python<'_>) -> (Option<OsString>, Option<String>, Vec<InLine>) {
    let found = super::detach(py, || look(&Place::chosen()));
    let told = |record: Record| {
        let what = match record.what {
            Use::Run => "run",
            Use::NpuLock => "npu_lock",
        };
        let since = record.since();
        (record.pid, record.uid, record.program, what, since)
    };
    let line = found.line.into_iter().map(|one| one.map(told));
    (found.path.map(Into::into), found.problem, line.collect())
}

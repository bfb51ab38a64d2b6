//! Passes the library's lines on to Python's `logging`.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

use super::convert;
use super::errors::raise;
use super::modules::Optional;
use crate::host::vendor_log::{self, Mode};
use crate::protocol::error::Failure;

/// The number of the first line that has not been passed on.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Gives new lines to the logger `rkllm_rs.vendor`, if the program uses `logging` at all.
///
/// Called when a library or model has been opened and when a run has ended: the threads on which the
/// lines come never touch Python.
pub(super) fn pass_on(py: Python<'_>) {
    let end = vendor_log::next_number();
    let from = NEXT.load(Ordering::Relaxed);
    if from >= end {
        return;
    }
    if let Err(error) = emit(py, from) {
        // A broken handler of the program must not take the answer with it.
        error.write_unraisable(py, None);
    }
}

fn emit(py: Python<'_>, from: u64) -> PyResult<()> {
    if !is_logging(py)? {
        let next = vendor_log::next_number();
        NEXT.store(next, Ordering::Relaxed);
        vendor_log::passed_on(next, false);
        return Ok(());
    }
    let lines = super::detach(py, || vendor_log::lines(from));
    let Some(last) = lines.last() else {
        return Ok(());
    };
    // Whoever comes first takes them.
    if NEXT
        .compare_exchange(from, last.number + 1, Ordering::Relaxed, Ordering::Relaxed)
        .is_err()
    {
        return Ok(());
    }
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line.level.letter(), line.text.as_str()))
        .collect();
    vendor_log::passed_on(last.number + 1, true);
    py.import("rkllm_rs._vendor_log")?
        .call_method1("emit", (lines,))?;
    Ok(())
}

/// Looks whether the program's logger takes the lines, at the beginning of a call.
pub(super) fn look(py: Python<'_>) {
    if let Err(error) = look_for_handlers(py) {
        error.write_unraisable(py, None);
    }
}

fn look_for_handlers(py: Python<'_>) -> PyResult<()> {
    if !is_logging(py)? {
        return Ok(());
    }
    vendor_log::set_taken(is_taken(py)?);
    vendor_log::passed_on(NEXT.load(Ordering::Relaxed), true);
    Ok(())
}

/// Whether the program uses `logging` at all.
fn is_logging(py: Python<'_>) -> PyResult<bool> {
    static LOGGING: Optional = Optional::new();
    LOGGING.is_imported(py, intern!(py, "logging"))
}

/// Whether the logger has a handler of the program's own. No Python code runs while it has only ours: this
/// stands before every run, and cold code takes longer than all the rest of it.
fn is_taken(py: Python<'_>) -> PyResult<bool> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static OURS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static TAKEN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let module = "rkllm_rs._vendor_log";
    let handlers = LOGGER
        .import(py, module, "LOGGER")?
        .getattr(intern!(py, "handlers"))?;
    if let Ok(handlers) = handlers.cast::<PyList>() {
        if handlers.len() == 1
            && handlers
                .get_item(0)?
                .is(OURS.import(py, module, "NOTHING")?)
        {
            return Ok(false);
        }
    }
    TAKEN.import(py, module, "taken")?.call0()?.is_truthy()
}

/// Chooses what is printed of the library's lines, in the whole process.
#[pyfunction]
pub(super) fn set_vendor_log(py: Python<'_>, mode: &Bound<'_, PyAny>) -> PyResult<()> {
    let text = convert::choice("vendor_log", Mode::CHOICES, mode)?;
    let mode = text.parse::<Mode>().map_err(|choices| {
        let error = Failure::choice("vendor_log", &choices, format_args!("{text:?}"));
        raise(py, &error)
    })?;
    vendor_log::set_mode(mode);
    Ok(())
}

/// Warns of a choice that is unknown or cannot be obeyed, each once.
pub(super) fn warn(py: Python<'_>) -> PyResult<()> {
    for notice in vendor_log::notices() {
        let category = py.import("rkllm_rs.errors")?.getattr("RkllmWarning")?;
        let keywords = PyDict::new(py);
        keywords.set_item("stacklevel", 3)?;
        let warn = py.import("warnings")?.getattr("warn")?;
        warn.call((notice, category), Some(&keywords))?;
    }
    Ok(())
}

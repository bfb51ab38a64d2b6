//! Passes the library's lines on to Python's `logging`.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::vendor_log;

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
    let modules = py
        .import("sys")?
        .getattr("modules")?
        .cast_into::<PyDict>()?;
    if !modules.contains("logging")? {
        NEXT.store(vendor_log::next_number(), Ordering::Relaxed);
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
    py.import("rkllm_rs._vendor_log")?
        .call_method1("emit", (lines,))?;
    Ok(())
}

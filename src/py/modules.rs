//! What Python has imported.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

/// A module that only some programs import; once it is there, nobody looks again.
pub(super) struct Optional(AtomicBool);

impl Optional {
    pub(super) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Whether the module of that name has been imported. Imports nothing, which would take longer than
    /// all the rest of a call.
    pub(super) fn is_imported(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<bool> {
        static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
        if self.0.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let modules = MODULES.get_or_try_init(py, || {
            let modules = py
                .import(intern!(py, "sys"))?
                .getattr(intern!(py, "modules"))?;
            PyResult::Ok(modules.cast_into::<PyDict>()?.unbind())
        })?;
        let found = modules.bind(py).contains(name)?;
        self.0.store(found, Ordering::Relaxed);
        Ok(found)
    }
}

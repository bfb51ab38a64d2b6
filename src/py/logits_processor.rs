//! Functions of the program that change logits before a token is chosen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyo3::exceptions::PyImportError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use super::array::FloatArray;
use super::buffer::floats;
use super::callables::Callables;
use super::errors::raise;
use crate::host::FloatBlock;
use crate::protocol::error::Failure;
use crate::protocol::output::RowsKind;

/// Those of the calls of one model that go on, by their numbers.
#[derive(Default)]
pub(super) struct Processors {
    all: Mutex<HashMap<u64, Py<PyAny>>>,
    count: AtomicUsize,
}

impl Processors {
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    pub(super) fn get(&self, py: Python<'_>, number: u64) -> Option<Py<PyAny>> {
        let all = self.all.lock();
        all.get(&number).map(|one| one.clone_ref(py))
    }

    fn set(&self, number: u64, processor: Option<Py<PyAny>>) {
        let mut all = self.all.lock();
        let before = match processor {
            Some(processor) => all.insert(number, processor),
            None => all.remove(&number),
        };
        self.count.store(all.len(), Ordering::Release);
        // Dropped when the lock is free: that can run the program's code.
        drop(all);
        drop(before);
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever holds the lock refers to us: nothing is to be collected then.
        let Some(all) = self.all.try_lock() else {
            return Ok(());
        };
        all.values().try_for_each(|one| visit.call(one))
    }

    pub(super) fn clear(&self) {
        let all = self.all.try_lock().map(|mut all| std::mem::take(&mut *all));
        drop(all);
    }
}

/// The function of one call, which can be asked as long as this lives.
pub(super) struct Registered {
    callables: Py<Callables>,
    pub(super) number: u64,
}

impl Registered {
    pub(super) fn new(
        py: Python<'_>,
        callables: &Py<Callables>,
        processor: Py<PyAny>,
    ) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        callables.get().processors.set(number, Some(processor));
        Arc::new(Self {
            callables: callables.clone_ref(py),
            number,
        })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.callables.get().processors.set(self.number, None);
    }
}

/// An array of float32 for `row` that the program may write into: NumPy's where it is installed, else one of the
/// standard library.
fn array<'py>(py: Python<'py>, row: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    static ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match py.import("numpy") {
        Ok(numpy) => {
            let block = FloatBlock::new(RowsKind::Logits, row.to_vec(), 1);
            numpy.call_method1("asarray", (FloatArray::vector(block),))
        }
        Err(error) if error.is_instance_of::<PyImportError>(py) => {
            let bytes: Vec<u8> = row.iter().flat_map(|logit| logit.to_ne_bytes()).collect();
            let array = ARRAY.import(py, "array", "array")?;
            array.call1(("f", PyBytes::new(py, &bytes)))
        }
        Err(error) => Err(error),
    }
}

/// What `processor` makes of a row.
pub(super) fn changed(
    processor: &Bound<'_, PyAny>,
    token_ids: &[i32],
    row: &[f32],
) -> PyResult<Vec<f32>> {
    let py = processor.py();
    let given = array(py, row)?;
    let returned = processor.call1((token_ids, &given))?;
    let used = if returned.is_none() {
        &given
    } else {
        &returned
    };
    let values = floats("logits_processor", used)?.values;
    if values.len() == row.len() {
        return Ok(values);
    }
    let reason = format!("must return {} floats, got {}", row.len(), values.len());
    let hint = "Change the row that it is given, and return it or None.";
    Err(raise(
        py,
        &Failure::invalid_with_hint("logits_processor", reason, hint),
    ))
}

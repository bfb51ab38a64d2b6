//! Functions of the program that change logits before a token is chosen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyo3::exceptions::PyImportError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use super::array::FloatArray;
use super::buffer::floats;
use super::callables::Slot;
use super::errors::raise;
use crate::host::FloatBlock;
use crate::protocol::error::Failure;
use crate::protocol::output::RowsKind;

/// Those of the calls of one model that go on, by their numbers. Each is held by the streams of its call alone, so
/// that the collector sees who refers to whom.
#[derive(Default)]
pub(super) struct Processors {
    all: Mutex<HashMap<u64, Vec<Weak<Slot>>>>,
    count: AtomicUsize,
}

impl Processors {
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    pub(super) fn get(&self, py: Python<'_>, number: u64) -> Option<Py<PyAny>> {
        let all = self.all.lock().get(&number).cloned();
        let mut held = all.into_iter().flatten().filter_map(|one| one.upgrade());
        held.find_map(|one| one.get(py))
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Vec<Weak<Slot>>)) {
        let mut all = self.all.lock();
        let of = all.entry(number).or_default();
        change(of);
        if of.is_empty() {
            all.remove(&number);
        }
        self.count.store(all.len(), Ordering::Release);
    }
}

/// The function of one call, which can be asked as long as this lives.
pub(super) struct Registered {
    slot: Arc<Slot>,
    processors: Arc<Processors>,
    pub(super) number: u64,
}

impl Registered {
    pub(super) fn new(processors: &Arc<Processors>, processor: Py<PyAny>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self::under(
            NUMBERS.fetch_add(1, Ordering::Relaxed),
            processors,
            processor,
        )
    }

    fn under(number: u64, processors: &Arc<Processors>, processor: Py<PyAny>) -> Self {
        let slot = Arc::new(Slot::new(Some(processor)));
        processors.change(number, |all| all.push(Arc::downgrade(&slot)));
        Self {
            slot,
            processors: Arc::clone(processors),
            number,
        }
    }

    /// The same for another stream of the call.
    pub(super) fn again(&self, py: Python<'_>) -> Option<Self> {
        let processor = self.slot.get(py)?;
        Some(Self::under(self.number, &self.processors, processor))
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.slot.traverse(visit)
    }

    pub(super) fn clear(&self) {
        self.slot.clear();
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let own = Arc::as_ptr(&self.slot);
        self.processors
            .change(self.number, |all| all.retain(|one| one.as_ptr() != own));
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

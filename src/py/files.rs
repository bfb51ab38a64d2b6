//! What a model's file is, and where models lie in the NPU's memory.

use pyo3::prelude::*;

use super::convert;
use crate::files::inspect;
use crate::files::plan::{self, Range};

/// What can be told of a file, as JSON.
#[pyfunction]
pub(super) fn inspect_file(py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<String> {
    let path = convert::path("path", path)?;
    Ok(super::detach(py, || inspect::inspect(&path).to_string()))
}

/// Where models of these sizes are best put, one after the other: the first domain and their number.
///
/// `encoders` take domain 0. On `chip` the first model may have to lie there, too.
#[pyfunction]
pub(super) fn plan_domains(
    sizes: Vec<u64>,
    encoders: bool,
    chip: Option<&str>,
) -> Vec<Option<(u64, u64)>> {
    let keeps_to_0 = chip.is_some_and(plan::keeps_to_0);
    let encoder = Range { base: 0, count: 1 };
    let taken: &[Range] = if encoders && !keeps_to_0 {
        &[encoder]
    } else {
        &[]
    };
    let places = plan::places(sizes, taken, keeps_to_0).into_iter();
    places
        .map(|range| range.map(|range| (range.base, range.count)))
        .collect()
}

//! What a model's file is, and where models lie in the NPU's memory.

use pyo3::prelude::*;

use super::convert;
use super::errors::raise;
use crate::abi::Several;
use crate::files::inspect;
use crate::files::plan::{self, Range};

/// What can be told of a file, as JSON.
#[pyfunction]
pub(super) fn inspect_file(py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<String> {
    let path = convert::path("path", path)?;
    Ok(super::detach(py, || inspect::inspect(&path).to_string()))
}

/// Tells whether models can begin in other domains than 0, and what release several in one process need.
///
/// No release is named where this one can.
#[pyfunction]
pub(super) fn several_models(
    py: Python<'_>,
    release: &str,
) -> PyResult<(bool, Option<&'static str>)> {
    let found = Several::of(release).map_err(|error| raise(py, &error))?;
    Ok((found.has_domains, found.needs))
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

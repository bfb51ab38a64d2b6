//! How likely tokens were, as objects of Python.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList};

use crate::model::TokenStream;
use crate::protocol::output::{TokenLogprob, TopLogprob};

/// How likely the tokens of a piece are, where that is told.
pub(super) type Likely = Option<Vec<TokenLogprob>>;

/// How likely the tokens are that `stream` has given since the last call, where that is wanted.
#[inline]
pub(super) fn new(wanted: bool, stream: &mut TokenStream) -> Likely {
    if wanted {
        stream.new_logprobs().map(<[_]>::to_vec)
    } else {
        None
    }
}

type Told<'py> = (i32, f32, Bound<'py, PyBytes>);

fn told<'py>(py: Python<'py>, one: &TopLogprob) -> Told<'py> {
    (one.token_id, one.logprob, PyBytes::new(py, &one.bytes))
}

/// A list of `TokenLogprob`, where that is told.
pub(super) fn list(py: Python<'_>, all: Option<&[TokenLogprob]>) -> PyResult<Option<Py<PyList>>> {
    static MADE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Some(all) = all else {
        return Ok(None);
    };
    let made = MADE.import(py, "rkllm_rs.logprobs", "made")?;
    let one = |one: &TokenLogprob| {
        let top: Vec<Told<'_>> = one.top.iter().map(|one| told(py, one)).collect();
        made.call1((told(py, &one.token), top))
    };
    let all = all.iter().map(one).collect::<PyResult<Vec<_>>>()?;
    Ok(Some(PyList::new(py, all)?.unbind()))
}

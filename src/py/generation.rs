//! `Generation`.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::logprobs;
use super::options;
use super::outputs::{PerfStats, rebuilder};
use super::structured::{self, Constraint};
use crate::protocol::constraint::Kept;
use crate::protocol::output::{self, TokenLogprob};

/// A whole answer. `str(generation)` is its text.
///
/// Read-only; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, mapping)]
pub(super) struct Generation {
    /// The answer's text.
    #[pyo3(get)]
    text: Py<PyString>,
    /// One id per generated token, including tokens without text.
    #[pyo3(get)]
    token_ids: Py<PyList>,
    reason: &'static str,
    /// Performance statistics of the run.
    #[pyo3(get)]
    perf: Py<PerfStats>,
    /// How likely each token was, best alternatives first; `None` without `logprobs`.
    #[pyo3(get)]
    logprobs: Option<Py<PyList>>,
    kept: Option<Kept>,
    /// Makes the value.
    parse: Option<Py<PyAny>>,
}

impl Generation {
    pub(super) fn new(
        py: Python<'_>,
        generation: &output::Generation,
        parse: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self {
            text: PyString::new(py, &generation.text).unbind(),
            token_ids: PyList::new(py, &generation.token_ids)?.unbind(),
            reason: generation.finish_reason.as_str(),
            perf: Py::new(py, PerfStats::new(generation.perf))?,
            logprobs: logprobs::list(py, generation.logprobs.as_deref())?,
            kept: generation.perf.constraint,
            parse,
        })
    }

    /// What had come of a run that failed.
    pub(super) fn partial(
        py: Python<'_>,
        text: String,
        token_ids: Vec<i32>,
        logprobs: Option<Vec<TokenLogprob>>,
    ) -> PyResult<Py<PyAny>> {
        let perf = output::PerfStats {
            tokens: token_ids.len(),
            ..Default::default()
        };
        let generation = output::Generation {
            text,
            token_ids,
            finish_reason: output::FinishReason::Cancelled,
            perf,
            logprobs,
        };
        Ok(Py::new(py, Self::new(py, &generation, None)?)?.into_any())
    }
}

#[pymethods]
impl Generation {
    #[new]
    #[pyo3(signature = (*_given, **_named), text_signature = None)]
    fn not_made(
        py: Python<'_>,
        _given: &Bound<'_, PyTuple>,
        _named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Err(options::not_made(py, "Generation"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A list that the program may put anything into, and which the collector can empty.
        visit.call(&self.token_ids)?;
        visit.call(&self.logprobs)?;
        visit.call(&self.parse)
    }

    /// Supports `copy` and `pickle`.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, GenerationParts)> {
        let ids = self.token_ids.bind(py).extract()?;
        let parts = (
            self.text.clone_ref(py),
            ids,
            self.reason.to_owned(),
            self.perf.clone_ref(py),
            self.parse.as_ref().map(|parse| parse.clone_ref(py)),
            self.logprobs.as_ref().map(|all| all.clone_ref(py)),
        );
        Ok((rebuilder(py, "_generation")?, parts))
    }

    /// Why the answer ended: `"stop"`, `"length"`, `"cancelled"` or `"tool_calls"`.
    ///
    /// `"stop"`: the model ended its answer. `"length"`: `max_new_tokens` was reached. `"cancelled"`: the
    /// stream was cancelled. `"tool_calls"`: the answer calls tools.
    #[getter]
    fn finish_reason<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        match self.reason {
            "stop" => pyo3::intern!(py, "stop"),
            "length" => pyo3::intern!(py, "length"),
            "tool_calls" => pyo3::intern!(py, "tool_calls"),
            _ => pyo3::intern!(py, "cancelled"),
        }
    }

    /// The value of an answer in JSON, or an instance of the given type.
    ///
    /// `None` without `json_schema`, and if the answer was cut off.
    ///
    /// Raises:
    ///     Exception: What the given type raises for values that fit the schema but not the type.
    #[getter]
    fn parsed(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let text = self.text.to_str(py)?;
        structured::parsed(
            py,
            self.parse.as_ref(),
            self.kept,
            self.reason == "stop",
            text,
        )
    }

    /// How the answer was kept to its form; `None` if it has none.
    #[getter]
    fn constraint(&self) -> Option<Constraint> {
        self.kept.map(Constraint)
    }

    fn __str__(&self, py: Python<'_>) -> Py<PyString> {
        self.text.clone_ref(py)
    }

    /// Tells what to use for a name of another package.
    fn __getattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_attribute(slf, name))
    }

    /// Tells which attribute to use: this is not a dict.
    fn __getitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_item(slf, key))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = self.text.bind(py).repr()?.to_string();
        let shown: String = text.chars().take(60).collect();
        let dots = if shown.len() < text.len() { "..." } else { "" };
        let tokens = self.token_ids.bind(py).len();
        Ok(format!(
            "Generation({shown}{dots}, {tokens} tokens, finish_reason={:?})",
            self.reason
        ))
    }
}

type GenerationParts = (
    Py<PyString>,
    Vec<i32>,
    String,
    Py<PerfStats>,
    Option<Py<PyAny>>,
    Option<Py<PyList>>,
);

/// A `Generation` from its parts; for `pickle`.
#[pyfunction]
#[pyo3(signature = (text, token_ids, finish_reason, perf, parse=None, logprobs=None))]
pub(super) fn _generation(
    py: Python<'_>,
    text: Py<PyString>,
    token_ids: Vec<i32>,
    finish_reason: &str,
    perf: Py<PerfStats>,
    parse: Option<Py<PyAny>>,
    logprobs: Option<Py<PyList>>,
) -> PyResult<Generation> {
    Ok(Generation {
        text,
        token_ids: PyList::new(py, token_ids)?.unbind(),
        reason: match finish_reason {
            "stop" => "stop",
            "length" => "length",
            "tool_calls" => "tool_calls",
            _ => "cancelled",
        },
        kept: perf.get().0.constraint,
        perf,
        parse,
        logprobs,
    })
}

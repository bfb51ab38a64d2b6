//! `SamplingParams` and `Tokens`.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::convert;
use super::errors::raise;
use crate::sampling;

/// Sampling settings; see the stub for their meaning.
#[pyclass(module = "rkllm_rs", frozen, eq, skip_from_py_object)]
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SamplingParams(pub(super) sampling::SamplingParams);

#[pymethods]
impl SamplingParams {
    #[new]
    #[pyo3(signature = (*, top_k=None, top_p=None, temperature=None, repeat_penalty=None, frequency_penalty=None, presence_penalty=None, mirostat=None, mirostat_tau=None, mirostat_eta=None))]
    #[allow(
        clippy::too_many_arguments,
        reason = "they are the fields of RKLLMSamplingParam"
    )]
    fn new(
        py: Python<'_>,
        top_k: Option<&Bound<'_, PyAny>>,
        top_p: Option<&Bound<'_, PyAny>>,
        temperature: Option<&Bound<'_, PyAny>>,
        repeat_penalty: Option<&Bound<'_, PyAny>>,
        frequency_penalty: Option<&Bound<'_, PyAny>>,
        presence_penalty: Option<&Bound<'_, PyAny>>,
        mirostat: Option<&Bound<'_, PyAny>>,
        mirostat_tau: Option<&Bound<'_, PyAny>>,
        mirostat_eta: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let float = |name, value: Option<&Bound<'_, PyAny>>| {
            value.map(|value| convert::float(name, value)).transpose()
        };
        let params = sampling::SamplingParams {
            top_k: convert::optional_integer("top_k", top_k)?,
            top_p: float("top_p", top_p)?,
            temperature: float("temperature", temperature)?,
            repeat_penalty: float("repeat_penalty", repeat_penalty)?,
            frequency_penalty: float("frequency_penalty", frequency_penalty)?,
            presence_penalty: float("presence_penalty", presence_penalty)?,
            mirostat: convert::optional_integer("mirostat", mirostat)?,
            mirostat_tau: float("mirostat_tau", mirostat_tau)?,
            mirostat_eta: float("mirostat_eta", mirostat_eta)?,
        };
        params.validate().map_err(|error| raise(py, &error))?;
        Ok(Self(params))
    }

    #[getter]
    fn top_k(&self) -> Option<i32> {
        self.0.top_k
    }
    #[getter]
    fn top_p(&self) -> Option<f32> {
        self.0.top_p
    }
    #[getter]
    fn temperature(&self) -> Option<f32> {
        self.0.temperature
    }
    #[getter]
    fn repeat_penalty(&self) -> Option<f32> {
        self.0.repeat_penalty
    }
    #[getter]
    fn frequency_penalty(&self) -> Option<f32> {
        self.0.frequency_penalty
    }
    #[getter]
    fn presence_penalty(&self) -> Option<f32> {
        self.0.presence_penalty
    }
    #[getter]
    fn mirostat(&self) -> Option<i32> {
        self.0.mirostat
    }
    #[getter]
    fn mirostat_tau(&self) -> Option<f32> {
        self.0.mirostat_tau
    }
    #[getter]
    fn mirostat_eta(&self) -> Option<f32> {
        self.0.mirostat_eta
    }

    fn __repr__(&self) -> String {
        let p = &self.0;
        let whole = |value: Option<i32>| value.map(|value| value.to_string());
        let number = |value: Option<f32>| value.map(|value| value.to_string());
        let fields = [
            ("top_k", whole(p.top_k)),
            ("top_p", number(p.top_p)),
            ("temperature", number(p.temperature)),
            ("repeat_penalty", number(p.repeat_penalty)),
            ("frequency_penalty", number(p.frequency_penalty)),
            ("presence_penalty", number(p.presence_penalty)),
            ("mirostat", whole(p.mirostat)),
            ("mirostat_tau", number(p.mirostat_tau)),
            ("mirostat_eta", number(p.mirostat_eta)),
        ];
        let set: Vec<String> = fields
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
            .collect();
        format!("SamplingParams({})", set.join(", "))
    }
}

/// Token ids as input.
#[pyclass(module = "rkllm_rs", frozen, eq, hash, sequence, skip_from_py_object)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tokens(pub(super) Vec<i32>);

#[pymethods]
impl Tokens {
    #[new]
    fn new(ids: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = ids.py();
        let ids = convert::token_ids(ids)?;
        // The same checks as for a run, so that bad ids are told where they are written.
        match crate::input::Input::tokens(ids) {
            Ok(crate::input::Input::Tokens(tokens)) => Ok(Self(tokens)),
            Ok(_) => unreachable!("tokens make token input"),
            Err(error) => Err(raise(py, &error)),
        }
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__(&self, index: isize) -> PyResult<i32> {
        // The interpreter has added the length to a negative index.
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| self.0.get(index));
        found
            .copied()
            .ok_or_else(|| pyo3::exceptions::PyIndexError::new_err("no such token"))
    }

    /// The ids.
    fn to_list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, &self.0)
    }

    fn __repr__(&self) -> String {
        if self.0.len() <= 16 {
            format!("Tokens({:?})", self.0)
        } else {
            format!("Tokens(<{} ids: {:?}, ...>)", self.0.len(), &self.0[..8])
        }
    }
}

//! `SamplingParams` and `Tokens`.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyDict, PyIterator, PyList, PyMapping, PyTuple};

use super::errors::raise;
use super::options::Argument;
use super::{convert, options};
use crate::protocol::sampling;

/// Parameters for sampling the next token (`RKLLMSamplingParam`).
///
/// All are optional keywords. A parameter that is not given, or `None`, defaults to the model's setting, or
/// else to the library's default. C stores them as `float`, so 0.7 reads back as the nearest `float`.
///
/// Before RKLLM 1.3.0 the library accepts them only when a model is opened. A call whose parameters differ
/// then raises `UnsupportedFeatureError`.
///
/// Immutable; any number of threads and tasks may use it at the same time.
///
/// Args:
///     top_k: Sample from the k most likely tokens only; 0 or more, 1 is greedy.
///     top_p: Sample from the most likely tokens whose probabilities add up to this value; 0 to 1.
///     temperature: Above 1 flattens the distribution, below 1 sharpens it; 0 or more, 0 is greedy.
///     repeat_penalty: Penalty for tokens that have already occurred; greater than 0, 1 changes nothing.
///     frequency_penalty: Penalty for each time a token has occurred; -2 to 2, 0 changes nothing.
///     presence_penalty: Penalty for a token that has occurred at least once; -2 to 2, 0 changes nothing.
///     mirostat: 0 is off, 1 is Mirostat, 2 is Mirostat 2.0.
///     mirostat_tau: Target surprise of Mirostat (tau), in bits per token; 0 or more.
///     mirostat_eta: Learning rate of Mirostat (eta); 0 or more.
///     min_p: Sample only from tokens of at least this share of the most likely token's probability; 0 to 1,
///         0 is off. On the NPU only with `sampler="own"`, like the next two.
///     typical_p: Sample from the tokens with the most typical surprise whose probabilities add up to this
///         value; 0 to 1, 1 is off.
///     logit_bias: A dict of token ids with numbers to add to their logits; `-inf` bans a token.
///
/// Raises:
///     InvalidArgumentError: A value is out of range (also a `ValueError`).
///     InvalidTypeError: A value has the wrong type (also a `TypeError`).
///
/// Example:
///     >>> from rkllm_rs import SamplingParams
///     >>> SamplingParams(temperature=0.7, top_k=40)
///     SamplingParams(top_k=40, temperature=0.7)
#[pyclass(module = "rkllm_rs", frozen, eq)]
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SamplingParams(pub(super) sampling::SamplingParams);

#[pymethods]
impl SamplingParams {
    #[new]
    #[pyo3(signature = (*surplus, top_k=None, top_p=None, temperature=None, repeat_penalty=None, frequency_penalty=None, presence_penalty=None, mirostat=None, mirostat_tau=None, mirostat_eta=None, min_p=None, typical_p=None, logit_bias=None, **unknown), text_signature = "(*, top_k=None, top_p=None, temperature=None, repeat_penalty=None, frequency_penalty=None, presence_penalty=None, mirostat=None, mirostat_tau=None, mirostat_eta=None, min_p=None, typical_p=None, logit_bias=None)")]
    #[allow(
        clippy::too_many_arguments,
        reason = "they are the fields of RKLLMSamplingParam"
    )]
    fn new(
        py: Python<'_>,
        surplus: &Bound<'_, PyTuple>,
        top_k: Option<&Bound<'_, PyAny>>,
        top_p: Option<&Bound<'_, PyAny>>,
        temperature: Option<&Bound<'_, PyAny>>,
        repeat_penalty: Option<&Bound<'_, PyAny>>,
        frequency_penalty: Option<&Bound<'_, PyAny>>,
        presence_penalty: Option<&Bound<'_, PyAny>>,
        mirostat: Option<&Bound<'_, PyAny>>,
        mirostat_tau: Option<&Bound<'_, PyAny>>,
        mirostat_eta: Option<&Bound<'_, PyAny>>,
        min_p: Option<&Bound<'_, PyAny>>,
        typical_p: Option<&Bound<'_, PyAny>>,
        logit_bias: Option<&Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        options::refuse(py, "SamplingParams", &[], surplus, unknown)?;
        let float = |name, value: Option<&Bound<'_, PyAny>>| {
            value.map(|value| convert::float(name, value)).transpose()
        };
        let params = sampling::SamplingParams {
            top_k: top_k
                .map(|value| convert::integer("top_k", value, 0..=i32::MAX))
                .transpose()?,
            top_p: float("top_p", top_p)?,
            temperature: float("temperature", temperature)?,
            repeat_penalty: float("repeat_penalty", repeat_penalty)?,
            frequency_penalty: float("frequency_penalty", frequency_penalty)?,
            presence_penalty: float("presence_penalty", presence_penalty)?,
            mirostat: mirostat
                .map(|value| convert::integer("mirostat", value, 0..=2))
                .transpose()?,
            mirostat_tau: float("mirostat_tau", mirostat_tau)?,
            mirostat_eta: float("mirostat_eta", mirostat_eta)?,
            min_p: float("min_p", min_p)?,
            typical_p: float("typical_p", typical_p)?,
            logit_bias: logit_bias.map(biases).transpose()?,
        };
        params.validate().map_err(|error| raise(py, &error))?;
        Ok(Self(params))
    }

    /// Sample from the k most likely tokens only; 1 is greedy. `None` if not set.
    #[getter]
    fn top_k(&self) -> Option<i32> {
        self.0.top_k
    }
    /// Sample from the most likely tokens whose probabilities add up to this. `None` if not set.
    #[getter]
    fn top_p(&self) -> Option<f32> {
        self.0.top_p
    }
    /// Above 1 flattens the distribution, below 1 sharpens it; 0 is greedy. `None` if not set.
    #[getter]
    fn temperature(&self) -> Option<f32> {
        self.0.temperature
    }
    /// Penalty for tokens that have already occurred; 1 changes nothing. `None` if not set.
    #[getter]
    fn repeat_penalty(&self) -> Option<f32> {
        self.0.repeat_penalty
    }
    /// Penalty for each time a token has occurred; 0 changes nothing. `None` if not set.
    #[getter]
    fn frequency_penalty(&self) -> Option<f32> {
        self.0.frequency_penalty
    }
    /// Penalty for a token that has occurred at all; 0 changes nothing. `None` if not set.
    #[getter]
    fn presence_penalty(&self) -> Option<f32> {
        self.0.presence_penalty
    }
    /// 0 is off, 1 is Mirostat, 2 is Mirostat 2.0. `None` if not set.
    #[getter]
    fn mirostat(&self) -> Option<i32> {
        self.0.mirostat
    }
    /// Target surprise of Mirostat (tau), in bits per token. `None` if not set.
    #[getter]
    fn mirostat_tau(&self) -> Option<f32> {
        self.0.mirostat_tau
    }
    /// Learning rate of Mirostat (eta). `None` if not set.
    #[getter]
    fn mirostat_eta(&self) -> Option<f32> {
        self.0.mirostat_eta
    }
    /// Least share of the most likely token's probability; 0 is off. `None` if not set.
    #[getter]
    fn min_p(&self) -> Option<f32> {
        self.0.min_p
    }
    /// Share of the most typical tokens; 1 is off. `None` if not set.
    #[getter]
    fn typical_p(&self) -> Option<f32> {
        self.0.typical_p
    }
    /// What is added to the logits of tokens, by their ids. `None` if not set.
    #[getter]
    fn logit_bias<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let bias = self.0.logit_bias.as_ref();
        bias.map(|bias| bias.into_py_dict(py)).transpose()
    }

    /// Supports `copy` and `pickle`.
    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let p = &self.0;
        let keywords = PyDict::new(py);
        keywords.set_item("top_k", p.top_k)?;
        keywords.set_item("top_p", p.top_p)?;
        keywords.set_item("temperature", p.temperature)?;
        keywords.set_item("repeat_penalty", p.repeat_penalty)?;
        keywords.set_item("frequency_penalty", p.frequency_penalty)?;
        keywords.set_item("presence_penalty", p.presence_penalty)?;
        keywords.set_item("mirostat", p.mirostat)?;
        keywords.set_item("mirostat_tau", p.mirostat_tau)?;
        keywords.set_item("mirostat_eta", p.mirostat_eta)?;
        keywords.set_item("min_p", p.min_p)?;
        keywords.set_item("typical_p", p.typical_p)?;
        keywords.set_item("logit_bias", self.logit_bias(py)?)?;
        Ok((PyTuple::empty(py), keywords))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let p = &self.0;
        let bias = self.logit_bias(py)?;
        let bias = bias.map(|bias| bias.repr()).transpose()?;
        let bias = bias.map(|bias| bias.to_string());
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
            ("min_p", number(p.min_p)),
            ("typical_p", number(p.typical_p)),
            ("logit_bias", bias),
        ];
        let set: Vec<String> = fields
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
            .collect();
        Ok(format!("SamplingParams({})", set.join(", ")))
    }
}

/// A dict of token ids with what is added to their logits.
pub(super) fn biases(value: &Bound<'_, PyAny>) -> PyResult<Vec<(i32, f32)>> {
    let wrong = || convert::wrong_type("logit_bias", "a dict of int and float", value);
    let given = value.cast::<PyMapping>().map_err(|_| wrong())?;
    let mut all = Vec::new();
    for item in given.items()?.try_iter()? {
        let (id, bias): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
        let name = format!("logit_bias key {}", id.repr()?);
        let id = convert::integer(&name, &id, 0..=i32::MAX)?;
        all.push((id, convert::float(&format!("logit_bias[{id}]"), &bias)?));
    }
    Ok(all)
}

/// Token ids as input (`RKLLM_INPUT_TOKEN`): no chat template and no tokenizer is applied.
///
/// A sequence with `len()`, indexing, iteration, comparison and hashing.
///
/// Immutable; any number of threads and tasks may use it at the same time.
///
/// Args:
///     ids: Any iterable of `int`, including NumPy arrays; at least one id, none negative.
///
/// Raises:
///     InvalidArgumentError: There are no ids, or an id is negative or does not fit `int32_t`.
///     InvalidTypeError: Not an iterable of `int`.
///
/// Example:
///     >>> from rkllm_rs import Tokens
///     >>> Tokens([1, 2, 3])
///     Tokens([1, 2, 3])
#[pyclass(module = "rkllm_rs", frozen, eq, hash, sequence)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tokens(pub(super) Vec<i32>);

#[pymethods]
impl Tokens {
    #[new]
    #[pyo3(signature = (ids=Argument::default(), *surplus, **unknown), text_signature = "(ids)")]
    fn new(
        py: Python<'_>,
        ids: Argument<'_>,
        surplus: &Bound<'_, PyTuple>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        options::refuse(py, "Tokens", &["ids"], surplus, unknown)?;
        let ids = convert::integers("ids", &ids.of(py, "Tokens", "ids")?)?;
        // The same checks as for a run, so that bad ids are told where they are written.
        match crate::protocol::input::Input::tokens(ids) {
            Ok(crate::protocol::input::Input::Tokens(tokens)) => Ok(Self(tokens)),
            Ok(_) => unreachable!("tokens make token input"),
            Err(error) => Err(raise(py, &error)),
        }
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, &self.0)?.try_iter()
    }

    fn __getitem__(&self, index: isize) -> PyResult<i32> {
        // Subscripts come as they are written, negative ones too.
        let from_end = index < 0;
        let found = match index.unsigned_abs() {
            back if from_end => self.0.len().checked_sub(back),
            index => Some(index),
        }
        .and_then(|index| self.0.get(index));
        found
            .copied()
            .ok_or_else(|| pyo3::exceptions::PyIndexError::new_err("token index out of range"))
    }

    /// Returns the ids as a new list.
    #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
    fn to_list<'py>(
        &self,
        py: Python<'py>,
        surplus: &Bound<'_, pyo3::types::PyTuple>,
        unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        options::refuse(py, "Tokens.to_list", &[], surplus, unknown)?;
        PyList::new(py, &self.0)
    }

    /// Supports `copy` and `pickle`.
    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>,)> {
        Ok((PyList::new(py, &self.0)?,))
    }

    fn __repr__(&self) -> String {
        if self.0.len() <= 16 {
            format!("Tokens({:?})", self.0)
        } else {
            format!("Tokens(<{} ids: {:?}, ...>)", self.0.len(), &self.0[..8])
        }
    }
}

//! The keywords of calls and of opening, as settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};

use super::callables::{Callables, callable};
use super::errors::raise;
use super::params::{SamplingParams, biases};
use super::{convert, inputs, structured};
use crate::model::{GenerateOptions, MOST_LOGPROBS};
use crate::protocol::Reuse;
use crate::protocol::config::ModelConfig;
use crate::protocol::constraint::Constraint;
use crate::protocol::error::Failure;
use crate::protocol::sampling;

/// What a call was given.
#[derive(Default)]
pub(super) struct Call {
    pub(super) options: GenerateOptions,
    pub(super) on_token: Option<Py<PyAny>>,
    /// Changes logits before a token is chosen.
    pub(super) logits_processor: Option<Py<PyAny>>,
    /// Makes `parsed` of the answer's text.
    pub(super) parse: Option<Py<PyAny>>,
    /// One per prompt of a batch.
    pub(super) roles: Option<Vec<String>>,
    pub(super) thinking: Option<Vec<bool>>,
}

/// What a call does, which decides what it can be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It generates.
    Generate,
    /// It generates in steps, which never go on from the run before.
    Steps,
    /// It gives rows of floats, and samples nothing.
    Rows,
}

/// Sampling: a `SamplingParams`, and single keywords, which win.
#[derive(Default)]
struct Sampling {
    params: sampling::SamplingParams,
    keywords: sampling::SamplingParams,
}

impl Sampling {
    /// Takes a keyword, if it is about sampling.
    fn takes(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let own = &mut self.keywords;
        match name {
            "sampling" => {
                let wrong = |_| convert::wrong_type(name, "SamplingParams", value);
                let params = given(value, |_| value.cast::<SamplingParams>().map_err(wrong))?;
                self.params = params
                    .map(|params| params.get().0.clone())
                    .unwrap_or_default();
            }
            "top_k" => own.top_k = integer(name, value, 0..=i32::MAX)?,
            "top_p" => own.top_p = float(name, value)?,
            "temperature" => own.temperature = float(name, value)?,
            "repeat_penalty" => own.repeat_penalty = float(name, value)?,
            "frequency_penalty" => own.frequency_penalty = float(name, value)?,
            "presence_penalty" => own.presence_penalty = float(name, value)?,
            "mirostat" => own.mirostat = integer(name, value, 0..=2)?,
            "mirostat_tau" => own.mirostat_tau = float(name, value)?,
            "mirostat_eta" => own.mirostat_eta = float(name, value)?,
            "min_p" => own.min_p = float(name, value)?,
            "typical_p" => own.typical_p = float(name, value)?,
            "logit_bias" => own.logit_bias = given(value, biases)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn merged(&self, py: Python<'_>) -> PyResult<sampling::SamplingParams> {
        let checked = self.keywords.validate();
        checked.map_err(|error| raise(py, &error))?;
        Ok(self.keywords.or(&self.params))
    }
}

/// `None` is the same as nothing.
fn given<'a, 'py, T>(
    value: &'a Bound<'py, PyAny>,
    convert: impl FnOnce(&'a Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    if value.is_none() {
        return Ok(None);
    }
    convert(value).map(Some)
}

fn integer<'py, T>(
    name: &str,
    value: &Bound<'py, PyAny>,
    range: RangeInclusive<T>,
) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr> + std::fmt::Display,
{
    given(value, |value| convert::integer(name, value, range))
}

fn float(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<f32>> {
    given(value, |value| convert::float(name, value))
}

fn boolean(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    given(value, |value| convert::boolean(name, value))
}

/// An argument that a signature lets be missing, so that a wrong keyword in its place, or nothing, gets its
/// own answer.
#[derive(Default)]
pub(super) struct Argument<'py>(Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Argument<'py> {
    type Error = std::convert::Infallible;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> Result<Self, Self::Error> {
        Ok(Self(Some(value.to_owned())))
    }
}

impl<'py> Argument<'py> {
    /// What `function` was given as its argument `name`, which it needs.
    pub(super) fn of(
        self,
        py: Python<'py>,
        function: &str,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.0.ok_or_else(|| missing(py, function, name))
    }
}

/// Refuses what `function` does not have: keywords, and more than the arguments `named` without a name.
pub(super) fn refuse(
    py: Python<'_>,
    function: &str,
    named: &[&str],
    surplus: &Bound<'_, PyTuple>,
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Some(name) = unknown.and_then(|unknown| unknown.keys().iter().next()) {
        return Err(unexpected(py, function, &convert::text("keyword", &name)?));
    }
    if surplus.is_empty() {
        return Ok(());
    }
    let count = named.len() + surplus.len();
    Err(misfit(py, &HELPER, "surplus", (function, named, count)))
}

/// `"auto"`, `"fast"` or `False`.
fn reuse(value: &Bound<'_, PyAny>) -> PyResult<Reuse> {
    let wanted = "\"auto\", \"fast\" or False";
    if let Ok(value) = value.cast::<PyBool>() {
        if !value.is_true() {
            return Ok(Reuse::Off);
        }
    } else if !value.is_instance_of::<PyString>() {
        return Err(convert::wrong_type("reuse", wanted, value));
    }
    match value.str()?.to_str()? {
        "auto" => Ok(Reuse::Auto),
        "fast" => Ok(Reuse::Fast),
        _ => {
            let got = value.repr()?.to_string().replace('\'', "\"");
            Err(raise(value.py(), &Failure::choice("reuse", wanted, got)))
        }
    }
}

/// `"library"` or `"own"`.
fn sampler(value: &Bound<'_, PyAny>) -> PyResult<sampling::Sampler> {
    let wanted = "\"library\" or \"own\"";
    match convert::choice("sampler", wanted, value)?.as_str() {
        "library" => Ok(sampling::Sampler::Library),
        "own" => Ok(sampling::Sampler::Own),
        other => {
            let got = format_args!("{other:?}");
            Err(raise(value.py(), &Failure::choice("sampler", wanted, got)))
        }
    }
}

/// A keyword that `function` does not have, with the one that was probably meant.
pub(super) fn unexpected(py: Python<'_>, function: &str, name: &str) -> PyErr {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    misfit(py, &HELPER, "unexpected", (function, name))
}

/// A class that programs do not call.
pub(super) fn not_made(py: Python<'_>, class: &str) -> PyErr {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    misfit(py, &HELPER, "not_made", (class,))
}

/// A stream that is awaited.
pub(super) fn awaited(py: Python<'_>, class: &str) -> PyErr {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    misfit(py, &HELPER, "awaited", (class,))
}

/// A name that a result does not have, and what other packages call so.
pub(super) fn no_attribute(result: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> PyErr {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    misfit(result.py(), &HELPER, "no_result", (result, name))
}

/// A result that is used as a dict or a list.
pub(super) fn no_item(result: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>) -> PyErr {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    misfit(result.py(), &HELPER, "no_item", (result, key))
}

/// An argument that `function` needs and was not given.
pub(super) fn missing(py: Python<'_>, function: &str, name: &str) -> PyErr {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    misfit(py, &HELPER, "missing", (function, name))
}

/// The error that a function of `rkllm_rs._keywords` makes.
fn misfit<'py>(
    py: Python<'py>,
    helper: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
    arguments: impl PyCallArgs<'py>,
) -> PyErr {
    let made = helper
        .import(py, "rkllm_rs._keywords", name)
        .and_then(|helper| helper.call1(arguments));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// The keywords of a call of the name `function`.
pub(super) fn call(
    py: Python<'_>,
    function: &str,
    kind: Kind,
    keywords: &Bound<'_, PyDict>,
) -> PyResult<Call> {
    let mut call = Call::default();
    if keywords.is_empty() {
        return Ok(call);
    }
    let mut sampling = Sampling::default();
    let options = &mut call.options;
    let generates = kind != Kind::Rows;
    for (key, value) in keywords {
        let key = key.cast_into::<PyString>()?;
        let name = key.to_str()?;
        let value = &value;
        match name {
            "timeout" => {
                let seconds = |value| convert::seconds(name, Some(value));
                options.timeout = given(value, seconds)?.flatten();
            }
            "lora" => options.lora = given(value, |value| convert::text(name, value))?,
            "keep_history" if kind != Kind::Steps => {
                options.keep_history = boolean(name, value)?.unwrap_or_default();
            }
            "role" if value.is_none() || value.is_instance_of::<PyString>() => {
                options.role = given(value, |value| convert::text(name, value))?;
            }
            "role" => {
                let wanted = "\"user\" or \"tool\"";
                let role =
                    |name: &str, item: &Bound<'_, PyAny>| convert::choice(name, wanted, item);
                call.roles = Some(convert::items(name, wanted, value, role)?);
            }
            "thinking" if convert::iterable(value).is_some() => {
                let all = convert::items(name, "a bool", value, convert::boolean)?;
                call.thinking = Some(all);
            }
            "thinking" => options.thinking = boolean(name, value)?,
            "max_new_tokens" if generates => {
                options.max_new_tokens = integer(name, value, 1..=i32::MAX)?;
            }
            "stop" if generates => {
                let texts = |value| convert::texts(name, value);
                options.stop = given(value, texts)?.unwrap_or_default();
            }
            "seed" if generates => options.seed = given(value, convert::seed)?,
            "logprobs" if generates => {
                options.logprobs = integer(name, value, 0..=MOST_LOGPROBS)?;
            }
            "sampler" if generates => {
                options.sampler = given(value, sampler)?.unwrap_or_default();
            }
            "reuse" if generates => options.reuse = given(value, reuse)?.unwrap_or_default(),
            "save_prompt_cache" if generates => {
                options.save_prompt_cache = given(value, |value| convert::path(name, value))?;
            }
            "logits_processor" if generates => {
                call.logits_processor = given(value, |value| callable(name, value))?;
            }
            "on_token" if generates => {
                call.on_token = given(value, |value| callable(name, value))?;
            }
            "json_schema" | "regex" | "choices" | "grammar" if kind == Kind::Generate => {
                if let Some((grammar, parse)) = structured::grammar(name, value)? {
                    if let Some(other) = &options.constraint {
                        return Err(structured::two(py, name, other));
                    }
                    options.constraint = Some(Constraint::new(grammar));
                    call.parse = parse;
                }
            }
            "constraint" if kind == Kind::Generate => {
                options.constraint_way = given(value, structured::way)?.flatten();
            }
            _ if generates && sampling.takes(name, value)? => {}
            _ => return Err(unexpected(py, function, name)),
        }
    }
    options.sampling = sampling.merged(py)?;
    Ok(call)
}

/// The keywords of opening.
pub(super) fn config(
    py: Python<'_>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<(ModelConfig, Callables)> {
    let mut config = ModelConfig::default();
    let mut sampling = Sampling::default();
    let (mut tokenizer, mut embedder) = (None, None);
    for (key, value) in keywords.into_iter().flatten() {
        let key = key.cast_into::<PyString>()?;
        let name = key.to_str()?;
        let value = &value;
        let c_text = |name| {
            let text = given(value, |value| convert::c_text(name, Some(value)))?;
            PyResult::Ok(text.flatten())
        };
        match name {
            "open_timeout" => {
                let seconds = given(value, |value| convert::seconds(name, Some(value)))?;
                config.open_timeout = Some(seconds.flatten().unwrap_or(Duration::MAX));
            }
            "max_context_len" => config.max_context_len = integer(name, value, 1..=i32::MAX)?,
            "max_new_tokens" => config.max_new_tokens = integer(name, value, 1..=i32::MAX)?,
            "n_keep" => config.n_keep = integer(name, value, -1..=i32::MAX)?,
            "skip_special_token" => config.skip_special_token = boolean(name, value)?,
            // Private: from the model's family.
            "end_marks" => config.end_marks = value.extract()?,
            "ignore_eos_token" => config.ignore_eos_token = boolean(name, value)?,
            "img_start" => config.img_start = c_text(name)?,
            "img_end" => config.img_end = c_text(name)?,
            "img_content" => config.img_content = c_text(name)?,
            "base_domain_id" => config.base_domain_id = integer(name, value, 0..=i32::MAX)?,
            "embed_flash" => config.embed_flash = boolean(name, value)?,
            "enabled_cpus_num" => config.enabled_cpus_num = integer(name, value, 1..=32)?,
            "enabled_cpus_mask" => {
                config.enabled_cpus_mask = given(value, |value| convert::cpu_mask(name, value))?;
            }
            "n_batch" => config.n_batch = integer(name, value, 1..=100)?,
            "use_cross_attn" => config.use_cross_attn = boolean(name, value)?,
            "template" => {
                if let Some(template) = given(value, inputs::template)? {
                    config.template = template;
                }
            }
            "tokenizer" => {
                tokenizer = given(value, |value| callable(name, value))?;
                config.tokenizer = tokenizer.is_some();
            }
            "embedder" => {
                embedder = given(value, |value| callable(name, value))?;
                config.embedder = embedder.is_some();
            }
            _ if sampling.takes(name, value)? => {}
            _ => return Err(unexpected(py, "RKLLM", name)),
        }
    }
    config.sampling = sampling.merged(py)?;
    Ok((config, Callables::new(tokenizer, embedder)))
}

//! `Model`, on which Python's `RKLLM` stands.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::errors::raise;
use super::params::{SamplingParams, Tokens};
use super::runtime::Runtime;
use super::stream::TokenStream;
use super::{convert, wait};
use crate::config::ModelConfig;
use crate::error::Error;
use crate::input::Input;
use crate::model::{self, GenerateOptions, Pending};
use crate::sampling;

/// An open model (`LLMHandle`); programs use `rkllm_rs.RKLLM`.
#[pyclass(module = "rkllm_rs._native", frozen)]
pub(super) struct Model {
    model: model::Model,
    runtime: Py<Runtime>,
}

fn own_sampling(value: &Bound<'_, PyAny>) -> PyResult<sampling::SamplingParams> {
    let wrong = |_| convert::wrong_type("sampling", "SamplingParams", value);
    Ok(value.cast::<SamplingParams>().map_err(wrong)?.get().0)
}

fn optional_boolean(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<bool>> {
    value.map(|value| convert::boolean(name, value)).transpose()
}

fn config(keywords: &Bound<'_, PyDict>) -> PyResult<ModelConfig> {
    let mut config = ModelConfig::default();
    for (key, value) in keywords {
        if value.is_none() {
            continue;
        }
        let key = key.extract::<String>()?;
        let name = key.as_str();
        let value = &value;
        match name {
            "max_context_len" => config.max_context_len = Some(convert::integer(name, value)?),
            "max_new_tokens" => config.max_new_tokens = Some(convert::integer(name, value)?),
            "n_keep" => config.n_keep = Some(convert::integer(name, value)?),
            "sampling" => config.sampling = own_sampling(value)?,
            "skip_special_token" => {
                config.skip_special_token = Some(convert::boolean(name, value)?);
            }
            "ignore_eos_token" => config.ignore_eos_token = Some(convert::boolean(name, value)?),
            "img_start" => config.img_start = convert::c_text(name, Some(value))?,
            "img_end" => config.img_end = convert::c_text(name, Some(value))?,
            "img_content" => config.img_content = convert::c_text(name, Some(value))?,
            "base_domain_id" => config.base_domain_id = Some(convert::integer(name, value)?),
            "embed_flash" => config.embed_flash = Some(convert::boolean(name, value)?),
            "enabled_cpus_num" => config.enabled_cpus_num = Some(convert::integer(name, value)?),
            "enabled_cpus_mask" => config.enabled_cpus_mask = Some(convert::integer(name, value)?),
            "n_batch" => config.n_batch = Some(convert::integer(name, value)?),
            "use_cross_attn" => config.use_cross_attn = Some(convert::boolean(name, value)?),
            _ => {
                let message = format!("RKLLM() got an unexpected keyword argument '{name}'");
                let hint = "See help(rkllm_rs.RKLLM).".to_owned();
                return Err(super::errors::InvalidType::new_err(
                    value.py(),
                    &message,
                    hint,
                ));
            }
        }
    }
    Ok(config)
}

fn input(value: &Bound<'_, PyAny>) -> PyResult<Input> {
    let py = value.py();
    if let Ok(tokens) = value.cast::<Tokens>() {
        return Ok(Input::Tokens(tokens.get().0.clone()));
    }
    if value.is_instance_of::<PyString>() {
        let text = convert::text("prompt", value)?;
        return Input::prompt(&text).map_err(|error| raise(py, &error));
    }
    Err(convert::wrong_type("input", "a str or Tokens", value))
}

#[pymethods]
impl Model {
    /// Opens a model (`rkllm_init`); waits in steps, so that a signal gives up and raises at once.
    #[staticmethod]
    #[pyo3(signature = (runtime, path, **settings))]
    fn open(
        py: Python<'_>,
        runtime: Py<Runtime>,
        path: &Bound<'_, PyAny>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let path = convert::path("model", path)?;
        let config = settings.map(config).transpose()?.unwrap_or_default();
        let library = Arc::clone(&runtime.get().0);
        let begun = super::detach(py, || model::Model::begin_open(&library, &path, config));
        let mut opening = begun.map_err(|error| raise(py, &error))?;
        let opened = wait(py, |step| opening.wait(step))?;
        super::vendor_log::pass_on(py);
        Ok(Self {
            model: opened.map_err(|error| raise(py, &error))?,
            runtime,
        })
    }

    /// The library that runs it.
    #[getter]
    fn runtime(&self, py: Python<'_>) -> Py<Runtime> {
        self.runtime.clone_ref(py)
    }
    /// The model's file.
    #[getter]
    fn path(&self) -> OsString {
        self.model.path().as_os_str().to_owned()
    }
    /// Whether it is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.model.is_closed()
    }
    /// Context window in tokens, as opened.
    #[getter]
    fn max_context_len(&self) -> i32 {
        self.model.effective().max_context_len
    }
    /// Most tokens of an answer, as opened.
    #[getter]
    fn max_new_tokens(&self) -> i32 {
        self.model.effective().max_new_tokens
    }
    /// Sampling as opened, every value known.
    #[getter]
    fn sampling(&self) -> SamplingParams {
        SamplingParams(self.model.effective().sampling.into())
    }

    /// Starts a run (`rkllm_run`) and returns its stream; never blocks.
    #[pyo3(signature = (input, *, max_new_tokens=None, sampling=None, timeout=None, keep_history=None, role=None, thinking=None))]
    #[allow(clippy::too_many_arguments, reason = "the keywords of a call")]
    fn stream(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = input)] input: Input,
        max_new_tokens: Option<&Bound<'_, PyAny>>,
        sampling: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        keep_history: Option<&Bound<'_, PyAny>>,
        role: Option<&Bound<'_, PyAny>>,
        thinking: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<TokenStream> {
        let sampling = match sampling {
            Some(value) => own_sampling(value)?,
            None => sampling::SamplingParams::default(),
        };
        let options = GenerateOptions {
            max_new_tokens: convert::optional_integer("max_new_tokens", max_new_tokens)?,
            sampling,
            timeout: convert::seconds("timeout", timeout)?,
            keep_history: optional_boolean("keep_history", keep_history)?.unwrap_or(false),
            role: role.map(|role| convert::text("role", role)).transpose()?,
            thinking: optional_boolean("thinking", thinking)?,
        };
        let stream = self
            .model
            .stream(input, &options)
            .map_err(|error| raise(py, &error))?;
        Ok(TokenStream::new(stream))
    }

    /// Empties the KV cache (`rkllm_clear_kv_cache`).
    #[pyo3(signature = (*, keep_system_prompt=false))]
    fn clear_kv_cache(&self, py: Python<'_>, keep_system_prompt: bool) -> PyResult<()> {
        pending(py, self.model.begin_clear_kv_cache(keep_system_prompt)).map(drop)
    }

    /// Tokens in the KV cache, one number for each row of a batch (`rkllm_get_kv_cache_size`).
    fn kv_cache_size(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
        pending(py, self.model.begin_kv_cache_size())
    }

    /// Ends all runs and gives the model back (`rkllm_destroy`).
    fn close(&self, py: Python<'_>) {
        super::detach(py, || self.model.close());
    }
}

fn pending(py: Python<'_>, asked: Result<Pending, Error>) -> PyResult<Vec<i32>> {
    let pending = asked.map_err(|error| raise(py, &error))?;
    let pending = parking_lot::Mutex::new(pending);
    wait(py, |step| pending.lock().wait(step))?.map_err(|error| raise(py, &error))
}

/// Closes all models; true when the library has let go of them.
#[pyfunction]
pub(super) fn shut_down(py: Python<'_>) -> bool {
    super::detach(py, crate::shut_down)
}

/// `shut_down` for the end of the interpreter, from which no other thread comes back.
#[pyfunction]
pub(super) fn at_exit(py: Python<'_>) {
    super::ENDING.store(true, Ordering::Release);
    let _ = py.detach(crate::shut_down);
}

//! The keywords of calls and of opening, as settings.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::callables::{Callables, callable};
use super::errors::InvalidType;
use super::params::SamplingParams;
use super::{convert, inputs};
use crate::model::{Caller, GenerateOptions};
use crate::protocol::config::ModelConfig;
use crate::protocol::sampling;

/// What a call was given.
#[derive(Default)]
pub(super) struct Call {
    pub(super) options: GenerateOptions,
    pub(super) on_token: Option<Py<PyAny>>,
    /// One for each row of a batch.
    pub(super) roles: Option<Vec<String>>,
    pub(super) thinking: Option<Vec<bool>>,
}

fn own_sampling(value: &Bound<'_, PyAny>) -> PyResult<sampling::SamplingParams> {
    let wrong = |_| convert::wrong_type("sampling", "SamplingParams", value);
    Ok(value.cast::<SamplingParams>().map_err(wrong)?.get().0)
}

fn unexpected(function: &str, name: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let message = format!("{function}() got an unexpected keyword argument '{name}'");
    let hint = "See help(rkllm_rs.RKLLM).".to_owned();
    InvalidType::new_err(value.py(), &message, hint)
}

/// The keywords of a call.
pub(super) fn call(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Call> {
    let mut call = Call::default();
    let options = &mut call.options;
    for (key, value) in keywords.into_iter().flatten() {
        if value.is_none() {
            continue;
        }
        let key = key.cast_into::<PyString>()?;
        let name = key.to_str()?;
        let value = &value;
        match name {
            "max_new_tokens" => options.max_new_tokens = Some(convert::integer(name, value)?),
            "sampling" => options.sampling = own_sampling(value)?,
            "stop" => options.stop = convert::texts(name, value)?,
            "seed" => options.seed = Some(convert::seed(value)?),
            "timeout" => options.timeout = convert::seconds(name, Some(value))?,
            "lora" => options.lora = Some(convert::text(name, value)?),
            "save_prompt_cache" => options.save_prompt_cache = Some(convert::path(name, value)?),
            "keep_history" => options.keep_history = convert::boolean(name, value)?,
            "role" if value.is_instance_of::<PyString>() => {
                options.role = Some(convert::text(name, value)?);
            }
            "role" => call.roles = Some(convert::texts(name, value)?),
            "thinking" => match value.try_iter() {
                Ok(items) => {
                    let all = items.map(|item| convert::boolean(name, &item?));
                    call.thinking = Some(all.collect::<PyResult<_>>()?);
                }
                Err(_) => options.thinking = Some(convert::boolean(name, value)?),
            },
            "on_token" => call.on_token = Some(callable(name, value)?),
            "caller" => options.caller = Some(Caller::task(value.extract()?)),
            _ => return Err(unexpected("generate", name, value)),
        }
    }
    Ok(call)
}

/// The keywords of opening.
pub(super) fn config(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<(ModelConfig, Callables)> {
    let mut config = ModelConfig::default();
    let (mut tokenizer, mut embedder) = (None, None);
    for (key, value) in keywords.into_iter().flatten() {
        let key = key.cast_into::<PyString>()?;
        let name = key.to_str()?;
        let value = &value;
        if name == "open_timeout" {
            let given = Some(value).filter(|value| !value.is_none());
            config.open_timeout = Some(convert::seconds(name, given)?.unwrap_or(Duration::MAX));
            continue;
        }
        if value.is_none() {
            continue;
        }
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
            "enabled_cpus_mask" => config.enabled_cpus_mask = Some(convert::cpu_mask(name, value)?),
            "n_batch" => config.n_batch = Some(convert::integer(name, value)?),
            "use_cross_attn" => config.use_cross_attn = Some(convert::boolean(name, value)?),
            "template" => config.template = inputs::template(value)?,
            "tokenizer" => {
                tokenizer = Some(callable(name, value)?);
                config.tokenizer = true;
            }
            "embedder" => {
                embedder = Some(callable(name, value)?);
                config.embedder = true;
            }
            _ => return Err(unexpected("RKLLM", name, value)),
        }
    }
    Ok((config, Callables::new(tokenizer, embedder)))
}

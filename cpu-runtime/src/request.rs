//! What a run is asked to do, copied out of the caller's structs.
#![allow(unsafe_code, reason = "reads the caller's C structs")]

use std::ffi::{CStr, CString, c_char};

use rkllm_ffi::shared::{infer_mode, input_type};
use rkllm_ffi::v1_3_0::{RKLLMInferParam, RKLLMInput};

use crate::params;
use rkllm_text::sampler::Sampling;

/// The input of one lane.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Text(Vec<u8>),
    Tokens(Vec<i32>),
    /// Rows of the model's width.
    Embeddings(Vec<f32>),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Tool,
}

/// One lane of a run.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) role: Role,
    pub(crate) thinking: bool,
    pub(crate) content: Content,
}

/// What a run gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Generate,
    HiddenStates,
    Logits,
}

/// A run, owned: nothing in it points into the caller's memory.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) inputs: Vec<Input>,
    pub(crate) mode: Mode,
    pub(crate) adapter: Option<Vec<u8>>,
    pub(crate) save_cache: Option<CString>,
    pub(crate) sampling: Option<Sampling>,
    pub(crate) keep_history: bool,
    pub(crate) max_new_tokens: Option<usize>,
}

/// The bytes of a C string; None for NULL.
///
/// # Safety
///
/// `text` is NULL or NUL-terminated, and stays so while this function runs.
pub(crate) unsafe fn bytes(text: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: not NULL here, and NUL-terminated by this function's contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// The role that a C string names; NULL and empty mean the user.
///
/// # Safety
///
/// As [`bytes`].
pub(crate) unsafe fn role(text: *const c_char) -> Result<Role, String> {
    // SAFETY: by this function's contract.
    match unsafe { bytes(text) }.as_deref() {
        None | Some(b"" | b"user") => Ok(Role::User),
        Some(b"tool") => Ok(Role::Tool),
        Some(other) => Err(format!(
            "role must be \"user\" or \"tool\", got {}",
            String::from_utf8_lossy(other)
        )),
    }
}

/// Copies `count` values.
///
/// # Safety
///
/// `from` is NULL or points to `count` values.
unsafe fn values<T: Copy>(from: *const T, count: usize, what: &str) -> Result<Vec<T>, String> {
    if from.is_null() || count == 0 {
        return Err(format!("the {what} input is empty"));
    }
    if count > isize::MAX as usize / size_of::<T>() {
        return Err(format!("the {what} input is too large"));
    }
    // SAFETY: by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(from, count) }.to_vec())
}

/// # Safety
///
/// `input` follows `rkllm.h`: the union member that its type selects is set.
unsafe fn input(input: &RKLLMInput, width: usize) -> Result<Input, String> {
    // SAFETY: by the contract, for this string and for the union members below.
    let role = unsafe { role(input.role)? };
    let content = match input.input_type {
        input_type::PROMPT => {
            // SAFETY: the type selects this member.
            let text = unsafe { bytes(input.input.prompt_input) };
            Content::Text(text.ok_or("prompt_input is NULL")?)
        }
        input_type::TOKEN => {
            // SAFETY: the type selects this member.
            let tokens = unsafe { input.input.token_input };
            Content::Tokens(if tokens.n_tokens == 0 {
                // For the session to judge: a lane of a paused batch may rest.
                Vec::new()
            } else {
                // SAFETY: the caller gives `n_tokens` ids.
                unsafe { values(tokens.input_ids, tokens.n_tokens, "token")? }
            })
        }
        input_type::EMBED => {
            // SAFETY: the type selects this member.
            let rows = unsafe { input.input.embed_input };
            let count = rows
                .n_tokens
                .checked_mul(width)
                .ok_or("the embedding input is too large")?;
            // SAFETY: the caller gives `n_tokens` rows of the model's width.
            Content::Embeddings(unsafe { values(rows.embed, count, "embedding")? })
        }
        input_type::MULTIMODAL => return Err("this model does not support images or videos".into()),
        other => return Err(format!("unknown input_type {other}")),
    };
    Ok(Input {
        role,
        thinking: input.enable_thinking != 0,
        content,
    })
}

/// Copies a run's structs.
///
/// # Safety
///
/// `inputs` is NULL or points to `lanes` structs, `infer` is NULL or points to one, each filled as
/// `rkllm.h` says and valid while this function runs.
pub(crate) unsafe fn read(
    inputs: *const RKLLMInput,
    infer: *const RKLLMInferParam,
    lanes: usize,
    width: usize,
) -> Result<Request, String> {
    if inputs.is_null() {
        return Err("rkllm_input is NULL".into());
    }
    if infer.is_null() {
        return Err("rkllm_infer_params is NULL".into());
    }
    // SAFETY: both are valid by this function's contract.
    let (inputs, infer) = unsafe { (std::slice::from_raw_parts(inputs, lanes), &*infer) };
    let mode = match infer.mode {
        infer_mode::GENERATE => Mode::Generate,
        infer_mode::LAST_HIDDEN_LAYER => Mode::HiddenStates,
        infer_mode::LOGITS => Mode::Logits,
        other => return Err(format!("unknown mode {other}")),
    };
    // SAFETY: NULL or a struct of the caller's, valid for the call.
    let adapter = unsafe { infer.lora_params.as_ref() };
    let adapter = match adapter {
        Some(lora) => {
            // SAFETY: NULL or NUL-terminated.
            let name = unsafe { bytes(lora.lora_adapter_name) };
            Some(name.ok_or("lora_adapter_name is NULL")?)
        }
        None => None,
    };
    // SAFETY: NULL or a struct of the caller's, valid for the call.
    let cache = unsafe { infer.prompt_cache_params.as_ref() };
    let save_cache = cache
        .filter(|cache| cache.save_prompt_cache != 0)
        .map(|cache| {
            // SAFETY: NULL or NUL-terminated.
            let path = unsafe { bytes(cache.prompt_cache_path) };
            CString::new(path.unwrap_or_else(|| b"./prompt_cache.bin".to_vec())).unwrap_or_default()
        });
    // SAFETY: NULL or a struct of the caller's, valid for the call.
    let sampling = unsafe { infer.sampling_params.as_ref() };
    let mut owned = Vec::with_capacity(lanes);
    for one in inputs {
        // SAFETY: by this function's contract.
        owned.push(unsafe { input(one, width)? });
    }
    Ok(Request {
        inputs: owned,
        mode,
        adapter,
        save_cache,
        sampling: sampling.map(params::check_sampling).transpose()?,
        keep_history: infer.keep_history != 0,
        max_new_tokens: params::limit(infer.max_new_tokens),
    })
}

//! The layouts of 1.0.1 and 1.0.2, which `rkllm_rs` recognises by their symbols only to refuse them.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;

use crate::ffi::StructLayout;
use crate::ffi::shared::{CBool, LLMHandle};
use crate::output;

/// Everything `rkllm_init` is given by value, besides the callback.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields bear their C names")]
pub struct RKLLMParam {
    pub model_path: *const c_char,
    pub num_npu_core: i32,
    pub max_context_len: i32,
    pub max_new_tokens: i32,
    pub top_k: i32,
    pub top_p: f32,
    pub temperature: f32,
    pub repeat_penalty: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    pub mirostat: i32,
    pub mirostat_tau: f32,
    pub mirostat_eta: f32,
    pub logprobs: CBool,
    pub top_logprobs: i32,
    pub use_gpu: CBool,
}

const _: () = {
    let on64 = cfg!(target_pointer_width = "64");
    assert!(size_of::<RKLLMParam>() == if on64 { 72 } else { 64 });
    assert!(offset_of!(RKLLMParam, use_gpu) == if on64 { 64 } else { 60 });
};

/// `LLMResultCallback` of 1.0.1; never called.
pub type ResultCallback = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int);

/// The layout of `RKLLMParam`.
#[must_use]
pub fn layouts() -> Vec<StructLayout> {
    macro_rules! fields {
        ($($field:ident),*) => {
            vec![$((stringify!($field).to_owned(), offset_of!(RKLLMParam, $field))),*]
        };
    }
    vec![StructLayout {
        name: "RKLLMParam",
        size: size_of::<RKLLMParam>(),
        align: align_of::<RKLLMParam>(),
        fields: fields![
            model_path,
            num_npu_core,
            max_context_len,
            max_new_tokens,
            top_k,
            top_p,
            temperature,
            repeat_penalty,
            frequency_penalty,
            presence_penalty,
            mirostat,
            mirostat_tau,
            mirostat_eta,
            logprobs,
            top_logprobs,
            use_gpu
        ],
    }]
}

/// Answers every call but `rkllm_createDefaultParam`: this layout is there to be refused.
pub fn refuse(function: &str, handle: LLMHandle) -> c_int {
    crate::config::recorder().write(function, |fields| {
        fields.insert("handle".to_owned(), handle.addr().into());
    });
    output::error("the fake of 1.0.1 runs no models");
    -1
}

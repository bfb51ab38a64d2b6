//! Layout `v1_2_0`: releases 1.2.0 and 1.2.1b1.
//!
//! The two cannot be told apart by symbols, so the input structs here are the larger ones of
//! 1.2.1b1, which serve both: 1.2.0 reads a prefix of them.

use std::ffi::{c_char, c_int, c_void};

use super::layout::{Layout, StructLayout, abi_structs};
use super::shared::abi_functions;
pub use super::shared::{
    CBool, LLMHandle, RKLLMEmbedInput, RKLLMInferParam, RKLLMLoraAdapter, RKLLMLoraParam,
    RKLLMMultiModelInput, RKLLMPromptCacheParam, RKLLMResultLastHiddenLayer, RKLLMResultLogits,
    RKLLMTokenInput,
};

abi_structs! {
    /// The part of `RKLLMParam` that grew without moving its tail.
    pub struct RKLLMExtendParam[120, 120; 4, 4] {
        base_domain_id: i32 = 0, 0;
        embed_flash: i8 = 4, 4;
        enabled_cpus_num: i8 = 5, 5;
        enabled_cpus_mask: u32 = 8, 8;
        reserved: [u8; 106] = 12, 12;
    }

    /// Everything `rkllm_init` reads, besides the callback.
    pub struct RKLLMParam[208, 188; 8, 4] {
        model_path: *const c_char = 0, 0;
        max_context_len: i32 = 8, 4;
        max_new_tokens: i32 = 12, 8;
        top_k: i32 = 16, 12;
        n_keep: i32 = 20, 16;
        top_p: f32 = 24, 20;
        temperature: f32 = 28, 24;
        repeat_penalty: f32 = 32, 28;
        frequency_penalty: f32 = 36, 32;
        presence_penalty: f32 = 40, 36;
        mirostat: i32 = 44, 40;
        mirostat_tau: f32 = 48, 44;
        mirostat_eta: f32 = 52, 48;
        skip_special_token: CBool = 56, 52;
        is_async: CBool = 57, 53;
        img_start: *const c_char = 64, 56;
        img_end: *const c_char = 72, 60;
        img_content: *const c_char = 80, 64;
        extend_param: RKLLMExtendParam = 88, 68;
    }

    /// What the result callback is handed; valid inside the call only.
    pub struct RKLLMResult[48, 32; 8, 4] {
        text: *const c_char = 0, 0;
        token_id: i32 = 8, 4;
        last_hidden_layer: RKLLMResultLastHiddenLayer = 16, 8;
        logits: RKLLMResultLogits = 32, 20;
    }

    /// One prompt for `rkllm_run`; `input_type` selects the union member.
    pub struct RKLLMInput[56, 28; 8, 4] {
        input_type: c_int = 0, 0;
        input: RKLLMInputUnion => [prompt_input, embed_input, token_input, multimodal_input] = 8, 4;
    }
}

/// The unnamed union inside `RKLLMInput`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the members bear their C names")]
pub union RKLLMInputUnion {
    pub prompt_input: *const c_char,
    pub embed_input: RKLLMEmbedInput,
    pub token_input: RKLLMTokenInput,
    pub multimodal_input: RKLLMMultiModelInput,
}

/// `LLMResultCallback`, which returns nothing in this layout.
pub type ResultCallback = unsafe extern "C" fn(*mut RKLLMResult, *mut c_void, c_int);

abi_functions!(callback: ResultCallback);

/// The layouts of this layout, as compiled.
#[must_use]
pub fn layouts() -> Vec<StructLayout> {
    vec![
        RKLLMExtendParam::layout(),
        RKLLMParam::layout(),
        RKLLMLoraAdapter::layout(),
        RKLLMEmbedInput::layout(),
        RKLLMTokenInput::layout(),
        RKLLMMultiModelInput::layout(),
        RKLLMInput::layout(),
        RKLLMLoraParam::layout(),
        RKLLMPromptCacheParam::layout(),
        RKLLMInferParam::layout(),
        RKLLMResultLastHiddenLayer::layout(),
        RKLLMResultLogits::layout(),
        RKLLMResult::layout(),
    ]
}

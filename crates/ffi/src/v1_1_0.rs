//! Layout `v1_1_0`: releases 1.1.0 to 1.1.4.

use std::ffi::{c_char, c_int, c_void};

use super::layout::{Layout, StructLayout, abi_structs};
use super::shared::abi_functions;
pub use super::shared::{
    CBool, LLMHandle, RKLLMEmbedInput, RKLLMLoraAdapter, RKLLMLoraParam, RKLLMPromptCacheParam,
    RKLLMResultLastHiddenLayer, RKLLMTokenInput,
};

abi_structs! {
    /// The part of `RKLLMParam` that grew without moving its tail.
    pub struct RKLLMExtendParam[116, 116; 4, 4] {
        base_domain_id: i32 = 0, 0;
        reserved: [u8; 112] = 4, 4;
    }

    /// Everything `rkllm_init` reads, besides the callback.
    pub struct RKLLMParam[200, 180; 8, 4] {
        model_path: *const c_char = 0, 0;
        max_context_len: i32 = 8, 4;
        max_new_tokens: i32 = 12, 8;
        top_k: i32 = 16, 12;
        top_p: f32 = 20, 16;
        temperature: f32 = 24, 20;
        repeat_penalty: f32 = 28, 24;
        frequency_penalty: f32 = 32, 28;
        presence_penalty: f32 = 36, 32;
        mirostat: i32 = 40, 36;
        mirostat_tau: f32 = 44, 40;
        mirostat_eta: f32 = 48, 44;
        skip_special_token: CBool = 52, 48;
        is_async: CBool = 53, 49;
        img_start: *const c_char = 56, 52;
        img_end: *const c_char = 64, 56;
        img_content: *const c_char = 72, 60;
        extend_param: RKLLMExtendParam = 80, 64;
    }

    /// Text with image embeddings.
    pub struct RKLLMMultiModelInput[24, 12; 8, 4] {
        prompt: *const c_char = 0, 0;
        image_embed: *const f32 = 8, 4;
        n_image_tokens: usize = 16, 8;
    }

    /// One prompt for `rkllm_run`; `input_type` selects the union member.
    pub struct RKLLMInput[32, 16; 8, 4] {
        input_type: c_int = 0, 0;
        input: RKLLMInputUnion => [prompt_input, embed_input, token_input, multimodal_input] = 8, 4;
    }

    /// How one `rkllm_run` is to work.
    pub struct RKLLMInferParam[24, 12; 8, 4] {
        mode: c_int = 0, 0;
        lora_params: *const RKLLMLoraParam = 8, 4;
        prompt_cache_params: *const RKLLMPromptCacheParam = 16, 8;
    }

    /// What the result callback is handed; valid inside the call only.
    pub struct RKLLMResult[32, 20; 8, 4] {
        text: *const c_char = 0, 0;
        token_id: i32 = 8, 4;
        last_hidden_layer: RKLLMResultLastHiddenLayer = 16, 8;
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
        RKLLMResult::layout(),
    ]
}

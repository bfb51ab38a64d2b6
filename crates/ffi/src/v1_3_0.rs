//! Layout `v1_3_0`: release 1.3.0.

use std::ffi::{c_char, c_int, c_void};

use super::layout::{Layout, StructLayout, abi_structs};
use super::shared::abi_functions;
pub use super::shared::{
    CBool, LLMHandle, RKLLMCrossAttnParam, RKLLMEmbedInput, RKLLMExtendParam, RKLLMLoraAdapter,
    RKLLMLoraParam, RKLLMPerfStat, RKLLMPromptCacheParam, RKLLMResult, RKLLMResultLastHiddenLayer,
    RKLLMResultLogits, RKLLMTokenInput,
};

abi_structs! {
    /// The unnamed struct `image` inside [`RKLLMMultiModalInput`].
    pub struct RKLLMImageInput[64, 32; 8, 4] {
        image_embed: *const f32 = 0, 0;
        n_image_tokens: usize = 8, 4;
        n_image: usize = 16, 8;
        image_start: *const c_char = 24, 12;
        image_end: *const c_char = 32, 16;
        image_content: *const c_char = 40, 20;
        image_width: usize = 48, 24;
        image_height: usize = 56, 28;
    }

    /// The unnamed struct `video` inside [`RKLLMMultiModalInput`].
    pub struct RKLLMVideoInput[72, 36; 8, 4] {
        video_embed: *const f32 = 0, 0;
        n_frame_tokens: usize = 8, 4;
        n_frame_per_video: usize = 16, 8;
        n_video: usize = 24, 12;
        video_start: *const c_char = 32, 16;
        video_end: *const c_char = 40, 20;
        video_content: *const c_char = 48, 24;
        frame_width: usize = 56, 28;
        frame_height: usize = 64, 32;
    }
}

abi_structs! {
    /// Everything `rkllm_init` reads, besides the callback.
    pub struct RKLLMParam[184, 176; 8, 4] {
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
        ignore_eos_token: CBool = 57, 53;
        is_async: CBool = 58, 54;
        extend_param: RKLLMExtendParam = 60, 56;
    }

    /// Sampling of one run.
    pub struct RKLLMSamplingParam[36, 36; 4, 4] {
        top_k: i32 = 0, 0;
        top_p: f32 = 4, 4;
        temperature: f32 = 8, 8;
        repeat_penalty: f32 = 12, 12;
        frequency_penalty: f32 = 16, 16;
        presence_penalty: f32 = 20, 20;
        mirostat: i32 = 24, 24;
        mirostat_tau: f32 = 28, 28;
        mirostat_eta: f32 = 32, 32;
    }

    /// Text with image and video embeddings.
    pub struct RKLLMMultiModalInput[144, 72; 8, 4] {
        prompt: *const c_char = 0, 0;
        image: RKLLMImageInput, nested = 8, 4;
        video: RKLLMVideoInput, nested = 72, 36;
    }

    /// One prompt for `rkllm_run`; `input_type` selects the union member.
    pub struct RKLLMInput[160, 84; 8, 4] {
        role: *const c_char = 0, 0;
        enable_thinking: CBool = 8, 4;
        input_type: c_int = 12, 8;
        input: RKLLMInputUnion => [prompt_input, embed_input, token_input, multimodal_input] = 16, 12;
    }

    /// How one `rkllm_run` is to work.
    pub struct RKLLMInferParam[40, 24; 8, 4] {
        mode: c_int = 0, 0;
        lora_params: *const RKLLMLoraParam = 8, 4;
        prompt_cache_params: *const RKLLMPromptCacheParam = 16, 8;
        sampling_params: *const RKLLMSamplingParam = 24, 12;
        keep_history: c_int = 32, 16;
        max_new_tokens: i32 = 36, 20;
    }

    /// The callbacks of a model, in place of the bare function pointer of older releases.
    pub struct RKLLMCallback[48, 24; 8, 4] {
        result_callback: Option<ResultCallback> = 0, 0;
        result_userdata: *mut c_void = 8, 4;
        tokenizer_callback: Option<TokenizerCallback> = 16, 8;
        tokenizer_userdata: *mut c_void = 24, 12;
        embed_callback: Option<EmbedCallback> = 32, 16;
        embed_userdata: *mut c_void = 40, 20;
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
    pub multimodal_input: RKLLMMultiModalInput,
}

/// `LLMResultCallback`: see [`super::shared::callback_return`].
pub type ResultCallback = unsafe extern "C" fn(*mut RKLLMResult, *mut c_void, c_int) -> c_int;
/// `LLMTokenizerCallback`: userdata, text, its length in bytes, room for tokens, its capacity;
/// returns the count, negative on error.
pub type TokenizerCallback =
    unsafe extern "C" fn(*mut c_void, *const c_char, i32, *mut i32, i32) -> c_int;
/// `LLMGetEmbedCallback`: userdata, tokens, their count, room for embeddings, its bytes; returns 0
/// on success.
pub type EmbedCallback =
    unsafe extern "C" fn(*mut c_void, *mut i32, u64, *mut c_void, u64) -> c_int;

abi_functions!(callback: *mut RKLLMCallback);

/// The layouts of this layout, as compiled.
#[must_use]
pub fn layouts() -> Vec<StructLayout> {
    vec![
        RKLLMExtendParam::layout(),
        RKLLMParam::layout(),
        RKLLMLoraAdapter::layout(),
        RKLLMEmbedInput::layout(),
        RKLLMTokenInput::layout(),
        RKLLMMultiModalInput::layout(),
        RKLLMInput::layout(),
        RKLLMLoraParam::layout(),
        RKLLMPromptCacheParam::layout(),
        RKLLMCrossAttnParam::layout(),
        RKLLMSamplingParam::layout(),
        RKLLMInferParam::layout(),
        RKLLMResultLastHiddenLayer::layout(),
        RKLLMResultLogits::layout(),
        RKLLMPerfStat::layout(),
        RKLLMResult::layout(),
        RKLLMCallback::layout(),
    ]
}

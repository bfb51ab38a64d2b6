//! Layout `v1_3_1`: release 1.3.1, which is 1.3.0 with audio in multimodal input.

use std::ffi::{c_char, c_int, c_void};

use super::layout::{Layout, StructLayout, abi_structs};
use super::shared::abi_functions;
pub use super::v1_3_0::{
    CBool, EmbedCallback, LLMHandle, RKLLMCallback, RKLLMCrossAttnParam, RKLLMEmbedInput,
    RKLLMExtendParam, RKLLMImageInput, RKLLMInferParam, RKLLMLoraAdapter, RKLLMLoraParam,
    RKLLMParam, RKLLMPerfStat, RKLLMPromptCacheParam, RKLLMResult, RKLLMResultLastHiddenLayer,
    RKLLMResultLogits, RKLLMSamplingParam, RKLLMTokenInput, RKLLMVideoInput, ResultCallback,
    TokenizerCallback,
};

abi_structs! {
    /// The unnamed struct `audio` inside [`RKLLMMultiModalInput`].
    pub struct RKLLMAudioInput[48, 24; 8, 4] {
        audio_embed: *const f32 = 0, 0;
        n_audio_tokens: usize = 8, 4;
        n_audio: usize = 16, 8;
        audio_start: *const c_char = 24, 12;
        audio_end: *const c_char = 32, 16;
        audio_content: *const c_char = 40, 20;
    }
}

abi_structs! {
    /// Text with image, video and audio embeddings.
    pub struct RKLLMMultiModalInput[192, 96; 8, 4] {
        prompt: *const c_char = 0, 0;
        image: RKLLMImageInput, nested = 8, 4;
        video: RKLLMVideoInput, nested = 72, 36;
        audio: RKLLMAudioInput, nested = 144, 72;
    }

    /// One prompt for `rkllm_run`; `input_type` selects the union member.
    pub struct RKLLMInput[208, 108; 8, 4] {
        role: *const c_char = 0, 0;
        enable_thinking: CBool = 8, 4;
        input_type: c_int = 12, 8;
        input: RKLLMInputUnion => [prompt_input, embed_input, token_input, multimodal_input] = 16, 12;
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

abi_functions!(callback: *mut RKLLMCallback);

/// The layouts of this layout, as compiled: those of 1.3.0, less the two that have grown.
#[must_use]
pub fn layouts() -> Vec<StructLayout> {
    let grown = [RKLLMMultiModalInput::layout(), RKLLMInput::layout()];
    let mut layouts = super::v1_3_0::layouts();
    layouts.retain(|old| grown.iter().all(|new| new.name != old.name));
    layouts.extend(grown);
    layouts
}

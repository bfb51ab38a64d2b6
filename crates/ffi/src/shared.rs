//! What several layouts have in common, byte for byte.

use std::ffi::{c_char, c_int, c_void};

use super::layout::abi_structs;

/// `LLMHandle`: opaque, set by `rkllm_init`.
pub type LLMHandle = *mut c_void;

/// C's one-byte `bool`, received as a number: any other bit pattern in a Rust `bool` is undefined.
pub type CBool = u8;

/// `LLMCallState` values; they arrive as plain numbers since a newer library may add some.
pub mod call_state {
    use std::ffi::c_int;
    /// `RKLLM_RUN_NORMAL`: a token.
    pub const NORMAL: c_int = 0;
    /// `RKLLM_RUN_WAITING`: bytes of an incomplete UTF-8 character.
    pub const WAITING: c_int = 1;
    /// `RKLLM_RUN_FINISH`: the last call of a run.
    pub const FINISH: c_int = 2;
    /// `RKLLM_RUN_ERROR`: the last call of a failed run.
    pub const ERROR: c_int = 3;
    /// `RKLLM_RUN_GET_LAST_HIDDEN_LAYER`: hidden states, 1.1.x only.
    pub const LAST_HIDDEN_LAYER: c_int = 4;
}

/// `RKLLMInputType` values.
pub mod input_type {
    use std::ffi::c_int;
    /// `RKLLM_INPUT_PROMPT`.
    pub const PROMPT: c_int = 0;
    /// `RKLLM_INPUT_TOKEN`.
    pub const TOKEN: c_int = 1;
    /// `RKLLM_INPUT_EMBED`.
    pub const EMBED: c_int = 2;
    /// `RKLLM_INPUT_MULTIMODAL`.
    pub const MULTIMODAL: c_int = 3;
}

/// `RKLLMInferMode` values.
pub mod infer_mode {
    use std::ffi::c_int;
    /// `RKLLM_INFER_GENERATE`.
    pub const GENERATE: c_int = 0;
    /// `RKLLM_INFER_GET_LAST_HIDDEN_LAYER`.
    pub const LAST_HIDDEN_LAYER: c_int = 1;
    /// `RKLLM_INFER_GET_LOGITS`, from 1.2.0.
    pub const LOGITS: c_int = 2;
}

/// What the result callback may return: nothing before 1.2.1, `RELEASE` from 1.3.0 only.
pub mod callback_return {
    use std::ffi::c_int;
    /// Go on.
    pub const CONTINUE: c_int = 0;
    /// Pause: the run returns, its KV cache stays.
    pub const PAUSE: c_int = 1;
    /// Release the output buffer now.
    pub const RELEASE: c_int = 2;
}

abi_structs! {
    /// An adapter to load.
    pub struct RKLLMLoraAdapter[24, 12; 8, 4] {
        lora_adapter_path: *const c_char = 0, 0;
        lora_adapter_name: *const c_char = 8, 4;
        scale: f32 = 16, 8;
    }

    /// The adapter that a run uses.
    pub struct RKLLMLoraParam[8, 4; 8, 4] {
        lora_adapter_name: *const c_char = 0, 0;
    }

    /// Whether and where a run saves its prompt cache.
    pub struct RKLLMPromptCacheParam[16, 8; 8, 4] {
        save_prompt_cache: c_int = 0, 0;
        prompt_cache_path: *const c_char = 8, 4;
    }

    /// Token ids as input.
    pub struct RKLLMTokenInput[16, 8; 8, 4] {
        input_ids: *const i32 = 0, 0;
        n_tokens: usize = 8, 4;
    }

    /// Embeddings as input: `n_tokens` rows of the model's width.
    pub struct RKLLMEmbedInput[16, 8; 8, 4] {
        embed: *const f32 = 0, 0;
        n_tokens: usize = 8, 4;
    }

    /// Hidden states of the last layer: `num_tokens` rows of `embd_size`.
    pub struct RKLLMResultLastHiddenLayer[16, 12; 8, 4] {
        hidden_states: *const f32 = 0, 0;
        embd_size: c_int = 8, 4;
        num_tokens: c_int = 12, 8;
    }

    /// Logits: `num_tokens` rows of `vocab_size`.
    pub struct RKLLMResultLogits[16, 12; 8, 4] {
        logits: *const f32 = 0, 0;
        vocab_size: c_int = 8, 4;
        num_tokens: c_int = 12, 8;
    }

    /// How one `rkllm_run` is to work.
    pub struct RKLLMInferParam[32, 16; 8, 4] {
        mode: c_int = 0, 0;
        lora_params: *const RKLLMLoraParam = 8, 4;
        prompt_cache_params: *const RKLLMPromptCacheParam = 16, 8;
        keep_history: c_int = 24, 12;
    }

    /// The part of `RKLLMParam` that grew without moving its tail.
    pub struct RKLLMExtendParam[120, 120; 4, 4] {
        base_domain_id: i32 = 0, 0;
        embed_flash: i8 = 4, 4;
        enabled_cpus_num: i8 = 5, 5;
        enabled_cpus_mask: u32 = 8, 8;
        n_batch: u8 = 12, 12;
        use_cross_attn: i8 = 13, 13;
        reserved: [u8; 104] = 14, 14;
    }

    /// Encoder output for cross attention; K and V differ in memory order.
    pub struct RKLLMCrossAttnParam[40, 20; 8, 4] {
        encoder_k_cache: *const f32 = 0, 0;
        encoder_v_cache: *const f32 = 8, 4;
        encoder_mask: *const f32 = 16, 8;
        encoder_pos: *const i32 = 24, 12;
        num_tokens: c_int = 32, 16;
    }

    /// Figures of a run, filled in the finishing call only.
    pub struct RKLLMPerfStat[20, 20; 4, 4] {
        prefill_time_ms: f32 = 0, 0;
        prefill_tokens: c_int = 4, 4;
        generate_time_ms: f32 = 8, 8;
        generate_tokens: c_int = 12, 12;
        memory_usage_mb: f32 = 16, 16;
    }

    /// What the result callback is handed; valid inside the call only.
    pub struct RKLLMResult[72, 52; 8, 4] {
        text: *const c_char = 0, 0;
        token_id: i32 = 8, 4;
        last_hidden_layer: RKLLMResultLastHiddenLayer = 16, 8;
        logits: RKLLMResultLogits = 32, 20;
        perf: RKLLMPerfStat = 48, 32;
    }

    /// Text with image embeddings.
    pub struct RKLLMMultiModelInput[48, 24; 8, 4] {
        prompt: *const c_char = 0, 0;
        image_embed: *const f32 = 8, 4;
        n_image_tokens: usize = 16, 8;
        n_image: usize = 24, 12;
        image_width: usize = 32, 16;
        image_height: usize = 40, 20;
    }
}

/// Functions with one shape in all layouts that have them.
///
/// They are declared `C-unwind` since the library is C++: an exception that leaves it then ends the
/// process in a defined way.
pub mod functions {
    use super::{LLMHandle, RKLLMCrossAttnParam, RKLLMLoraAdapter, c_char, c_int};

    /// `rkllm_abort`, `rkllm_is_running`, `rkllm_destroy`, `rkllm_release_prompt_cache`.
    pub type OnHandle = unsafe extern "C-unwind" fn(LLMHandle) -> c_int;
    /// `rkllm_load_lora`.
    pub type LoadLora = unsafe extern "C-unwind" fn(LLMHandle, *mut RKLLMLoraAdapter) -> c_int;
    /// `rkllm_load_prompt_cache`.
    pub type LoadPromptCache = unsafe extern "C-unwind" fn(LLMHandle, *const c_char) -> c_int;
    /// `rkllm_clear_kv_cache`; 1.2.0 takes the first two only, and four passed do no harm.
    pub type ClearKvCache =
        unsafe extern "C-unwind" fn(LLMHandle, c_int, *mut c_int, *mut c_int) -> c_int;
    /// `rkllm_get_kv_cache_size`: writes `n_batch` numbers.
    pub type GetKvCacheSize = unsafe extern "C-unwind" fn(LLMHandle, *mut c_int) -> c_int;
    /// `rkllm_set_chat_template`, `rkllm_set_function_tools`.
    pub type SetThreeStrings = unsafe extern "C-unwind" fn(
        LLMHandle,
        *const c_char,
        *const c_char,
        *const c_char,
    ) -> c_int;
    /// `rkllm_set_cross_attn_params`.
    pub type SetCrossAttnParams =
        unsafe extern "C-unwind" fn(LLMHandle, *mut RKLLMCrossAttnParam) -> c_int;
}

/// Declares the functions whose shape changes between layouts, once for each.
macro_rules! abi_functions {
    (callback: $callback:ty) => {
        /// `rkllm_createDefaultParam`; called through [`crate::ParamBuffer`] instead.
        pub type CreateDefaultParam = unsafe extern "C-unwind" fn() -> RKLLMParam;
        /// `rkllm_init`.
        pub type Init =
            unsafe extern "C-unwind" fn(*mut LLMHandle, *mut RKLLMParam, $callback) -> c_int;
        /// `rkllm_run`, `rkllm_run_async`.
        pub type Run = unsafe extern "C-unwind" fn(
            LLMHandle,
            *mut RKLLMInput,
            *mut RKLLMInferParam,
            *mut c_void,
        ) -> c_int;
    };
}
pub(crate) use abi_functions;

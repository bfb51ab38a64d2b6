//! Everything that is fixed when a model is opened.

use std::ffi::CString;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::protocol::sampling::{Sampling, SamplingParams};

/// The settings of `RKLLMParam` and `RKLLMExtendParam`, by their C names.
///
/// What is `None` keeps what `rkllm_createDefaultParam` gives, with these exceptions, made since the
/// library's own value would fail or never end: `max_new_tokens` without a limit becomes the size of
/// the context window, `max_context_len` follows the model's own limit where that is known (at most
/// 4096 tokens; `ModelInfo::chosen` tells), `n_batch` is at least 1, and a CPU mask that the library left empty is filled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Size of the context window in tokens.
    pub max_context_len: Option<i32>,
    /// Maximum number of tokens to generate.
    pub max_new_tokens: Option<i32>,
    /// Number of tokens to keep at the start when the context window shifts (since 1.2.0).
    pub n_keep: Option<i32>,
    /// Sampling parameters.
    pub sampling: SamplingParams,
    /// Leave special tokens such as EOS out of the text.
    pub skip_special_token: Option<bool>,
    /// Texts of tokens that end an answer. On the NPU they switch `skip_special_token` off, if that is
    /// `None`: special tokens are then shown, and these texts end an answer without being part of it. See
    /// `Chat::end_marks`.
    pub end_marks: Vec<String>,
    /// Keep generating after an end-of-sequence token (since 1.3.0).
    pub ignore_eos_token: Option<bool>,
    /// Marker before image tokens (1.1.0 to 1.2.3).
    pub img_start: Option<CString>,
    /// Marker after image tokens (1.1.0 to 1.2.3).
    pub img_end: Option<CString>,
    /// Placeholder for image tokens (1.1.0 to 1.2.3).
    pub img_content: Option<CString>,
    /// IOMMU domain in which the model starts loading; several models need different ones.
    pub base_domain_id: Option<i32>,
    /// Read word embeddings from storage instead of memory (since 1.2.0).
    pub embed_flash: Option<bool>,
    /// Number of CPUs to use (since 1.2.0); number of threads with the CPU runtime.
    pub enabled_cpus_num: Option<i8>,
    /// The CPUs to use, bit i for CPU i (since 1.2.0).
    pub enabled_cpus_mask: Option<u32>,
    /// Number of prompts in one run (since 1.2.1).
    pub n_batch: Option<u8>,
    /// Enable cross attention (since 1.2.1).
    pub use_cross_attn: Option<bool>,
    /// System prompt, prefix and postfix in place of the model's chat template (since 1.2.0; on earlier
    /// releases this crate puts them around each prompt). Three empty strings give raw text.
    pub template: Option<[CString; 3]>,
    /// The program tokenizes for the library (since 1.3.0): see `model::Desk`.
    pub tokenizer: bool,
    /// The program embeds tokens for the library (since 1.3.0).
    pub embedder: bool,
    /// How long opening waits for a model that was closed and is still busy in the library; `None` for
    /// 60 seconds. Then it fails with `ErrorKind::Busy`.
    pub open_timeout: Option<Duration>,
}

/// The settings that a model was really opened with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effective {
    /// Size of the context window in tokens.
    pub max_context_len: i32,
    /// Maximum number of tokens to generate.
    pub max_new_tokens: i32,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Number of prompts in one run.
    pub n_batch: u8,
    /// Whether cross attention is enabled.
    pub use_cross_attn: bool,
}

impl ModelConfig {
    /// See the field of that name.
    pub(crate) fn open_timeout(&self) -> Duration {
        self.open_timeout.unwrap_or(Duration::from_secs(60))
    }
}

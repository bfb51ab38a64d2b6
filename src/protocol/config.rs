//! Everything that is fixed when a model is opened.

use std::ffi::CString;
use std::time::Duration;

use crate::abi::{AbiVersion, Capabilities};
use crate::error::Error;
use crate::protocol::sampling::{Sampling, SamplingParams};

/// The settings of `RKLLMParam` and `RKLLMExtendParam`, by their C names.
///
/// What is `None` keeps what `rkllm_createDefaultParam` gives, with these exceptions, made since the
/// library's own value would fail or never end: `max_new_tokens` without a limit becomes the size of
/// the context window, `n_batch` is at least 1, and a CPU mask that the library left empty is filled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelConfig {
    /// Context window in tokens.
    pub max_context_len: Option<i32>,
    /// Most tokens of an answer.
    pub max_new_tokens: Option<i32>,
    /// Positions kept at the start when the window shifts (from 1.2.0).
    pub n_keep: Option<i32>,
    /// Sampling.
    pub sampling: SamplingParams,
    /// Whether special tokens such as EOS are left out of the text.
    pub skip_special_token: Option<bool>,
    /// Whether EOS does not end an answer (from 1.3.0).
    pub ignore_eos_token: Option<bool>,
    /// Marker before image tokens (1.1.0 to 1.2.3).
    pub img_start: Option<CString>,
    /// Marker after image tokens (1.1.0 to 1.2.3).
    pub img_end: Option<CString>,
    /// Placeholder of image tokens (1.1.0 to 1.2.3).
    pub img_content: Option<CString>,
    /// IOMMU domain in which the model starts loading; several models need different ones.
    pub base_domain_id: Option<i32>,
    /// Whether word embeddings are read from storage instead of memory (from 1.2.0).
    pub embed_flash: Option<bool>,
    /// How many CPUs are used (from 1.2.0); with the CPU runtime its threads.
    pub enabled_cpus_num: Option<i8>,
    /// Which CPUs are used, bit i for CPU i (from 1.2.0).
    pub enabled_cpus_mask: Option<u32>,
    /// Prompts in one run (from 1.2.1).
    pub n_batch: Option<u8>,
    /// Whether cross attention is used (from 1.2.1).
    pub use_cross_attn: Option<bool>,
    /// System prompt, prefix and postfix in place of the model's chat template (from 1.2.0; before,
    /// there is none, and they are put around each prompt by us). Three empty strings give raw text.
    pub template: Option<[CString; 3]>,
    /// Whether questions for token ids are answered (from 1.3.0): see [`crate::model::stream::StreamHandle`].
    pub tokenizer: bool,
    /// Whether questions for embeddings are answered (from 1.3.0).
    pub embedder: bool,
    /// How long opening waits for a model that was closed and is still busy in the library; `None` for
    /// 60 seconds. Then it fails with [`Error::Busy`].
    pub open_timeout: Option<Duration>,
}

/// The settings that a model was really opened with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effective {
    /// Context window in tokens.
    pub max_context_len: i32,
    /// Most tokens of an answer.
    pub max_new_tokens: i32,
    /// Sampling.
    pub sampling: Sampling,
    /// Prompts in one run.
    pub n_batch: u8,
    /// Whether cross attention is used.
    pub use_cross_attn: bool,
}

impl ModelConfig {
    /// See the field of that name.
    pub(crate) fn open_timeout(&self) -> Duration {
        self.open_timeout.unwrap_or(Duration::from_secs(60))
    }

    /// Checks what can be checked without the model.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for values that can never be right, [`Error::UnsupportedFeature`]
    /// for settings that the loaded release does not have.
    pub fn validate(&self, abi: AbiVersion, able: &Capabilities) -> Result<(), Error> {
        self.sampling.validate()?;
        positive("max_context_len", self.max_context_len)?;
        positive("max_new_tokens", self.max_new_tokens)?;
        if let (Some(keep), Some(window)) = (self.n_keep, self.max_context_len) {
            if keep >= window {
                return Err(Error::invalid_with_hint(
                    "n_keep",
                    format!("{keep} is not below max_context_len ({window})"),
                    "Keep fewer positions, or open a larger window.",
                ));
            }
        }
        if let Some(keep) = self.n_keep.filter(|keep| *keep < -1) {
            return Err(Error::invalid_with_hint(
                "n_keep",
                format!("got {keep}"),
                "Give -1 or more.",
            ));
        }
        if let Some(domain) = self.base_domain_id.filter(|domain| *domain < 0) {
            let hint = "Give 0 or more.";
            return Err(Error::invalid_with_hint(
                "base_domain_id",
                format!("got {domain}"),
                hint,
            ));
        }
        if self.n_batch.is_some_and(|n| !(1..=100).contains(&n)) {
            let got = self.n_batch.unwrap_or_default();
            return Err(Error::invalid_with_hint(
                "n_batch",
                format!("got {got}"),
                "Give 1 to 100.",
            ));
        }
        self.validate_cpus()?;
        self.validate_release(abi, able)
    }

    fn validate_cpus(&self) -> Result<(), Error> {
        if let Some(count) = self
            .enabled_cpus_num
            .filter(|count| !(1..=32).contains(count))
        {
            let hint = "Give 1 to 8 on RK3588 and RK3576, 1 to 4 on RK3562 and RV1126B.";
            return Err(Error::invalid_with_hint(
                "enabled_cpus_num",
                format!("got {count}"),
                hint,
            ));
        }
        match (self.enabled_cpus_num, self.enabled_cpus_mask) {
            (_, Some(0)) => Err(Error::invalid_with_hint(
                "enabled_cpus_mask",
                "no CPU is selected",
                "Set bit i for CPU i, such as 0xF0 for CPUs 4 to 7.",
            )),
            (Some(count), Some(mask)) if mask.count_ones() != count as u32 => {
                Err(Error::invalid_with_hint(
                    "enabled_cpus_mask",
                    format!(
                        "{mask:#x} selects {} CPUs, enabled_cpus_num says {count}",
                        mask.count_ones()
                    ),
                    "Give one of the two, or make them agree.",
                ))
            }
            _ => Ok(()),
        }
    }

    fn validate_release(&self, abi: AbiVersion, able: &Capabilities) -> Result<(), Error> {
        let set = [
            ("n_keep", self.n_keep.is_some()),
            ("embed_flash", self.embed_flash.is_some()),
            (
                "cpu_mask",
                self.enabled_cpus_num.is_some() || self.enabled_cpus_mask.is_some(),
            ),
            ("batch", self.n_batch.is_some_and(|n| n > 1)),
            ("cross_attention", self.use_cross_attn == Some(true)),
            ("ignore_eos", self.ignore_eos_token == Some(true)),
            ("tokenizer_callback", self.tokenizer),
            ("embedding_callback", self.embedder),
        ];
        for (feature, _) in set.into_iter().filter(|(_, set)| *set) {
            able.require(feature)?;
        }
        let markers =
            self.img_start.is_some() || self.img_end.is_some() || self.img_content.is_some();
        if markers && abi >= AbiVersion::V1_3_0 {
            let needs = "RKLLM 1.2.3 or earlier; from 1.3.0 on the markers belong to each input";
            return Err(Error::lacks(
                "image markers at init",
                needs.to_owned(),
                abi,
                None,
            ));
        }
        Ok(())
    }
}

fn positive(name: &'static str, value: Option<i32>) -> Result<(), Error> {
    match value {
        Some(value) if value <= 0 => Err(Error::invalid_with_hint(
            name,
            format!("got {value}"),
            "Give a number of tokens above 0.",
        )),
        _ => Ok(()),
    }
}

/// Number and mask of the CPUs to use, from what the user set, what the library filled in, and how
/// many CPUs there are.
pub(crate) fn cpus(
    number: Option<i8>,
    mask: Option<u32>,
    default: (i8, u32),
    available: u32,
) -> (i8, u32) {
    let lowest = |count: u32| {
        u32::MAX
            .checked_shr(32 - count.clamp(1, 32))
            .unwrap_or(u32::MAX)
    };
    match (number, mask) {
        (Some(number), Some(mask)) => (number, mask),
        (None, Some(mask)) => (mask.count_ones() as i8, mask),
        // With eight CPUs the fast ones are the upper four on the chips that the library knows.
        (Some(number), None) if available == 8 && (1..=8).contains(&number) => {
            (number, lowest(number as u32) << (8 - number as u32))
        }
        (Some(number), None) => (number, lowest(number as u32)),
        (None, None) if default.1.count_ones() == default.0 as u32 && default.0 > 0 => default,
        (None, None) => {
            let count = available.clamp(1, 4);
            (count as i8, lowest(count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_agree_whatever_is_known() {
        assert_eq!(cpus(None, None, (4, 0xF0), 8), (4, 0xF0));
        assert_eq!(cpus(None, None, (4, 0), 2), (2, 0b11));
        assert_eq!(cpus(None, None, (4, 0), 64), (4, 0b1111));
        assert_eq!(cpus(Some(2), None, (4, 0xF0), 8), (2, 0xC0));
        assert_eq!(cpus(Some(2), None, (4, 0x0F), 4), (2, 0b11));
        assert_eq!(cpus(None, Some(0b101), (4, 0x0F), 4), (2, 0b101));
        assert_eq!(cpus(Some(32), None, (4, 0), 64), (32, u32::MAX));
    }

    #[test]
    fn disagreeing_cpu_settings_are_refused() {
        let config = ModelConfig {
            enabled_cpus_num: Some(3),
            enabled_cpus_mask: Some(0b11),
            ..Default::default()
        };
        assert!(config.validate_cpus().is_err());
    }
}

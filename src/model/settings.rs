//! What can be known to be wrong with a model's settings before the library sees them.

use crate::abi::Capabilities;
use crate::protocol::config::ModelConfig;
use crate::protocol::error::Failure;

impl ModelConfig {
    /// Checks what can be checked without the model.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for values that can never be right, `ErrorKind::UnsupportedFeature`
    /// for settings that the loaded release does not have.
    pub fn validate(&self, able: &Capabilities) -> Result<(), Failure> {
        self.check()?;
        self.validate_release(able)
    }

    /// Checks what can be checked without the library.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for values that can never be right.
    pub fn check(&self) -> Result<(), Failure> {
        self.sampling.validate()?;
        positive("max_context_len", self.max_context_len)?;
        positive("max_new_tokens", self.max_new_tokens)?;
        if let (Some(keep), Some(window)) = (self.n_keep, self.max_context_len) {
            if keep >= window {
                return Err(Failure::invalid_with_hint(
                    "n_keep",
                    format!("must be less than max_context_len ({window}), got {keep}"),
                    "Lower n_keep, or increase max_context_len.",
                ));
            }
        }
        if let Some(keep) = self.n_keep.filter(|keep| *keep < -1) {
            return Err(Failure::invalid_with_hint(
                "n_keep",
                format!("must be -1 or more, got {keep}"),
                "Omit n_keep for the default, or pass the number of tokens to keep.",
            ));
        }
        if let Some(domain) = self.base_domain_id.filter(|domain| *domain < 0) {
            let hint = "Pass the number of an IOMMU domain, such as 0 or 1.";
            return Err(Failure::invalid_with_hint(
                "base_domain_id",
                format!("must be 0 or more, got {domain}"),
                hint,
            ));
        }
        if self.n_batch.is_some_and(|n| !(1..=100).contains(&n)) {
            let got = self.n_batch.unwrap_or_default();
            return Err(Failure::invalid_with_hint(
                "n_batch",
                format!("must be from 1 to 100, got {got}"),
                "Pass the number of prompts to run at a time.",
            ));
        }
        self.validate_cpus()
    }

    fn validate_cpus(&self) -> Result<(), Failure> {
        if let Some(count) = self
            .enabled_cpus_num
            .filter(|count| !(1..=32).contains(count))
        {
            let hint = "Pass 1 to 8 on RK3588 and RK3576, 1 to 4 on RK3562 and RV1126B.";
            return Err(Failure::invalid_with_hint(
                "enabled_cpus_num",
                format!("must be from 1 to 32, got {count}"),
                hint,
            ));
        }
        match (self.enabled_cpus_num, self.enabled_cpus_mask) {
            (_, Some(0)) => Err(Failure::invalid_with_hint(
                "enabled_cpus_mask",
                "must select at least one CPU, got 0",
                "Set bit i for CPU i: 0xF0 selects CPUs 4 to 7.",
            )),
            (Some(count), Some(mask)) if mask.count_ones() != count as u32 => {
                Err(Failure::invalid_with_hint(
                    "enabled_cpus_mask",
                    format!(
                        "{mask:#x} selects {} CPUs, but enabled_cpus_num is {count}",
                        mask.count_ones()
                    ),
                    "Pass only one of the two, or make them match.",
                ))
            }
            _ => Ok(()),
        }
    }

    fn validate_release(&self, able: &Capabilities) -> Result<(), Failure> {
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
        if markers && !able.has_markers_at_init() {
            return Err(able
                .lacks(
                    "setting image markers in RKLLM()",
                    Capabilities::WITH_MARKERS_AT_INIT,
                )
                .with_hint(
                    "Pass image_start, image_end and image_content to Multimodal instead.",
                ));
        }
        Ok(())
    }
}

fn positive(name: &'static str, value: Option<i32>) -> Result<(), Failure> {
    match value {
        Some(value) if value <= 0 => Err(Failure::invalid_with_hint(
            name,
            format!("must be greater than 0, got {value}"),
            "Pass a number of tokens, or omit it for the default.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

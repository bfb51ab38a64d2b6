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
        self.sampling.validate()?;
        positive("max_context_len", self.max_context_len)?;
        positive("max_new_tokens", self.max_new_tokens)?;
        if let (Some(keep), Some(window)) = (self.n_keep, self.max_context_len) {
            if keep >= window {
                return Err(Failure::invalid_with_hint(
                    "n_keep",
                    format!("{keep} is not below max_context_len ({window})"),
                    "Keep fewer positions, or open a larger window.",
                ));
            }
        }
        if let Some(keep) = self.n_keep.filter(|keep| *keep < -1) {
            return Err(Failure::invalid_with_hint(
                "n_keep",
                format!("got {keep}"),
                "Give -1 or more.",
            ));
        }
        if let Some(domain) = self.base_domain_id.filter(|domain| *domain < 0) {
            let hint = "Give 0 or more.";
            return Err(Failure::invalid_with_hint(
                "base_domain_id",
                format!("got {domain}"),
                hint,
            ));
        }
        if self.n_batch.is_some_and(|n| !(1..=100).contains(&n)) {
            let got = self.n_batch.unwrap_or_default();
            return Err(Failure::invalid_with_hint(
                "n_batch",
                format!("got {got}"),
                "Give 1 to 100.",
            ));
        }
        self.validate_cpus()?;
        self.validate_release(able)
    }

    fn validate_cpus(&self) -> Result<(), Failure> {
        if let Some(count) = self
            .enabled_cpus_num
            .filter(|count| !(1..=32).contains(count))
        {
            let hint = "Give 1 to 8 on RK3588 and RK3576, 1 to 4 on RK3562 and RV1126B.";
            return Err(Failure::invalid_with_hint(
                "enabled_cpus_num",
                format!("got {count}"),
                hint,
            ));
        }
        match (self.enabled_cpus_num, self.enabled_cpus_mask) {
            (_, Some(0)) => Err(Failure::invalid_with_hint(
                "enabled_cpus_mask",
                "no CPU is selected",
                "Set bit i for CPU i, such as 0xF0 for CPUs 4 to 7.",
            )),
            (Some(count), Some(mask)) if mask.count_ones() != count as u32 => {
                Err(Failure::invalid_with_hint(
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
            let needs = "RKLLM 1.2.3 or earlier; from 1.3.0 on the markers belong to each input";
            return Err(able.lacks("image markers at init", needs));
        }
        Ok(())
    }
}

fn positive(name: &'static str, value: Option<i32>) -> Result<(), Failure> {
    match value {
        Some(value) if value <= 0 => Err(Failure::invalid_with_hint(
            name,
            format!("got {value}"),
            "Give a number of tokens above 0.",
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

//! `RKLLMParam`: its defaults, and what `rkllm_init` makes of it.

use std::ffi::c_int;

use rkllm_ffi::v1_3_0::{RKLLMExtendParam, RKLLMParam, RKLLMSamplingParam};

use crate::cpus;
use rkllm_text::sampler::{MIN_P_OFF, Sampling, TYPICAL_P_OFF};

/// What `rkllm_createDefaultParam` returns.
pub(crate) fn defaults() -> RKLLMParam {
    RKLLMParam {
        model_path: std::ptr::null(),
        max_context_len: 512,
        max_new_tokens: -1,
        top_k: 40,
        n_keep: -1,
        top_p: 0.9,
        temperature: 0.8,
        repeat_penalty: 1.1,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        mirostat: 0,
        mirostat_tau: 5.0,
        mirostat_eta: 0.1,
        skip_special_token: 1,
        ignore_eos_token: 0,
        is_async: 0,
        extend_param: RKLLMExtendParam {
            base_domain_id: 0,
            embed_flash: 1,
            enabled_cpus_num: 4,
            enabled_cpus_mask: cpus::default_mask(cpus::machine()),
            n_batch: 1,
            use_cross_attn: 0,
            reserved: [0; 104],
        },
    }
}

/// The part of `RKLLMParam` that outlives `rkllm_init`, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// The real limit, whatever llama.cpp rounds it up to.
    pub(crate) max_context_len: usize,
    /// None = until the model ends its answer or the context is full.
    pub(crate) max_new_tokens: Option<usize>,
    /// None = the system prompt.
    pub(crate) n_keep: Option<usize>,
    pub(crate) sampling: Sampling,
    pub(crate) skip_special_token: bool,
    pub(crate) ignore_eos_token: bool,
    pub(crate) cpus: usize,
    pub(crate) cpu_mask: u32,
    pub(crate) lanes: usize,
}

/// A positive limit; zero and below mean none.
pub(crate) fn limit(max_new_tokens: i32) -> Option<usize> {
    usize::try_from(max_new_tokens).ok().filter(|&n| n > 0)
}

/// Checks everything that needs no model.
pub(crate) fn check(param: &RKLLMParam) -> Result<Options, String> {
    let extend = &param.extend_param;
    let max_context_len = limit(param.max_context_len).ok_or_else(|| {
        format!(
            "max_context_len must be greater than 0, got {}",
            param.max_context_len
        )
    })?;
    let n_keep = usize::try_from(param.n_keep).ok();
    if n_keep.is_some_and(|keep| keep >= max_context_len) {
        return Err(format!(
            "n_keep ({}) must be less than max_context_len ({max_context_len})",
            param.n_keep
        ));
    }
    if !(1..=100).contains(&extend.n_batch) {
        return Err(format!(
            "n_batch must be from 1 to 100, got {}",
            extend.n_batch
        ));
    }
    if extend.enabled_cpus_num < 1 {
        return Err(format!(
            "enabled_cpus_num must be 1 or more, got {}",
            extend.enabled_cpus_num
        ));
    }
    if extend.base_domain_id < 0 {
        return Err(format!(
            "base_domain_id must be 0 or more, got {}",
            extend.base_domain_id
        ));
    }
    if extend.use_cross_attn != 0 {
        return Err("use_cross_attn is not supported: this model has no cross attention".into());
    }
    Ok(Options {
        max_context_len,
        max_new_tokens: limit(param.max_new_tokens),
        n_keep,
        sampling: check_sampling(&init_sampling(param))?,
        skip_special_token: param.skip_special_token != 0,
        ignore_eos_token: param.ignore_eos_token != 0,
        cpus: extend.enabled_cpus_num.unsigned_abs().into(),
        cpu_mask: extend.enabled_cpus_mask,
        lanes: extend.n_batch.into(),
    })
}

fn init_sampling(param: &RKLLMParam) -> RKLLMSamplingParam {
    RKLLMSamplingParam {
        top_k: param.top_k,
        top_p: param.top_p,
        temperature: param.temperature,
        repeat_penalty: param.repeat_penalty,
        frequency_penalty: param.frequency_penalty,
        presence_penalty: param.presence_penalty,
        mirostat: param.mirostat,
        mirostat_tau: param.mirostat_tau,
        mirostat_eta: param.mirostat_eta,
    }
}

/// Checks the sampling of a model or of one run.
pub(crate) fn check_sampling(param: &RKLLMSamplingParam) -> Result<Sampling, String> {
    for (name, value) in [
        ("top_p", param.top_p),
        ("temperature", param.temperature),
        ("repeat_penalty", param.repeat_penalty),
        ("frequency_penalty", param.frequency_penalty),
        ("presence_penalty", param.presence_penalty),
        ("mirostat_tau", param.mirostat_tau),
        ("mirostat_eta", param.mirostat_eta),
    ] {
        if !value.is_finite() {
            return Err(format!("{name} must be a finite number, got {value}"));
        }
    }
    if param.temperature < 0.0 {
        return Err(format!(
            "temperature must be 0 or more, got {}",
            param.temperature
        ));
    }
    if param.repeat_penalty <= 0.0 {
        return Err(format!(
            "repeat_penalty must be greater than 0, got {}",
            param.repeat_penalty
        ));
    }
    if !(0..=2).contains(&param.mirostat) {
        return Err(format!(
            "mirostat must be 0, 1 or 2, got {}",
            param.mirostat as c_int
        ));
    }
    Ok(Sampling {
        top_k: param.top_k,
        top_p: param.top_p,
        temperature: param.temperature,
        repeat_penalty: param.repeat_penalty,
        frequency_penalty: param.frequency_penalty,
        presence_penalty: param.presence_penalty,
        mirostat: param.mirostat,
        mirostat_tau: param.mirostat_tau,
        mirostat_eta: param.mirostat_eta,
        // The C API has no fields for these.
        min_p: MIN_P_OFF,
        typical_p: TYPICAL_P_OFF,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut RKLLMParam)) -> String {
        let mut param = defaults();
        change(&mut param);
        check(&param).expect_err("refused")
    }

    #[test]
    fn the_defaults_pass() {
        let options = check(&defaults()).expect("defaults");
        assert_eq!(options.max_context_len, 512);
        assert_eq!(options.max_new_tokens, None);
        assert_eq!(options.n_keep, None);
        assert_eq!((options.cpus, options.lanes), (4, 1));
    }

    #[test]
    fn each_wrong_value_is_named() {
        assert!(refused(|p| p.max_context_len = 0).contains("max_context_len"));
        assert!(refused(|p| p.n_keep = 512).contains("n_keep"));
        assert!(refused(|p| p.extend_param.n_batch = 0).contains("n_batch"));
        assert!(refused(|p| p.extend_param.n_batch = 101).contains("n_batch"));
        assert!(refused(|p| p.extend_param.enabled_cpus_num = 0).contains("enabled_cpus_num"));
        assert!(refused(|p| p.extend_param.base_domain_id = -1).contains("base_domain_id"));
        assert!(refused(|p| p.extend_param.use_cross_attn = 1).contains("cross attention"));
        assert!(refused(|p| p.top_p = f32::NAN).contains("top_p"));
        assert!(refused(|p| p.temperature = -1.0).contains("temperature"));
        assert!(refused(|p| p.repeat_penalty = 0.0).contains("repeat_penalty"));
        assert!(refused(|p| p.mirostat = 3).contains("mirostat"));
    }

    #[test]
    fn limits_at_or_below_zero_mean_none() {
        assert_eq!([-1, 0, 1, 9].map(limit), [None, None, Some(1), Some(9)]);
    }
}

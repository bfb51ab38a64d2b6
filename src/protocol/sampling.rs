//! How the next token is chosen.

use serde::{Deserialize, Serialize};

use crate::protocol::error::Failure;

pub use rkllm_text::sampler::Sampling;
pub(crate) use rkllm_text::sampler::{MIN_P_OFF, TYPICAL_P_OFF};

/// Sampling settings (`RKLLMSamplingParam`, and the same fields of `RKLLMParam`), and some more that need the CPU
/// runtime or [`Sampler::Own`].
///
/// What is `None` keeps the library's default, or in a call the value given when the model was
/// opened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingParams {
    /// Keep the k most likely tokens; 1 is greedy.
    pub top_k: Option<i32>,
    /// Keep the most likely tokens that together have this probability, 0 to 1.
    pub top_p: Option<f32>,
    /// Flattens (above 1) or sharpens (below 1) the distribution; 0 is greedy.
    pub temperature: Option<f32>,
    /// Divides the likelihood of tokens already there; 1 changes nothing.
    pub repeat_penalty: Option<f32>,
    /// Lowers a token's likelihood for each time it has appeared, −2 to 2.
    pub frequency_penalty: Option<f32>,
    /// Lowers a token's likelihood once it has appeared, −2 to 2.
    pub presence_penalty: Option<f32>,
    /// 0 off, 1 mirostat, 2 mirostat 2.0.
    pub mirostat: Option<i32>,
    /// Target entropy of mirostat.
    pub mirostat_tau: Option<f32>,
    /// Learning rate of mirostat.
    pub mirostat_eta: Option<f32>,
    /// Keep tokens of at least this share of the most likely token's probability, 0 to 1; 0 is off.
    pub min_p: Option<f32>,
    /// Keep the tokens with the most expected surprise that together have this probability, 0 to 1; 1 is off.
    pub typical_p: Option<f32>,
    /// Added to the logits of tokens, by their ids; negative infinity bans a token.
    pub logit_bias: Option<Vec<(i32, f32)>>,
}

/// Who chooses the tokens of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sampler {
    /// The library.
    #[default]
    Library,
    /// This crate, from the logits of each position.
    Own,
}

/// How the tokens of a run are chosen beside the library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Choosing {
    pub(crate) sampling: Sampling,
    pub(crate) seed: Option<u64>,
    pub(crate) bias: Vec<(i32, f32)>,
    /// How many of the likeliest tokens are told with each.
    pub(crate) logprobs: Option<usize>,
    /// Whom of the program the logits are shown first.
    pub(crate) processor: Option<u64>,
}

impl From<Sampling> for SamplingParams {
    fn from(all: Sampling) -> Self {
        Self {
            top_k: Some(all.top_k),
            top_p: Some(all.top_p),
            temperature: Some(all.temperature),
            repeat_penalty: Some(all.repeat_penalty),
            frequency_penalty: Some(all.frequency_penalty),
            presence_penalty: Some(all.presence_penalty),
            mirostat: Some(all.mirostat),
            mirostat_tau: Some(all.mirostat_tau),
            mirostat_eta: Some(all.mirostat_eta),
            // What is off is as if it had not been given: libraries do not have these.
            min_p: (all.min_p > MIN_P_OFF).then_some(all.min_p),
            typical_p: (all.typical_p < TYPICAL_P_OFF).then_some(all.typical_p),
            logit_bias: None,
        }
    }
}

impl SamplingParams {
    /// Checks sign, finiteness and range of what is set.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` naming the first value that cannot be meant.
    pub fn validate(&self) -> Result<(), Failure> {
        if let Some(top_k) = self.top_k.filter(|k| *k < 0) {
            return Err(bad("top_k", top_k, "0 or more"));
        }
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("temperature", self.temperature, 0.0, f32::MAX)?;
        within(
            "repeat_penalty",
            self.repeat_penalty,
            f32::MIN_POSITIVE,
            f32::MAX,
        )?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        if let Some(mirostat) = self.mirostat.filter(|m| !(0..=2).contains(m)) {
            return Err(bad("mirostat", mirostat, "0 (off), 1 or 2"));
        }
        within("mirostat_tau", self.mirostat_tau, 0.0, f32::MAX)?;
        within("mirostat_eta", self.mirostat_eta, 0.0, f32::MAX)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("typical_p", self.typical_p, 0.0, 1.0)?;
        let mut biases = self.logit_bias.iter().flatten().copied();
        biases.try_for_each(check_bias)
    }

    /// What is set here, and else what is set in `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            temperature: self.temperature.or(other.temperature),
            repeat_penalty: self.repeat_penalty.or(other.repeat_penalty),
            frequency_penalty: self.frequency_penalty.or(other.frequency_penalty),
            presence_penalty: self.presence_penalty.or(other.presence_penalty),
            mirostat: self.mirostat.or(other.mirostat),
            mirostat_tau: self.mirostat_tau.or(other.mirostat_tau),
            mirostat_eta: self.mirostat_eta.or(other.mirostat_eta),
            min_p: self.min_p.or(other.min_p),
            typical_p: self.typical_p.or(other.typical_p),
            logit_bias: self
                .logit_bias
                .as_ref()
                .or(other.logit_bias.as_ref())
                .cloned(),
        }
    }

    /// The first that is set here to another value than in `base`.
    #[must_use]
    pub fn changed(&self, base: &Sampling) -> Option<&'static str> {
        let base = Self::from(*base);
        let of = |name, differs: bool| differs.then_some(name);
        macro_rules! first {
            ($($name:ident)*) => {
                None$(.or_else(|| of(
                    stringify!($name),
                    self.$name.is_some() && self.$name != base.$name,
                )))*
            };
        }
        first!(temperature top_k top_p repeat_penalty frequency_penalty presence_penalty mirostat
            mirostat_tau mirostat_eta)
    }

    /// `base` with what is set here in place of its values.
    #[must_use]
    pub fn over(&self, base: &Sampling) -> Sampling {
        Sampling {
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            temperature: self.temperature.unwrap_or(base.temperature),
            repeat_penalty: self.repeat_penalty.unwrap_or(base.repeat_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            mirostat: self.mirostat.unwrap_or(base.mirostat),
            mirostat_tau: self.mirostat_tau.unwrap_or(base.mirostat_tau),
            mirostat_eta: self.mirostat_eta.unwrap_or(base.mirostat_eta),
            min_p: self.min_p.unwrap_or(base.min_p),
            typical_p: self.typical_p.unwrap_or(base.typical_p),
        }
    }
}

/// The error of a bias for a token that is not among the model's.
pub(crate) fn unknown_token(id: i32, size: usize) -> Failure {
    Failure::invalid_with_hint(
        "logit_bias",
        format!("has the token id {id}, but the model's vocabulary has {size} tokens"),
        "Use the ids of this model's own tokenizer, such as tokenize() returns.",
    )
}

fn check_bias((id, bias): (i32, f32)) -> Result<(), Failure> {
    if id < 0 {
        return Err(Failure::invalid_with_hint(
            "logit_bias",
            format!("must have token ids of 0 or more, got {id}"),
            "Use the ids of this model's own tokenizer, such as tokenize() returns.",
        ));
    }
    // Written so that NaN fails.
    if bias < f32::INFINITY {
        return Ok(());
    }
    Err(Failure::invalid_with_hint(
        format!("logit_bias[{id}]"),
        format!("must be a finite number, or negative infinity to ban the token, got {bias}"),
        "Pass a large number such as 100 to all but force a token.",
    ))
}

fn within(name: &'static str, value: Option<f32>, low: f32, high: f32) -> Result<(), Failure> {
    match value {
        // Written so that NaN fails.
        Some(value) if !(value >= low && value <= high) => {
            let wanted = if high < f32::MAX {
                format!("from {low} to {high}")
            } else if low > 0.0 {
                "a finite number greater than 0".to_owned()
            } else {
                "a finite number of 0 or more".to_owned()
            };
            Err(bad(name, value, &wanted))
        }
        _ => Ok(()),
    }
}

fn bad(name: &'static str, value: impl std::fmt::Display, wanted: &str) -> Failure {
    Failure::invalid_with_hint(
        name,
        format!("must be {wanted}, got {value}"),
        "Change the value, or omit it to keep the model's setting.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::ErrorKind;

    #[test]
    fn nonsense_is_named() {
        let cases = [
            SamplingParams {
                temperature: Some(f32::NAN),
                ..Default::default()
            },
            SamplingParams {
                temperature: Some(-0.1),
                ..Default::default()
            },
            SamplingParams {
                temperature: Some(f32::INFINITY),
                ..Default::default()
            },
            SamplingParams {
                top_p: Some(1.1),
                ..Default::default()
            },
            SamplingParams {
                top_k: Some(-1),
                ..Default::default()
            },
            SamplingParams {
                mirostat: Some(3),
                ..Default::default()
            },
            SamplingParams {
                repeat_penalty: Some(0.0),
                ..Default::default()
            },
            SamplingParams {
                presence_penalty: Some(2.5),
                ..Default::default()
            },
            SamplingParams {
                min_p: Some(1.5),
                ..Default::default()
            },
            SamplingParams {
                typical_p: Some(-0.5),
                ..Default::default()
            },
            SamplingParams {
                logit_bias: Some(vec![(3, f32::NAN)]),
                ..Default::default()
            },
            SamplingParams {
                logit_bias: Some(vec![(-3, 1.0)]),
                ..Default::default()
            },
        ];
        for case in cases {
            assert!(
                case.validate()
                    .is_err_and(|error| error.kind == ErrorKind::InvalidArgument),
                "{case:?}"
            );
        }
        assert!(SamplingParams::default().validate().is_ok());
        assert!(
            SamplingParams {
                temperature: Some(0.0),
                logit_bias: Some(vec![(3, f32::NEG_INFINITY)]),
                ..Default::default()
            }
            .validate()
            .is_ok()
        );
    }
}

//! What of a run is chosen beside the library, and which backend can do that.

use super::{GenerateOptions, Model};
use crate::abi::Capabilities;
use crate::protocol::error::Failure;
use crate::protocol::input::Input;
use crate::protocol::message::Terms;
use crate::protocol::sampling::{Choosing, MIN_P_OFF, Sampler, TYPICAL_P_OFF, unknown_token};

impl Model {
    /// How the tokens of a run are chosen; none if that is left to the library.
    pub(super) fn choosing(&self, options: &GenerateOptions) -> Result<Option<Choosing>, Failure> {
        let given = options.sampling.logit_bias.as_ref();
        let choosing = Choosing {
            sampling: options.sampling.over(&self.effective.sampling),
            seed: options.seed,
            bias: given
                .or(self.logit_bias.as_ref())
                .cloned()
                .unwrap_or_default(),
            logprobs: options.logprobs,
            processor: options.logits_processor,
        };
        let Some(why) = wanted(&choosing, options.sampler) else {
            return Ok(None);
        };
        let able = self.runtime.capabilities();
        if !able.has("own_sampling") {
            self.check_own(why, options)?;
        }
        let size = self.client.look_at_info(|info| info.vocab_size);
        if let Some((size, _)) = size {
            for &(token, _) in &choosing.bias {
                if usize::try_from(token).is_ok_and(|token| token >= size) {
                    return Err(unknown_token(token, size));
                }
            }
        }
        Ok(Some(choosing))
    }
}

impl Model {
    /// Whether the tokens of a run can be chosen here from the logits of one call for each.
    fn check_own(&self, why: &str, options: &GenerateOptions) -> Result<(), Failure> {
        let able = self.runtime.capabilities();
        // Hazard G5: before, logits of tokens behind a history end the process.
        if !able.has("logits") || !able.has_logits_after_history() || able.has("tokenize") {
            let own = match options.sampler {
                Sampler::Own => "",
                Sampler::Library => "sampler=\"own\" with ",
            };
            let needs = format!(
                "the CPU runtime (backend=\"cpu\"), or {own}{}",
                Capabilities::WITH_LOGITS_AFTER_HISTORY
            );
            return Err(able.lacks(why, &needs));
        }
        if options.sampler != Sampler::Own {
            let needs = "the CPU runtime (backend=\"cpu\"), or sampler=\"own\"";
            return Err(able.lacks(why, needs).with_hint(
                "Pass sampler=\"own\" as well: each token then takes a call of the library, which is slow.",
            ));
        }
        let beside = [
            ("keep_history", options.keep_history),
            ("save_prompt_cache", options.save_prompt_cache.is_some()),
            ("n_batch greater than 1", self.effective.n_batch > 1),
            (
                "json_schema, regex, choices, grammar or a tool_choice that asks for a call",
                options.constraint.is_some(),
            ),
        ];
        match beside.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((what, _)) => Err(Failure::invalid_with_hint(
                "sampler",
                format!("\"own\" cannot be combined with {what} on the NPU"),
                "Leave one of the two out, or use backend=\"cpu\".",
            )),
        }
    }

    /// Refuses steps whose tokens would be chosen here.
    pub(super) fn check_own_steps(&self, terms: &Terms) -> Result<(), Failure> {
        let able = self.runtime.capabilities();
        if terms.choosing.is_none() || able.has("own_sampling") {
            return Ok(());
        }
        let needs = "the CPU runtime (backend=\"cpu\")";
        Err(able.lacks("steps() with sampler=\"own\"", needs))
    }
}

/// Refuses inputs behind which tokens cannot be chosen here.
pub(super) fn check_own_inputs(inputs: &[Input]) -> Result<(), Failure> {
    let goes = |input: &Input| {
        matches!(
            input,
            Input::Prompt(_) | Input::Tokens(_) | Input::Rendered(_)
        )
    };
    if inputs.iter().all(goes) {
        return Ok(());
    }
    let reason = "\"own\" needs text or Tokens as the input on the NPU";
    let hint = "Leave sampler out, or use backend=\"cpu\".";
    Err(Failure::invalid_with_hint("sampler", reason, hint))
}

/// What of a run the library cannot do, by the name of the feature.
fn wanted(choosing: &Choosing, sampler: Sampler) -> Option<&'static str> {
    let sampling = &choosing.sampling;
    if sampling.min_p > MIN_P_OFF {
        Some("min_p")
    } else if sampling.typical_p < TYPICAL_P_OFF {
        Some("typical_p")
    } else if !choosing.bias.is_empty() {
        Some("logit_bias")
    } else if choosing.logprobs.is_some() {
        Some("logprobs")
    } else if choosing.processor.is_some() {
        Some("logits_processor")
    } else {
        (sampler == Sampler::Own).then_some("sampler=\"own\"")
    }
}

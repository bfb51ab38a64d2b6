//! What of a run is chosen beside the library, and which backend can do that.

use super::{GenerateOptions, Model};
use crate::protocol::error::Failure;
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
            return Err(able.lacks(why, "the CPU runtime (backend=\"cpu\")"));
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

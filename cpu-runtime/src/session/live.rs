//! A lane while tokens are made, and while a pause holds it.

use rkllm_text::sampler::{Sampler, Sampling};
use rkllm_text::utf8::Utf8Joiner;

/// What a lane has beyond its cache.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) sampler: Sampler,
    pub(super) joiner: Utf8Joiner,
    /// The token chosen last, not computed yet; None once the lane has ended.
    pub(super) token: Option<i32>,
}

impl Live {
    pub(super) fn new(sampler: Sampler) -> Self {
        Self {
            sampler,
            joiner: Utf8Joiner::default(),
            token: None,
        }
    }

    /// Goes on after a pause with `brought` in place of the token delivered last.
    ///
    /// The sampler takes them for made tokens, and keeps its random state and what it has learnt, so
    /// that bringing the delivered token is as if there had been no pause.
    pub(super) fn resume(mut self, settings: Sampling, brought: &[i32]) -> Self {
        // Bytes of a character that the delivered token has begun; another token does not go on
        // with it.
        if self.token.as_slice() != brought {
            self.joiner = Utf8Joiner::default();
        }
        self.sampler.go_on_with(settings);
        for &token in brought {
            self.sampler.accept(token);
        }
        self.token = None;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: Sampling = Sampling {
        top_k: 1,
        top_p: 1.0,
        temperature: 0.0,
        repeat_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 9.0,
        mirostat: 0,
        mirostat_tau: 5.0,
        mirostat_eta: 0.1,
        min_p: 0.0,
        typical_p: 1.0,
    };

    fn pushed(live: &mut Live, bytes: &[u8]) -> String {
        let mut text = String::new();
        live.joiner.push(bytes, &mut text);
        text
    }

    fn paused_inside_a_character() -> Live {
        let mut live = Live::new(Sampler::new(GREEDY, Some(1)));
        assert_eq!(pushed(&mut live, b"\xC3"), "");
        live.token = Some(1);
        live
    }

    #[test]
    fn the_delivered_token_goes_on_with_its_character() {
        let mut live = paused_inside_a_character().resume(GREEDY, &[1]);
        assert_eq!(pushed(&mut live, b"\xA9"), "é");
        assert_eq!(live.token, None);
    }

    #[test]
    fn another_token_does_not() {
        for brought in [[2].as_slice(), &[1, 1], &[]] {
            let mut live = paused_inside_a_character().resume(GREEDY, brought);
            assert_eq!(pushed(&mut live, b"a"), "a");
        }
    }

    #[test]
    fn what_is_brought_counts_for_the_penalties() {
        let mut live = paused_inside_a_character().resume(GREEDY, &[0, 1]);
        assert_eq!(live.sampler.sample(&mut [3.0, 2.0, 1.0]), 2);
    }
}

//! What the runs of an answer have given before the one that is under way.

use crate::model::TokenStream;
use crate::protocol::output::{PerfStats, TokenLogprob};

#[derive(Default)]
pub(super) struct Before {
    pub(super) text: String,
    pub(super) token_ids: Vec<i32>,
    pub(super) perf: Option<PerfStats>,
    pub(super) notes: Vec<String>,
    logprobs: Vec<TokenLogprob>,
    /// Those that no delta has told of.
    untold: Vec<TokenLogprob>,
}

impl Before {
    /// Takes how likely the first `kept` tokens of a run were that has ended.
    pub(super) fn take_logprobs(&mut self, tokens: &mut TokenStream, kept: usize) {
        let untold = tokens.new_logprobs().unwrap_or_default();
        self.untold.extend_from_slice(untold);
        if let Some(all) = tokens.logprobs() {
            self.logprobs.extend(all.iter().take(kept).cloned());
        }
    }

    /// How likely the tokens were that have come since the last call, where that is told.
    pub(super) fn new_logprobs(&mut self, tokens: &mut TokenStream) -> Option<Vec<TokenLogprob>> {
        let new = tokens.new_logprobs()?;
        let mut all = std::mem::take(&mut self.untold);
        all.extend_from_slice(new);
        Some(all)
    }

    /// How likely the first `count` tokens were of all runs, where that is told.
    pub(super) fn logprobs(&self, tokens: &TokenStream, count: usize) -> Option<Vec<TokenLogprob>> {
        let all = self.logprobs.iter().chain(tokens.logprobs()?);
        Some(all.take(count).cloned().collect())
    }
}

//! What a lane tells of its run: figures for its reader, and its course for whom keeps what the library holds.

use std::time::Instant;

use super::{Inner, Made, Plan, RunLane};
use crate::native::{Lane as _, LastCall, PromptTokens};
use crate::protocol::constraint::Kept;
use crate::protocol::output::{FinishReason, PerfStats};

impl RunLane {
    /// Whether the tokens of the run are noted.
    pub(in crate::engine) fn follows(&self) -> bool {
        self.plan.follows.is_some()
    }

    /// The library has not done what it was expected to do: its counts of the prompt say nothing.
    pub(in crate::engine) fn uncount(&self) {
        self.inner.lock().prompt = None;
    }

    /// What the library has made in a run that it has ended, for whom that is noted; whether it was at a
    /// limit; and how many tokens of the prompt it says it has computed. None if the run was cut off.
    pub(in crate::engine) fn course(&self) -> Option<(Made, bool, Option<usize>)> {
        let mut inner = self.inner.lock();
        let Some(LastCall::Finish(perf)) = inner.last_call else {
            return None;
        };
        let whole = !inner.panicked && !self.abort_wanted() && self.follows();
        let prefilled = perf.and_then(|perf| usize::try_from(perf.prefill_tokens).ok());
        whole.then(|| {
            let made = std::mem::take(&mut inner.made);
            (made, inner.limit_reached, prefilled)
        })
    }
}

impl Inner {
    /// Of a lane whose tokens are noted here.
    pub(super) fn with(made: Made) -> Self {
        Self {
            made,
            ..Self::default()
        }
    }

    /// A token is part of the answer.
    #[inline(always)]
    pub(super) fn count(&mut self, id: i32) {
        if self.tokens == 0 {
            self.first_token = Some(Instant::now());
        }
        self.tokens += 1;
        self.last_token = id;
    }

    /// Why a run ended that the library has ended.
    pub(super) fn reason(&self) -> FinishReason {
        if self.limit_reached {
            FinishReason::Length
        } else {
            FinishReason::Stop
        }
    }

    /// The figures of a lane that ends now.
    pub(super) fn perf(&mut self, plan: &Plan, now: Instant) -> PerfStats {
        let library = match self.last_call {
            // The library's figures are those of the run, and only the first lane's are certain.
            Some(LastCall::Finish(perf)) if !plan.batch => perf,
            _ => None,
        };
        let started = self.started.unwrap_or(now);
        // The library's own count, where nobody has counted the rest.
        let computed = library.and_then(|perf| usize::try_from(perf.prefill_tokens).ok());
        let PromptTokens { all, cached } = self.prompt.unwrap_or_default();
        let (all, cached) = (
            all.or_else(|| Some(cached? + computed?)),
            cached.or_else(|| all?.checked_sub(computed?)),
        );
        PerfStats {
            library,
            time_to_first_token: self.first_token.map(|at| at.duration_since(started)),
            generate_time: self.first_token.map(|at| now.duration_since(at)),
            total_time: now.duration_since(started),
            queued_time: started.duration_since(plan.submitted),
            tokens: self.tokens,
            prompt_tokens: all,
            cached_tokens: cached,
            constraint: self.guide.as_mut().map(|guide| Kept {
                calls: self.starts,
                ..guide.kept()
            }),
        }
    }
}

//! What of a run reaches the library, and what it holds afterwards.

use super::Server;
use crate::engine::RunLanes;
use crate::engine::held::{Begun, Course};
use crate::native::{Lane as _, PromptTokens, RunEnd};
use crate::protocol::error::Failure;
use crate::protocol::message::RunSpec;

impl Server<'_> {
    /// Decides what of a run the library gets.
    pub(super) fn begin(&mut self, spec: &mut RunSpec, lanes: &RunLanes) -> Begun {
        if self.model.is_paused() {
            self.held.forget();
            return Begun::default();
        }
        let expected = self.held.expects(spec);
        if expected.is_some() && self.cache_size() != expected {
            // Whatever is behind it: what is there is not what was left there.
            self.held.forget();
        }
        let mut begun = self.held.begin(spec, lanes[0].follows());
        // The CPU runtime finds by itself what it holds, counts it, and can be told to take nothing.
        begun.clears &= !self.model.set_reuse(spec.reuse);
        if !self.model.counts_prompts() {
            let (all, cached) = (begun.prompt, begun.cached);
            lanes[0].prompt(PromptTokens { all, cached });
        }
        begun
    }

    /// Notes what the library holds after a run.
    pub(super) fn follow(&mut self, outcome: &Result<RunEnd, Failure>, lanes: &RunLanes) {
        let course = match outcome {
            Ok(RunEnd::Over) => lanes[0].course(),
            _ => None,
        };
        let Some((made, at_limit, prefilled)) = course else {
            return self.held.forget();
        };
        let tells = self.held.needs_size() || self.model.counts_prompts();
        let size = tells.then(|| self.cache_size()).flatten();
        let as_expected = self.held.end(&Course {
            made,
            ended_itself: !at_limit,
            size,
            prefilled,
        });
        if !as_expected {
            lanes[0].uncount();
        }
    }

    /// Tokens in the cache of the only row, where the library tells.
    fn cache_size(&mut self) -> Option<usize> {
        let sizes = self.model.kv_cache_size().ok()?;
        usize::try_from(*sizes.first()?).ok()
    }
}

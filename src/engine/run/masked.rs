//! The part of a lane that keeps its answer to a grammar, by a mask where it can.

use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use rkllm_text::constraint::Refusal;

use super::super::guide::Guide;
use super::{Inner, RunLane};
use crate::host::wake::Side;
use crate::native::Verdict;
use crate::protocol::constraint::Constraint;
use crate::protocol::error::Failure;

impl RunLane {
    /// What the run's answers are kept to.
    pub(in crate::engine) fn constraint(&self) -> Option<&Constraint> {
        self.plan.constraint.as_ref()
    }

    /// Whether the logits of each token are looked at before it is chosen.
    pub(super) fn wants_logits(&self) -> bool {
        let constraint = self.plan.constraint.as_ref();
        self.plan.choosing.is_some() || constraint.is_some_and(|one| !one.lets_choose())
    }

    /// Who keeps the answer to that from here on.
    pub(in crate::engine) fn follow(&self, guide: Guide) {
        self.inner.lock().guide = Some(guide);
    }

    /// The library is to stop.
    pub(super) fn want_abort(&self) {
        self.abort_wanted.store(true, Ordering::Release);
        self.plan.watch.poke();
    }

    /// Ends the run since its grammar cannot be followed further.
    #[cold]
    pub(super) fn lost(&self, inner: MutexGuard<'_, Inner>, refusal: &Refusal) -> Verdict {
        let failure = match &self.plan.constraint {
            Some(constraint) => constraint.refused(refusal),
            None => Failure::of_run(&refusal.reason),
        };
        self.end_at(inner, Err(failure), Side::Vendor);
        Verdict::Continue
    }

    /// Takes out of the logits of the next token what may not come.
    pub(super) fn mask(&self, logits: &mut [f32]) {
        let mut inner = self.inner.lock();
        if inner.ended {
            return;
        }
        if let Some(Guide::Mask(mask)) = &mut inner.guide {
            if let Err(refusal) = mask.mask(logits) {
                self.lost(inner, &refusal);
            }
        }
    }
}

//! The part of a lane that chooses its tokens beside the library.

use super::super::choose::{Chooser, leave_only};
use super::RunLane;
use crate::host::wake::Side;
use crate::native::{Asks as _, Lane as _};
use crate::protocol::error::Failure;
use crate::protocol::question::Response;
use crate::protocol::sampling::Choosing;

impl RunLane {
    /// How the run's tokens are chosen, where that is not left to the library.
    pub(in crate::engine) fn choosing(&self) -> Option<&Choosing> {
        self.plan.choosing.as_deref()
    }

    /// Who chooses them from here on, if nobody does yet.
    pub(in crate::engine) fn choose_by(&self, chooser: impl FnOnce() -> Chooser) {
        let mut inner = self.inner.lock();
        if inner.chooser.is_none() {
            inner.chooser = Some(chooser());
        }
    }

    /// These stand in the place of the token that came last.
    pub(in crate::engine) fn replace_last(&self, tokens: &[i32]) {
        if let Some(chooser) = &mut self.inner.lock().chooser {
            chooser.replaced_by(tokens);
        }
    }

    /// Leaves in a row of logits what may come: where this chooses the token, that one alone.
    pub(super) fn look_at(&self, logits: &mut [f32]) {
        if self.plan.choosing.is_none() {
            self.mask(logits);
        } else if let Some(token) = self.pick(logits) {
            leave_only(logits, token);
        }
    }

    /// Chooses the next token from its logits, which are changed; none if the run is over.
    pub(in crate::engine) fn pick(&self, logits: &mut [f32]) -> Option<i32> {
        // Taken out, since nothing may wait for the program under the lock.
        let mut chooser = {
            let mut inner = self.inner.lock();
            inner.chooser.take().filter(|_| !inner.ended)?
        };
        let picked = self.pick_by(&mut chooser, logits);
        let mut inner = self.inner.lock();
        inner.chooser = Some(chooser);
        match picked {
            _ if inner.ended => None,
            Ok(token) => Some(token),
            Err(failure) => {
                self.end_at(inner, Err(failure), Side::Vendor);
                None
            }
        }
    }

    fn pick_by(&self, chooser: &mut Chooser, logits: &mut [f32]) -> Result<i32, Failure> {
        chooser.begin(logits)?;
        if let Some(question) = chooser.question(logits) {
            let Response::Logits(changed) = self.plan.desk.ask(question) else {
                let problem = self.plan.desk.problem();
                let reason = problem.unwrap_or_else(|| "logits_processor has failed".to_owned());
                return Err(Failure::of_run(&reason));
            };
            logits.copy_from_slice(&changed);
        }
        self.mask(logits);
        if self.has_ended() {
            // The grammar cannot be followed further, which the reader knows.
            return Ok(0);
        }
        chooser.choose(logits)
    }
}

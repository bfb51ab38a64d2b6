//! The lock around runs of one model.

use std::time::Duration;

use super::line::{Line, Stand};
use super::record::Use;
use super::{PARTY, Party, Patience, Place, step_out};
use crate::engine::Gate;
use crate::protocol::error::Failure;

/// The NPU, for the runs of one model. It is used on one thread, and dropped there, which is one of the
/// library's side.
pub(crate) struct RunGate {
    line: Line,
    way: Option<Way>,
}

/// How a run came in.
enum Way {
    Line,
    Block,
}

impl RunGate {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            line: Line::new(place, Use::Run, true),
            way: None,
        }
    }
}

impl Party {
    /// Lets a run in, if a block of this process holds the lock, or a run of it that waits for an answer to
    /// its question, and no other run is in it.
    fn let_in(&mut self) -> bool {
        let block = self.block.as_ref().is_some_and(|block| block.depth > 0);
        let open = block || (self.runs > 0 && self.answers > 0);
        let free = open && !self.guest;
        self.guest |= free;
        free
    }
}

impl Gate for RunGate {
    fn enter(&mut self, limit: Duration, wanted: &dyn Fn() -> bool) -> Result<bool, Failure> {
        // Nothing is done here that only one who waits needs: the run waits for it.
        let mut patience = None;
        self.line.come();
        loop {
            let (is_in, changes) = {
                let mut party = PARTY.lock();
                (party.let_in(), party.changes)
            };
            if is_in {
                step_out(&mut self.line);
                self.way = Some(Way::Block);
                return Ok(true);
            }
            let stand = self.line.stand();
            if let Ok(Stand::First) = stand {
                self.way = Some(Way::Line);
                PARTY.lock().runs += 1;
                return Ok(true);
            }
            let goes_on = wanted();
            let patience = patience.get_or_insert_with(|| Patience::new(Some(limit)));
            match stand {
                Ok(stand) if goes_on && !patience.is_over(stand) => patience.wait(stand, changes),
                outcome => {
                    let busy = patience.busy(&self.line);
                    step_out(&mut self.line);
                    return match outcome {
                        Err(failure) => Err(failure),
                        Ok(_) if !goes_on => Ok(false),
                        Ok(_) => Err(busy),
                    };
                }
            }
        }
    }

    fn leave(&mut self) {
        match self.way.take() {
            Some(Way::Line) => {
                PARTY.lock().runs -= 1;
                step_out(&mut self.line);
            }
            Some(Way::Block) => {
                let mut party = PARTY.lock();
                party.guest = false;
                party.changed();
            }
            None => {}
        }
    }
}

impl Drop for RunGate {
    fn drop(&mut self) {
        self.leave();
    }
}

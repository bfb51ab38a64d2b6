//! Who may use the NPU: asked before each run of the library.

use std::time::Duration;

use crate::protocol::error::Failure;

/// Lets one model in at a time. It belongs to the model's thread and is called from there, `enter` and
/// `leave` in turns.
pub(crate) trait Gate: Send {
    /// Waits until the model may run, while `wanted` says that somebody still wants it to. It is asked every
    /// now and then, from the calling thread; whoever waits is let go within 20 ms or so.
    ///
    /// Returns whether the model may run; if not, it is not wanted any more.
    ///
    /// # Errors
    /// `ErrorKind::Busy` after `limit`, and what is wrong with the gate.
    fn enter(&mut self, limit: Duration, wanted: &dyn Fn() -> bool) -> Result<bool, Failure>;

    /// The run is over, or paused.
    fn leave(&mut self);
}

/// The way through a gate, for one run.
pub(super) struct Inside<'a>(&'a mut dyn Gate);

impl<'a> Inside<'a> {
    /// As [`Gate::enter`], where there is a gate; leaves when it is dropped.
    pub(super) fn enter(
        gate: Option<&'a mut Box<dyn Gate>>,
        limit: Duration,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, Failure> {
        let Some(gate) = gate else {
            return Ok(None);
        };
        Ok(gate.enter(limit, wanted)?.then_some(Self(gate.as_mut())))
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

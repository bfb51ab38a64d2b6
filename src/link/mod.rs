//! The way between a program and an engine.

mod in_process;
pub mod npu;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Outbox;
use crate::host::wake::Side;
use crate::protocol::error::Failure;
use crate::protocol::message::Command;

pub(crate) use in_process::open;

/// Carries commands to the engine of one model. Events come back through outboxes.
pub(crate) trait Link: Send + Sync {
    /// Takes a command, from a thread of that side; `lanes` has where the events of each lane of a
    /// [`Command::Run`] go. Never blocks.
    ///
    /// # Errors
    /// `ErrorKind::Closed`, and what is wrong with the command.
    fn send(
        &self,
        command: Command,
        lanes: Vec<Arc<dyn Outbox>>,
        side: Side,
    ) -> Result<(), Failure>;

    /// Nobody waits for the answer to a request any more. It is done all the same, where it is done at all.
    fn leave(&self, number: u64) {
        let _ = number;
    }

    /// Whether the model is closed, or being closed.
    fn is_closed(&self) -> bool;

    /// Waits until the library has let go of the model; false when `limit` has passed first.
    fn wait_until_gone(&self, limit: Duration) -> bool;

    /// How long closing waits for an idle library; one that is in a run is left to its engine.
    fn closing_time(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// The process that runs the model, where that is not this one.
    fn pid(&self) -> Option<u32> {
        None
    }
}

//! The answer to a call that does not run the model, for one who waits in steps or in an event loop.

use std::sync::Arc;
use std::time::Duration;

use crate::client::oneshot::Receiver;
use crate::client::{Client, Desk, Keeper};
use crate::protocol::error::Failure;
use crate::protocol::message::Reply;

/// An answer that the model's thread will give.
pub struct Pending {
    pub(super) number: u64,
    pub(super) answer: Receiver<Reply>,
    pub(super) client: Arc<Client>,
    pub(super) desk: Desk,
    /// The model stays open for it.
    pub(super) _keeper: Arc<Keeper>,
}

impl Pending {
    /// Waits, `limit` at most.
    ///
    /// # Errors
    /// What the request met.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Option<Result<Reply, Failure>> {
        self.answer.wait(limit)
    }

    /// A descriptor that becomes readable when [`Pending::wait`] has something; `None` when it has.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&self) -> std::io::Result<Option<std::os::fd::RawFd>> {
        self.answer.arm()
    }

    /// Nobody waits any more. What was asked for is done all the same, but a worker whose library does not
    /// come back from it is ended after `kill_after`.
    pub fn leave(&self) {
        if self.answer.is_awaited() {
            self.client.leave(self.number);
        }
    }

    /// Where the library's questions are answered while this goes on.
    #[must_use]
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What the request met.
    pub fn wait_for_ever(&self) -> Result<Reply, Failure> {
        loop {
            if let Some(answer) = self.wait(Duration::from_secs(3600)) {
                return answer;
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.leave();
    }
}

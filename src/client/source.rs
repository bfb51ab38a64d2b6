//! What can be read, waited for and cancelled: written once, for text, rows and steps.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

use super::desk::Desk;
use super::inbox::Inbox;
use crate::host::fork;
use crate::host::wake::WakePair;
use crate::protocol::error::Failure;

/// One who waits without an event loop looks again after this time, whatever happens.
const LONG: Duration = Duration::from_secs(3600);

/// What [`Source::poll`] found.
#[derive(Debug)]
pub enum Poll<T, E = ()> {
    /// An item.
    Ready(T),
    /// Nothing yet: wait with [`Handle::wait`].
    Nothing,
    /// The end of the run, or why it failed.
    Ended(Result<E, Arc<Failure>>),
}

/// Something that comes piece by piece from a run.
pub trait Source {
    /// A piece.
    type Item;

    /// The next item that has come, without waiting.
    fn poll(&mut self) -> Poll<Self::Item>;

    /// For waiting and cancelling, also while another thread reads.
    fn handle(&self) -> &Handle;

    /// The next item, waited for; `None` at the end. Questions of the library are refused: who can answer
    /// them polls, and looks at the desk.
    ///
    /// # Errors
    /// Why the run failed.
    fn wait_next(&mut self) -> Result<Option<Self::Item>, Arc<Failure>> {
        loop {
            match self.poll() {
                Poll::Ready(item) => return Ok(Some(item)),
                Poll::Ended(outcome) => return outcome.map(|()| None),
                Poll::Nothing => self.handle().wait_refusing(),
            }
        }
    }
}

struct Parts {
    inbox: Arc<Inbox>,
    forks: u64,
    desk: Desk,
    /// The descriptor of those who wait in event loops.
    wake: Mutex<Option<WakePair>>,
}

/// A run, for waiting and cancelling from any thread.
#[derive(Clone)]
pub struct Handle(Arc<Parts>);

impl Handle {
    pub(crate) fn new(inbox: Arc<Inbox>, forks: u64, desk: Desk) -> Self {
        Self(Arc::new(Parts {
            inbox,
            forks,
            desk,
            wake: Mutex::new(None),
        }))
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.0.inbox
    }

    /// Ends the run for its reader at once, and asks the library to stop (`rkllm_abort`).
    #[doc(alias = "rkllm_abort")]
    pub fn cancel(&self) {
        if !self.is_forked() {
            self.0.inbox.cancel();
        }
    }

    /// Says that the reader was cancelled while it waited. Unless one reads or waits again within 100 ms,
    /// the run is cancelled.
    pub fn leave(&self) {
        if !self.is_forked() {
            self.0.inbox.leave();
        }
    }

    /// Whether the run has ended for its reader; pieces may still be there to read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.inbox.has_ended()
    }

    /// Whether the run belongs to the parent of this process.
    pub(crate) fn is_forked(&self) -> bool {
        self.0.forks != fork::depth()
    }

    /// The run's number, counted from 1 for each model.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.0.inbox.run()
    }

    /// Where the library's questions are answered: look there whenever [`Handle::wait`] returns and there
    /// is nothing to read.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// Sleeps until there is something to read or to answer; false when `limit` has passed first.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        self.is_forked() || self.0.inbox.wait(limit)
    }

    /// [`Self::wait`], for readers that answer no questions.
    pub(crate) fn wait_refusing(&self) {
        self.0.desk.refuse();
        let _ = self.wait(LONG);
    }

    /// A descriptor that becomes readable once when something comes, for an event loop; `None` when
    /// something is there already.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&self) -> std::io::Result<Option<RawFd>> {
        if self.is_forked() {
            return Ok(None);
        }
        let mut own = self.0.wake.lock();
        let wake = WakePair::kept_in(&mut own)?;
        Ok(if self.0.inbox.arm(wake) {
            None
        } else {
            Some(wake.host_fd())
        })
    }

    /// Ends the run for a reader that is dropped, and gives its descriptor back.
    pub(crate) fn drop_reader(&self) {
        self.cancel();
        if !self.is_forked() {
            let wake = self.0.wake.lock().take();
            if let Some(wake) = wake {
                self.0.inbox.disarm();
                wake.release();
            }
        }
    }
}

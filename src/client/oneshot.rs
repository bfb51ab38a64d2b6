//! The answer to a request, for one who waits in steps or in an event loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

use crate::host::fork;
use crate::host::wake::{Side, WakePair};
use crate::protocol::error::Failure;

struct Content<T> {
    value: Option<Result<T, Failure>>,
    given: bool,
    wake: Option<WakePair>,
}

struct Channel<T> {
    state: Mutex<Content<T>>,
    arrived: Condvar,
}

/// Sends the answer, once; dropping it unused answers that the model is closed.
pub(crate) struct Sender<T>(Option<Arc<Channel<T>>>);

/// Waits for the answer.
pub(crate) struct Receiver<T> {
    channel: Arc<Channel<T>>,
    wake: Mutex<Option<WakePair>>,
    /// In a forked child nobody is left who could answer.
    forks: u64,
}

/// Both ends.
pub(crate) fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        state: Mutex::new(Content {
            value: None,
            given: false,
            wake: None,
        }),
        arrived: Condvar::new(),
    });
    let receiver = Receiver {
        channel: Arc::clone(&channel),
        wake: Mutex::new(None),
        forks: fork::depth(),
    };
    (Sender(Some(channel)), receiver)
}

impl<T> Sender<T> {
    /// Sends the answer; returns whether somebody is still there to take it.
    pub(crate) fn send(mut self, value: Result<T, Failure>, side: Side) -> bool {
        self.put(value, side)
    }

    fn put(&mut self, value: Result<T, Failure>, side: Side) -> bool {
        let Some(channel) = self.0.take() else {
            return false;
        };
        let mut state = channel.state.lock();
        // Looked at before the answer can be taken: whoever has it may be gone at once.
        let awaited = Arc::strong_count(&channel) > 1;
        state.value = Some(value);
        state.given = true;
        if let Some(wake) = state.wake.take() {
            wake.signal(side);
        }
        channel.arrived.notify_all();
        awaited
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Only the engine's thread, which is the vendor's side, drops requests unanswered.
        self.put(Err(Failure::closed()), Side::Vendor);
    }
}

impl<T> Receiver<T> {
    /// Waits, `limit` at most; the answer is taken away.
    pub(crate) fn wait(&self, limit: Duration) -> Option<Result<T, Failure>> {
        if self.forks != fork::depth() {
            return Some(Err(Failure::forked()));
        }
        let until = Instant::now() + limit;
        let mut state = self.channel.state.lock();
        while !state.given {
            if self
                .channel
                .arrived
                .wait_until(&mut state, until)
                .timed_out()
                && !state.given
            {
                return None;
            }
        }
        state.value.take().or(Some(Err(Failure::closed())))
    }

    /// Whether the answer has not come, and could.
    pub(crate) fn is_awaited(&self) -> bool {
        self.forks == fork::depth() && !self.channel.state.lock().given
    }

    /// A descriptor that becomes readable with the answer; `None` when it is there.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub(crate) fn arm(&self) -> std::io::Result<Option<std::os::fd::RawFd>> {
        let mut own = self.wake.lock();
        let wake = WakePair::kept_in(&mut own)?;
        let mut state = self.channel.state.lock();
        if state.given {
            return Ok(None);
        }
        wake.clear();
        state.wake = Some(wake);
        Ok(Some(wake.host_fd()))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.forks != fork::depth() {
            return;
        }
        if let Some(wake) = self.wake.get_mut().take() {
            // From here on nobody signals it.
            self.channel.state.lock().wake = None;
            wake.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_once_and_a_lost_one_is_told() {
        let (sender, answer) = oneshot::<i32>();
        assert!(answer.wait(Duration::ZERO).is_none());
        assert!(sender.send(Ok(3), Side::Host));
        assert_eq!(answer.wait(Duration::ZERO).unwrap().unwrap(), 3);

        let (sender, answer) = oneshot::<i32>();
        drop(sender);
        assert_eq!(answer.wait(Duration::ZERO), Some(Err(Failure::closed())));

        let (sender, answer) = oneshot::<i32>();
        drop(answer);
        assert!(!sender.send(Ok(1), Side::Host));
    }
}

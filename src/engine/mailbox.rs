//! Where messages wait for a model's thread, and the thread for messages.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::sync::plain::{Condvar, Mutex, MutexGuard};

struct Contents<T> {
    messages: VecDeque<T>,
    asleep: bool,
    closed: bool,
}

/// Messages to one thread.
pub(super) struct Mailbox<T> {
    /// The standard library's lock and not `parking_lot`'s, which wakes a thread through tables: what wakes a
    /// model has left the caches when it is needed.
    state: Mutex<Contents<T>>,
    changed: Condvar,
}

impl<T> Mailbox<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(Contents {
                messages: VecDeque::new(),
                asleep: false,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in line; false where nobody takes it any more.
    pub(super) fn put(&self, message: T) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.messages.push_back(message);
        self.wake(state);
        true
    }

    /// Takes no more messages, and gives back what nobody has taken.
    pub(super) fn close(&self) -> VecDeque<T> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.messages)
    }

    fn wake(&self, mut state: MutexGuard<'_, Contents<T>>) {
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            self.changed.notify_one();
        }
    }

    /// The next message, waited for; `None` when `limit` has passed first.
    pub(super) fn take(&self, limit: Option<Duration>) -> Option<T> {
        let until = limit.map(|limit| Instant::now() + limit);
        let mut state = self.lock();
        loop {
            if let Some(message) = state.messages.pop_front() {
                return Some(message);
            }
            state.asleep = true;
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    state.asleep = false;
                    return None;
                }
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn messages_come_in_their_order_to_a_thread_that_sleeps() {
        let mailbox = Arc::new(Mailbox::new());
        let taking = Arc::clone(&mailbox);
        let taken = thread::spawn(move || {
            let all = std::iter::repeat_with(|| taking.take(None).expect("waited for"));
            all.take_while(|message| *message < 100).collect::<Vec<_>>()
        });
        for message in 0..=100 {
            while message == 50 && !mailbox.lock().asleep {
                thread::yield_now();
            }
            assert!(mailbox.put(message));
        }
        assert_eq!(taken.join().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_limit_passes() {
        let mailbox = Mailbox::<u8>::new();
        assert_eq!(mailbox.take(Some(Duration::from_millis(1))), None);
        assert!(mailbox.put(7));
        assert_eq!(mailbox.take(Some(Duration::ZERO)), Some(7));
    }

    #[test]
    fn a_closed_one_gives_back_what_nobody_took_and_takes_no_more() {
        let mailbox = Mailbox::new();
        assert!(mailbox.put(1) && mailbox.put(2));
        assert_eq!(mailbox.close(), [1, 2]);
        assert!(!mailbox.put(3));
        assert!(mailbox.close().is_empty());
    }
}

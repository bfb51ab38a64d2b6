//! The reader's side of an inbox: taking what has come, and waiting for it.

use std::time::{Duration, Instant};

use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, yield_now};

use super::inbox::{Ending, Inbox};
use super::text_batch::TextBatch;
use crate::host::FloatBlock;
use crate::host::wake::WakePair;

/// How long a reader stays awake for rows that are being copied.
const ARRIVAL: Duration = Duration::from_micros(200);

/// What one look into an inbox found.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The batch has something.
    Some,
    /// Nothing yet.
    Nothing,
    /// Nothing more will come.
    Ended(Ending),
}

impl Inbox {
    /// Swaps what has come into `batch` (emptied before; its room is used again).
    pub(crate) fn take(&self, batch: &mut TextBatch) -> Taken {
        batch.clear();
        let mut inner = self.inner.lock();
        inner.left = None;
        if !inner.may_take() {
            return Taken::Nothing;
        }
        if !inner.pending.is_empty() {
            std::mem::swap(&mut inner.pending, batch);
            return Taken::Some;
        }
        match &inner.ending {
            Some(ending) => Taken::Ended(ending.clone()),
            None => Taken::Nothing,
        }
    }

    /// Whether something has come that was not taken.
    pub(crate) fn has_pending(&self) -> bool {
        !self.inner.lock().pending.is_empty()
    }

    /// Rows that have come, one callback's after the other; `None` when there are none yet.
    pub(crate) fn take_rows(&self) -> Option<Result<FloatBlock, Ending>> {
        let mut inner = self.inner.lock();
        inner.left = None;
        match inner.blocks.pop_front() {
            Some(block) => Some(Ok(block)),
            None => inner.ending.clone().map(Err),
        }
    }

    /// Stays awake while rows are being copied, which takes less than going to sleep and waking again.
    fn await_arrival(&self) {
        if !self.arriving.load(Ordering::Acquire) {
            return;
        }
        let lent = self.inner.lock().lent.clone();
        let until = Instant::now() + ARRIVAL;
        while self.arriving.load(Ordering::Acquire) && Instant::now() < until {
            // Memory that is shared with the library's process tells sooner than that process.
            if lent.as_ref().is_some_and(|(_, block)| block.is_written()) {
                return self.take_written();
            }
            yield_now();
        }
    }

    /// Takes the lent block as one whose rows have come, unless their event has done so.
    fn take_written(&self) {
        let mut inner = self.inner.lock();
        if let Some((_, rows)) = inner.lent.take_if(|(_, block)| block.is_written()) {
            self.arriving.store(false, Ordering::Release);
            inner.blocks.push_back(rows);
        }
    }

    /// Sleeps until there is something to take; false when `limit` has passed first.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        self.await_arrival();
        let mut inner = self.inner.lock();
        inner.left = None;
        loop {
            if inner.ready() {
                inner.poked = false;
                return true;
            }
            let timed_out = self.arrived.wait_until(&mut inner, until).timed_out();
            if self.arriving.load(Ordering::Acquire) {
                MutexGuard::unlocked(&mut inner, || self.await_arrival());
            }
            if timed_out && !inner.ready() {
                return false;
            }
        }
    }

    /// Asks for `wake` to be signalled once when something comes; true when something is there.
    pub(crate) fn arm(&self, wake: WakePair) -> bool {
        self.await_arrival();
        let mut inner = self.inner.lock();
        inner.left = None;
        if inner.ready() {
            inner.poked = false;
            return true;
        }
        // Under the lock under which signals are given, and only if nothing is there: another task may
        // wait for the signal that is taken away.
        wake.clear();
        inner.wake = Some(wake);
        inner.loop_waits = true;
        false
    }

    /// From here on nothing signals the descriptor that was given to [`Self::arm`].
    pub(crate) fn disarm(&self) {
        let mut inner = self.inner.lock();
        inner.loop_waits = false;
        inner.wake = None;
    }
}

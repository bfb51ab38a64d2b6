//! What a reader reads: the events of one lane of a run.
//!
//! One lock. An event is appended and wakes the reader only if it sleeps; the reader takes all that is
//! there at once. The inbox can hold a whole run, so the engine never waits for a reader.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

use super::text_batch::{Piece, TextBatch};
use super::{Client, Keeper};
use crate::engine::Outbox;
use crate::engine::deadlines::{self, Due, Why};
use crate::host::FloatBlock;
use crate::host::wake::{Side, WakePair};
use crate::protocol::error::Failure;
use crate::protocol::message::{Command, Ended, Event, Settled, StopReason};
use crate::protocol::output::{FinishReason, PerfStats};

/// How long a run goes on whose reader was cancelled while it waited. A reader that comes back within
/// this time loses nothing.
const GRACE: Duration = Duration::from_millis(100);

/// How a run ended: the reason, or what went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) outcome: Result<FinishReason, Arc<Failure>>,
    pub(crate) perf: PerfStats,
}

/// What an inbox's lock guards.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is set by another side")]
pub(super) struct Inner {
    pub(super) pending: TextBatch,
    /// Rows that have come and not been read.
    pub(super) blocks: VecDeque<FloatBlock>,
    /// Rows that were lent, and whose event has not come yet.
    pub(super) lent: Option<(u64, FloatBlock)>,
    /// The engine knows of the run; until then it is ended here.
    begun: bool,
    pub(super) ending: Option<Ending>,
    settled: Option<Settled>,
    /// The run is paused, and waits for what it is to go on with.
    resting: bool,
    /// The library asks something.
    pub(super) poked: bool,
    /// Its reader takes one token at a time, each only when the library has paused after it.
    stepping: bool,
    /// The reader was cancelled while it waited, and has not come back since; which time that was.
    pub(super) left: Option<u64>,
    times_left: u64,
    pub(super) loop_waits: bool,
    pub(super) wake: Option<WakePair>,
}

impl Inner {
    /// Whether there is something for the reader.
    pub(super) fn ready(&self) -> bool {
        self.ending.is_some()
            || self.resting
            || self.poked
            || !self.stepping && (!self.pending.text.is_empty() || !self.blocks.is_empty())
    }

    /// Whether what has come may be taken: of steps only when the library has paused.
    pub(super) fn may_take(&self) -> bool {
        !self.stepping || self.resting || self.ending.is_some()
    }
}

/// The inbox of one lane of a run.
pub(crate) struct Inbox {
    pub(super) inner: Mutex<Inner>,
    pub(super) arrived: Condvar,
    client: Weak<Client>,
    /// The model stays open until the run has ended.
    keeper: Mutex<Option<Arc<Keeper>>>,
    ended: AtomicBool,
    /// Rows are being copied: the reader is awake already, and they come in a moment.
    pub(super) arriving: AtomicBool,
    run: u64,
    lane: usize,
    deadline: Option<(Instant, f64)>,
}

impl Inbox {
    pub(super) fn new(
        client: &Arc<Client>,
        run: u64,
        lane: usize,
        stepping: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let inner = Inner {
            stepping,
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
            arrived: Condvar::new(),
            client: Arc::downgrade(client),
            keeper: Mutex::new(None),
            ended: AtomicBool::new(false),
            arriving: AtomicBool::new(false),
            run,
            lane,
            deadline: timeout.and_then(|timeout| {
                let at = Instant::now().checked_add(timeout)?;
                Some((at, timeout.as_secs_f64()))
            }),
        }
    }

    /// The engine knows of the run now: its deadline counts, and what ended it before is told.
    pub(super) fn begin(self: &Arc<Self>) {
        let ended = {
            let mut inner = self.inner.lock();
            inner.begun = true;
            inner.ending.is_some()
        };
        if ended {
            // The model may have closed meanwhile, which ends the run as well.
            drop(self.tell(StopReason::Cancelled, Side::Host));
        } else if let Some((at, seconds)) = self.deadline {
            let this: Weak<Self> = Arc::downgrade(self);
            deadlines::mind(this, at, Why::Deadline(seconds));
        }
    }

    /// Keeps the model open until the run has ended.
    pub(crate) fn keep(&self, keeper: Arc<Keeper>) {
        *self.keeper.lock() = Some(keeper);
        self.release();
    }

    /// Lets go of the model if the run has ended. Not to be called under a lock, since the model may close
    /// here, which ends all of its runs and questions.
    fn release(&self) {
        if self.has_ended() {
            let keeper = self.keeper.lock().take();
            drop(keeper);
        }
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Whether the end has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    // ---- the reader ----

    /// Ends the run at once, and asks the library to stop.
    pub(crate) fn cancel(&self) {
        self.stop(StopReason::Cancelled, Side::Host);
    }

    fn stop(&self, reason: StopReason, side: Side) {
        let inner = self.inner.lock();
        if inner.ending.is_some() {
            return;
        }
        if !inner.begun {
            // The engine does not know of it yet; under the same lock it is told that it has ended.
            return self.end(inner, Ended::at_once(reason.outcome()), side);
        }
        drop(inner);
        if let Err(closed) = self.tell(reason, side) {
            // Nobody else tells the end.
            self.put_end(Ended::at_once(Err(closed)), side);
        }
    }

    /// Tells the engine to end the run.
    fn tell(&self, reason: StopReason, side: Side) -> Result<(), Failure> {
        let client = self.client.upgrade().ok_or_else(Failure::closed)?;
        client.send(
            Command::Stop {
                run: self.run,
                lane: self.lane,
                reason,
            },
            side,
        )
    }

    /// Says that the reader was cancelled while it waited. Unless one comes back soon, the run is ended.
    pub(crate) fn leave(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        if inner.ending.is_some() {
            return;
        }
        inner.times_left += 1;
        let time = inner.times_left;
        inner.left = Some(time);
        drop(inner);
        let this: Weak<Self> = Arc::downgrade(self);
        deadlines::mind(this, Instant::now() + GRACE, Why::Left(time));
    }

    /// Whether the reader was cancelled, and none has come back yet.
    pub(crate) fn is_left(&self) -> bool {
        self.inner.lock().left.is_some()
    }

    /// What the engine has made of a rendered conversation; there before the first piece.
    pub(crate) fn settled(&self) -> Option<Settled> {
        self.inner.lock().settled.clone()
    }

    /// Whether the run waits for what it is to go on with.
    pub(crate) fn is_resting(&self) -> bool {
        self.inner.lock().resting
    }

    /// The reader has decided how it goes on.
    pub(crate) fn leave_rest(&self) {
        self.inner.lock().resting = false;
    }

    // ---- the engine ----

    /// The library asks something: the reader is to look at the desk.
    pub(super) fn poke(&self) {
        let mut inner = self.inner.lock();
        inner.poked = true;
        self.wake(inner, Side::Vendor);
    }

    #[cold]
    fn put_end(&self, ended: Ended, side: Side) {
        let inner = self.inner.lock();
        if inner.ending.is_none() {
            self.end(inner, ended, side);
        }
    }

    fn end(&self, mut inner: MutexGuard<'_, Inner>, ended: Ended, side: Side) {
        self.arriving.store(false, Ordering::Release);
        self.ended.store(true, Ordering::Release);
        if !ended.rest.is_empty() {
            inner.pending.text.push_str(&ended.rest);
            inner.pending.rest = Some(Piece::new(ended.rest.len(), ended.last_token));
        }
        inner.ending = Some(Ending {
            outcome: ended.outcome.map_err(Arc::new),
            perf: ended.perf,
        });
        self.wake(inner, side);
        self.release();
    }

    #[inline(always)]
    fn wake(&self, mut inner: MutexGuard<'_, Inner>, side: Side) {
        // Costs next to nothing while nobody sleeps.
        self.arrived.notify_all();
        if inner.loop_waits {
            inner.loop_waits = false;
            if let Some(wake) = inner.wake {
                wake.signal(side);
            }
        }
    }
}

impl Outbox for Inbox {
    #[inline]
    fn put(&self, event: Event<'_>, side: Side) {
        match event {
            Event::Piece { text, token_id } => {
                let text: &str = &text;
                let mut inner = self.inner.lock();
                if inner.ending.is_some() {
                    return;
                }
                inner.pending.text.push_str(text);
                inner.pending.pieces.push(Piece::new(text.len(), token_id));
                // A step is there when the library has paused.
                if !text.is_empty() && !inner.stepping {
                    self.wake(inner, side);
                }
            }
            Event::Likely(likely) => self.inner.lock().pending.likely.push(*likely),
            Event::Settled(settled) => self.inner.lock().settled = Some(settled),
            Event::RowsCome(_) => {
                let inner = self.inner.lock();
                self.arriving.store(true, Ordering::Release);
                self.wake(inner, side);
            }
            Event::Rows { block, .. } => {
                let mut inner = self.inner.lock();
                self.arriving.store(false, Ordering::Release);
                // A reader that was awake may have taken them.
                if let Some((_, rows)) = inner.lent.take_if(|(number, _)| *number == block) {
                    inner.blocks.push_back(rows);
                }
                self.wake(inner, side);
            }
            Event::Paused => {
                let mut inner = self.inner.lock();
                inner.resting = true;
                self.wake(inner, side);
            }
            Event::Ended(ended) => self.put_end(*ended, side),
            other => debug_assert!(false, "{other:?} belongs to no run"),
        }
    }

    fn lend(&self, number: u64, block: FloatBlock) {
        self.inner.lock().lent = Some((number, block));
    }
}

impl Due for Inbox {
    fn is_over(&self) -> bool {
        self.has_ended()
    }

    fn due(&self, why: Why) {
        match why {
            Why::Deadline(seconds) => self.stop(StopReason::Deadline(seconds), Side::Vendor),
            Why::Left(time) => {
                let left = self.inner.lock().left == Some(time);
                if left {
                    self.stop(StopReason::Cancelled, Side::Vendor);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

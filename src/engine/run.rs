//! One lane of a run, beside the library: where text becomes whole and ends, and what callbacks return.
//!
//! Its lock is held while an event is put, so that events keep their order. Nothing of the program runs under
//! it, and whoever takes an event holds no lock while it asks for this one.

mod chosen;
mod figures;
mod made;
mod masked;
mod rows;
mod text;
mod unmasked;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use rkllm_text::stop::{StopState, StopStrings};
use rkllm_text::utf8::Utf8Joiner;

pub(super) use self::made::{Follows, Made};
use self::rows::Rows;
pub(super) use self::unmasked::{Onward, Standing};
use super::choose::Chooser;
use super::desk::Desk;
use super::guide::Guide;
use super::outbox::Outbox;
use super::watch::Watch;
use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::native::{Lane, LastCall, PromptTokens, Verdict};
use crate::protocol::constraint::Constraint;
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::message::{Ended, Event, Limit, StopReason};
use crate::protocol::output::{FinishReason, RowsKind};
use crate::protocol::sampling::Choosing;

/// What the lanes of one run have in common.
#[allow(clippy::struct_excessive_bools, reason = "each is a term of its own")]
pub(super) struct Plan {
    pub(super) run: u64,
    pub(super) limit: Limit,
    pub(super) stop: Option<StopStrings>,
    /// What its answers are kept to.
    pub(super) constraint: Option<Constraint>,
    /// How its tokens are chosen, where that is not left to the library.
    pub(super) choosing: Option<Box<Choosing>>,
    /// Rows instead of an answer.
    pub(super) wants: Option<RowsKind>,
    /// Whether the library is to pause after each token.
    pub(super) stepping: bool,
    /// Whether each text comes with its own token.
    pub(super) by_token: bool,
    /// Whether there are several lanes, of which each ends with a negative token.
    pub(super) batch: bool,
    /// Whether its tokens are noted, and how.
    pub(super) follows: Option<Follows>,
    pub(super) submitted: Instant,
    /// Where the program is asked.
    pub(super) desk: Arc<Desk>,
    /// Told when the run is to be aborted.
    pub(super) watch: Arc<Watch>,
}

/// What a lane's lock guards.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is set by another side")]
struct Inner {
    joiner: Utf8Joiner,
    /// Where the text is with regard to the stop strings, and what might begin one.
    stop_state: StopState,
    held: String,
    /// The tokens that the held text is of, with the length of each one's; what is left of one that has
    /// been handed on is of no token.
    held_tokens: VecDeque<(usize, i32)>,
    last_token: i32,
    last_call: Option<LastCall>,
    /// Counts calls of the library, and those back, so that the engine can see whether any still come.
    starts: usize,
    calls: u64,
    tokens: usize,
    /// Keeps the answer to its grammar.
    guide: Option<Guide>,
    /// Chooses the tokens; taken out while it does.
    chooser: Option<Chooser>,
    /// The tokens, where they are noted.
    made: Made,
    prompt: Option<PromptTokens>,
    limit_reached: bool,
    panicked: bool,
    started: Option<Instant>,
    first_token: Option<Instant>,
    ended: bool,
    rows: Rows,
    /// The library was told to pause in this run.
    pausing: bool,
}

/// One lane of a run.
pub(super) struct RunLane {
    plan: Arc<Plan>,
    inner: Mutex<Inner>,
    /// The library's last call: a reader need not wake for it.
    called: Condvar,
    abort_wanted: AtomicBool,
    ended: AtomicBool,
    out: Arc<dyn Outbox>,
    number: usize,
}

impl RunLane {
    pub(super) fn new(plan: Arc<Plan>, number: usize, out: Arc<dyn Outbox>) -> Self {
        let made = Made::new(plan.follows == Some(Follows::Text));
        Self {
            inner: Mutex::new(Inner::with(made)),
            plan,
            number,
            called: Condvar::new(),
            abort_wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            out,
        }
    }

    pub(super) fn run(&self) -> u64 {
        self.plan.run
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Ends the lane for its reader at once and asks the library to stop.
    pub(super) fn stop(&self, reason: StopReason, side: Side) {
        self.end_at(self.inner.lock(), reason.outcome(), side);
    }

    /// [`Self::stop`] for a model that is being closed.
    pub(super) fn close(&self, side: Side) {
        self.end_at(self.inner.lock(), Err(Failure::closed()), side);
    }

    /// Tells the reader how the run stands: its input is ready for the library, or the library has paused.
    pub(super) fn tell(&self, event: Event<'static>) {
        let inner = self.inner.lock();
        if !inner.ended {
            self.out.put(event, Side::Vendor);
        }
    }

    /// The run is over on the library's side. `outcome` is ignored where the reader has been told
    /// another end before.
    pub(super) fn end(&self, outcome: Result<(), Failure>) {
        let inner = self.inner.lock();
        let outcome = match outcome {
            _ if inner.panicked => Err(Failure::of_call(
                ErrorKind::Generation,
                "the result callback",
                "it panicked; this is a bug in rkllm_rs",
                Vec::new(),
            )),
            // A library that counts differently, or was stopped by us, may call its end an error.
            Err(error) if !inner.limit_reached || error.fields.function.is_none() => Err(error),
            _ => Ok(inner.reason()),
        };
        self.finish(inner, outcome, Side::Vendor);
    }

    /// Tells the reader the end, once. Not under the lock: the model may close when its last reader has its
    /// end, which ends all lanes. No event can follow, since the lane has ended before.
    fn finish(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        outcome: Result<FinishReason, Failure>,
        side: Side,
    ) {
        if std::mem::replace(&mut inner.ended, true) {
            return;
        }
        self.ended.store(true, Ordering::Release);
        let outcome = self.with_held(&mut inner, outcome, side);
        let now = Instant::now();
        // What might have begun a stop string did not.
        let held = inner.held.len();
        if self.plan.by_token {
            self.release(&mut inner, held, side);
        }
        let mut rest = std::mem::take(&mut inner.held);
        inner.joiner.finish(&mut rest);
        let ended = Ended {
            outcome,
            rest,
            last_token: inner.last_token,
            perf: inner.perf(&self.plan, now),
        };
        drop(inner);
        self.out.put(Event::Ended(Box::new(ended)), side);
    }

    /// [`Self::finish`] for an end that the library does not know of yet.
    #[cold]
    fn end_at(
        &self,
        inner: MutexGuard<'_, Inner>,
        outcome: Result<FinishReason, Failure>,
        side: Side,
    ) {
        if inner.ended {
            return;
        }
        self.finish(inner, outcome, side);
        self.want_abort();
    }

    #[cold]
    fn stop_at(&self, mut inner: MutexGuard<'_, Inner>, reason: FinishReason) -> Verdict {
        let verdict = self.verdict(&mut inner);
        self.end_at(inner, Ok(reason), Side::Vendor);
        verdict
    }

    /// What a token's callback returns: a run in steps pauses at each.
    #[inline]
    fn verdict(&self, inner: &mut Inner) -> Verdict {
        if self.plan.stepping {
            inner.pausing = true;
            Verdict::Pause
        } else {
            Verdict::Continue
        }
    }

    /// Text that comes with no token: the end of a lane, or bytes left over at the end of a run.
    #[cold]
    fn leftover(&self, mut inner: MutexGuard<'_, Inner>, bytes: &[u8], id: i32) {
        inner.made.leftover(bytes);
        if self.hand_on(&mut inner, bytes, id) {
            self.stop_at(inner, FinishReason::Stop);
        } else if self.plan.batch {
            // The other lanes go on. If nobody wants them any more, the library is asked to stop.
            let reason = inner.reason();
            self.finish(inner, Ok(reason), Side::Vendor);
            self.plan.watch.poke();
        }
    }
}

impl Lane for RunLane {
    fn wants(&self) -> Option<RowsKind> {
        self.plan.wants
    }

    fn start(&self) {
        let mut inner = self.inner.lock();
        inner.started.get_or_insert_with(Instant::now);
        inner.starts += 1;
        inner.pausing = false;
        inner.last_call = None;
    }

    fn prompt(&self, tokens: PromptTokens) {
        self.inner.lock().prompt.get_or_insert(tokens);
    }

    #[inline]
    fn token(&self, bytes: &[u8], id: i32) -> Verdict {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        if inner.ended {
            return self.verdict(&mut inner);
        }
        if inner.limit_reached {
            // The library goes on beyond the limit that it was given.
            return self.stop_at(inner, FinishReason::Length);
        }
        if id < 0 {
            self.leftover(inner, bytes, id);
            return Verdict::Continue;
        }
        if inner.pausing {
            drop(inner);
            self.unusable("the runtime did not pause when asked to".to_owned());
            return Verdict::Pause;
        }
        match &mut inner.guide {
            None => {}
            Some(Guide::Unmasked(_)) => return self.unmasked_token(inner, bytes, id),
            Some(Guide::Mask(mask)) => match mask.push(id, bytes) {
                Ok(true) => {}
                // Only a model that may not end its answer goes on after it.
                Ok(false) => return self.stop_at(inner, FinishReason::Stop),
                Err(refusal) => return self.lost(inner, &refusal),
            },
        }
        inner.count(id);
        if self.plan.follows.is_some() {
            inner.made.push(id, bytes);
        }
        if let Some(likely) = inner.chooser.as_mut().and_then(|one| one.came(id)) {
            self.out.put(Event::Likely(Box::new(likely)), Side::Vendor);
        }
        if self.hand_on(&mut inner, bytes, id) {
            return self.stop_at(inner, FinishReason::Stop);
        }
        if inner.tokens >= self.plan.limit.tokens {
            let whole = matches!(&inner.guide, Some(Guide::Mask(mask)) if mask.is_over());
            inner.limit_reached = !whole;
            if whole || !self.plan.limit.by_library {
                let reason = inner.reason();
                return self.stop_at(inner, reason);
            }
        }
        self.verdict(&mut inner)
    }

    fn chooses(&self) -> bool {
        self.wants_logits()
    }

    fn choose(&self, logits: &mut [f32]) {
        self.look_at(logits);
    }

    fn called(&self) {
        self.inner.lock().calls += 1;
    }

    fn rows_come(&self, shared: Option<&FloatBlock>) {
        self.tell_of_rows(shared);
    }

    fn rows(&self, block: FloatBlock) {
        self.hand_on_rows(block);
    }

    #[cold]
    fn unusable(&self, reason: String) {
        let failure = Failure::of_run(&reason);
        self.end_at(self.inner.lock(), Err(failure), Side::Vendor);
    }

    fn panicked(&self) {
        self.inner.lock().panicked = true;
        self.want_abort();
    }

    fn last_call(&self, call: LastCall) {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        // A finish does not undo an error.
        if inner.last_call != Some(LastCall::Error) {
            inner.last_call = Some(call);
        }
        self.called.notify_all();
    }

    fn wait_for_last_call(&self, quiet: Duration) -> Option<LastCall> {
        let mut inner = self.inner.lock();
        loop {
            // After rows a library need not say that it has finished.
            let rows = inner.rows.width.map(|_| LastCall::Finish(None));
            if let Some(call) = inner.last_call.or(rows) {
                return Some(call);
            }
            let calls = inner.calls;
            if self.called.wait_for(&mut inner, quiet).timed_out() && inner.calls == calls {
                return None;
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn abort_wanted(&self) -> bool {
        self.abort_wanted.load(Ordering::Acquire)
    }

    fn has_paused(&self) -> (bool, bool) {
        let inner = self.inner.lock();
        (inner.pausing, inner.last_call.is_some())
    }
}

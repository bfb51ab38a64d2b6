//! The way of a token: from the library's callback to whoever reads.
//!
//! One buffer for each run, under one lock. The callback appends and wakes the reader only if it
//! sleeps; the reader takes all that is there at once. The buffer can hold a whole run, so the
//! library never waits for a reader.

mod buffer;
pub(crate) mod oneshot;
mod reader;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use self::buffer::{Inner, Piece};
use crate::engine::watch::Watch;
use crate::error::Error;
use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::model::Keeper;
use crate::protocol::output::{Ending, FinishReason, PerfStats, RowsKind};
use rkllm_text::stop::StopStrings;

pub(crate) use self::buffer::{Batch, LastCall};
pub(crate) use self::reader::Taken;

/// The rows of one run: one, or as many as the model's batch has.
pub(crate) type Rows = Arc<[Arc<Delivery>]>;

/// What the library is told when its callback returns; the strongest of a batch's rows counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Go on.
    Continue,
    /// What was shown is copied and may go (from 1.3.0).
    Release,
    /// Stop here and keep the KV cache (from 1.2.1).
    Pause,
}

/// After how many token calls a run ends with "length".
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) tokens: usize,
    /// Whether the library has been given the same limit; if not, we stop it.
    pub(crate) by_library: bool,
}

/// What is fixed when a run is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) limit: Limit,
    pub(crate) stop: Option<Arc<StopStrings>>,
    pub(crate) timeout: Option<Duration>,
    /// Rows instead of an answer.
    pub(crate) wants: Option<RowsKind>,
    /// Whether the library is to pause after each token.
    pub(crate) stepping: bool,
    /// Whether it is one of several rows, whose end is a negative token.
    pub(crate) row_of_batch: bool,
}

/// The buffer of one run, or of one row of it.
pub(crate) struct Delivery {
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// The library's last call, for the actor: a reader need not wake for it.
    called: Condvar,
    /// Told when the run is to be aborted.
    watch: Arc<Watch>,
    abort_wanted: AtomicBool,
    /// The model stays open until the run has ended.
    keeper: Mutex<Option<Arc<Keeper>>>,
    ended: AtomicBool,
    /// Rows are being copied: the reader is awake already, and they come in a moment.
    arriving: AtomicBool,
    run: u64,
    terms: Terms,
    submitted: Instant,
    pub(crate) deadline: Option<(Instant, f64)>,
}

impl Delivery {
    pub(crate) fn new(run: u64, terms: Terms, watch: Arc<Watch>) -> Arc<Self> {
        let submitted = Instant::now();
        let timeout = terms.timeout;
        let inner = Inner {
            stepping: terms.stepping,
            ..Inner::default()
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            arrived: Condvar::new(),
            called: Condvar::new(),
            watch,
            abort_wanted: AtomicBool::new(false),
            keeper: Mutex::new(None),
            ended: AtomicBool::new(false),
            arriving: AtomicBool::new(false),
            run,
            terms,
            submitted,
            deadline: timeout
                .and_then(|timeout| Some((submitted.checked_add(timeout)?, timeout.as_secs_f64()))),
        })
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

    /// Whether the library should be asked to stop.
    pub(crate) fn abort_wanted(&self) -> bool {
        self.abort_wanted.load(Ordering::Acquire)
    }

    // ---- the library's side ----

    /// What rows the run gives instead of an answer.
    pub(crate) fn wants(&self) -> Option<RowsKind> {
        self.terms.wants
    }

    /// The run begins now, or goes on after a pause.
    pub(crate) fn start(&self) {
        let mut inner = self.inner.lock();
        inner.started.get_or_insert_with(Instant::now);
        inner.pausing = false;
        inner.resting = false;
        inner.last_call = None;
    }

    /// A call that brought nothing.
    pub(crate) fn called(&self) {
        self.inner.lock().calls += 1;
    }

    /// A token call.
    #[inline]
    pub(crate) fn token(&self, bytes: &[u8], id: i32) -> Verdict {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        if inner.ending.is_some() {
            return self.verdict(&mut inner);
        }
        if inner.limit_reached {
            // The library goes on beyond the limit that it was given.
            return self.stop_at(inner, FinishReason::Length);
        }
        if id < 0 {
            // No token: the end of a row, or bytes left over at the end of a run.
            self.leftover(inner, bytes, id);
            return Verdict::Continue;
        }
        if inner.pausing {
            drop(inner);
            self.unusable("the library went on after it was told to pause".to_owned());
            return Verdict::Pause;
        }
        if inner.tokens == 0 {
            inner.first_token = Some(Instant::now());
        }
        inner.tokens += 1;
        inner.last_token = id;
        let (length, stopped) = match &self.terms.stop {
            None => (inner.join(bytes), false),
            Some(stop) => inner.join_until(bytes, stop),
        };
        inner.pending.pieces.push(Piece::new(length, id));
        if stopped {
            return self.stop_at(inner, FinishReason::Stop);
        }
        if inner.tokens >= self.terms.limit.tokens {
            inner.limit_reached = true;
            if !self.terms.limit.by_library {
                return self.stop_at(inner, FinishReason::Length);
            }
        }
        let verdict = self.verdict(&mut inner);
        // A step is there when the library has paused: `rest` wakes its reader.
        if length > 0 && !self.terms.stepping {
            self.wake(inner, Side::Vendor);
        }
        verdict
    }

    /// What a token's callback returns: a run in steps pauses at each.
    #[inline]
    fn verdict(&self, inner: &mut Inner) -> Verdict {
        if self.terms.stepping {
            inner.pausing = true;
            Verdict::Pause
        } else {
            Verdict::Continue
        }
    }

    /// Rows are about to be copied: a reader that sleeps wakes meanwhile.
    pub(crate) fn rows_come(&self) {
        let inner = self.inner.lock();
        self.arriving.store(true, Ordering::Release);
        self.wake(inner, Side::Vendor);
    }

    /// Rows that were copied.
    pub(crate) fn rows(&self, block: FloatBlock) {
        let mut inner = self.inner.lock();
        self.arriving.store(false, Ordering::Release);
        inner.calls += 1;
        if inner.ending.is_some() {
            return;
        }
        inner.first_token.get_or_insert_with(Instant::now);
        inner.width = Some(block.width());
        inner.blocks.push_back(block);
        self.wake(inner, Side::Vendor);
    }

    /// The library called with something that cannot be used: the run ends, the caller is told.
    #[cold]
    pub(crate) fn unusable(&self, reason: String) {
        self.arriving.store(false, Ordering::Release);
        let error = Error::Run {
            function: "rkllm_run",
            reason,
            log: Vec::new(),
            kind: crate::error::ErrorKind::Generation,
        };
        self.stop(Err(Arc::new(error)), Side::Vendor);
    }

    #[cold]
    fn leftover(&self, mut inner: MutexGuard<'_, Inner>, bytes: &[u8], id: i32) {
        let (length, stopped) = match &self.terms.stop {
            None => (inner.join(bytes), false),
            Some(stop) => inner.join_until(bytes, stop),
        };
        if length > 0 {
            inner.pending.pieces.push(Piece::new(length, id));
        }
        if stopped {
            self.stop_at(inner, FinishReason::Stop);
        } else if self.terms.row_of_batch {
            // The other rows go on. If nobody wants them any more, the library is asked to stop.
            let reason = inner.reason();
            self.finish(&mut inner, Ok(reason));
            self.wake(inner, Side::Vendor);
            self.release();
            self.watch.poke();
        } else if length > 0 {
            self.wake(inner, Side::Vendor);
        }
    }

    #[cold]
    fn stop_at(&self, mut inner: MutexGuard<'_, Inner>, reason: FinishReason) -> Verdict {
        self.finish(&mut inner, Ok(reason));
        let verdict = self.verdict(&mut inner);
        self.wake(inner, Side::Vendor);
        self.want_abort();
        self.release();
        verdict
    }

    /// The last call of the run.
    pub(crate) fn last_call(&self, call: LastCall) {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        // An error that came first is not undone by a finish.
        if inner.last_call != Some(LastCall::Error) {
            inner.last_call = Some(call);
        }
        self.called.notify_all();
    }

    /// Our own code panicked inside the callback: the run ends, the caller is told.
    pub(crate) fn panicked(&self) {
        self.arriving.store(false, Ordering::Release);
        self.inner.lock().panicked = true;
        self.want_abort();
    }

    /// Waits for the library's last call as long as calls keep coming; `quiet` without any is enough.
    pub(crate) fn wait_for_last_call(&self, quiet: Duration) -> Option<LastCall> {
        let mut inner = self.inner.lock();
        loop {
            if inner.last_call.is_some() {
                return inner.last_call;
            }
            let calls = inner.calls;
            if self.called.wait_for(&mut inner, quiet).timed_out() && inner.calls == calls {
                return None;
            }
        }
    }

    /// The run is over on the library's side. `outcome` is ignored where the reader has been told
    /// another end before.
    pub(crate) fn end(&self, outcome: Result<(), Arc<Error>>) {
        let mut inner = self.inner.lock();
        let outcome = match outcome {
            _ if inner.panicked => Err(Arc::new(Error::Run {
                function: "the result callback",
                reason: "it panicked; this is a defect of rkllm_rs".to_owned(),
                log: Vec::new(),
                kind: crate::error::ErrorKind::Generation,
            })),
            // A library that counts differently, or was stopped by us, may call its end an error.
            Err(error) if !inner.limit_reached || !matches!(*error, Error::Run { .. }) => {
                Err(error)
            }
            _ => Ok(inner.reason()),
        };
        self.finish(&mut inner, outcome);
        self.wake(inner, Side::Vendor);
        self.release();
    }

    fn finish(&self, inner: &mut Inner, outcome: Result<FinishReason, Arc<Error>>) {
        if inner.ending.is_some() {
            return;
        }
        self.ended.store(true, Ordering::Release);
        let now = Instant::now();
        let before = inner.pending.text.len();
        let Inner {
            pending,
            joiner,
            held,
            ..
        } = inner;
        // What might have begun a stop string did not.
        pending.text.push_str(&std::mem::take(held));
        joiner.finish(&mut pending.text);
        let length = pending.text.len() - before;
        if length > 0 {
            pending.rest = Some(Piece::new(length, inner.last_token));
        }
        let library = match inner.last_call {
            // The library's figures are those of the run, and only the first row's are certain.
            Some(LastCall::Finish(perf)) if !self.terms.row_of_batch => perf,
            _ => None,
        };
        let started = inner.started.unwrap_or(now);
        inner.ending = Some(Ending {
            outcome,
            perf: PerfStats {
                library,
                time_to_first_token: inner.first_token.map(|at| at.duration_since(started)),
                generate_time: inner.first_token.map(|at| now.duration_since(at)),
                total_time: now.duration_since(started),
                queued_time: started.duration_since(self.submitted),
                tokens: inner.tokens,
            },
        });
    }

    // ---- either side ----

    /// Ends the run for its reader at once and asks the library to stop.
    pub(crate) fn stop(&self, outcome: Result<FinishReason, Arc<Error>>, side: Side) {
        let mut inner = self.inner.lock();
        if inner.ending.is_some() {
            return;
        }
        self.finish(&mut inner, outcome);
        self.wake(inner, side);
        self.want_abort();
        self.release();
    }

    /// [`Self::stop`] for a caller who wants no more.
    pub(crate) fn cancel(&self) {
        self.cancel_from(Side::Host);
    }

    /// [`Self::cancel`], from either side.
    pub(crate) fn cancel_from(&self, side: Side) {
        self.stop(Ok(FinishReason::Cancelled), side);
    }

    /// [`Self::stop`] for a model that is being closed.
    pub(crate) fn close(&self) {
        self.stop(Err(Arc::new(Error::Closed)), Side::Host);
    }

    /// The reader was cancelled while it waited. Gives the number of this time, for
    /// [`Self::end_if_left`]; none where there is nothing left to end.
    pub(crate) fn leave(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        if inner.ending.is_some() {
            return None;
        }
        inner.times_left += 1;
        inner.left = Some(inner.times_left);
        inner.left
    }

    /// [`Self::cancel`], if the reader has not come back since it left for that time.
    pub(crate) fn end_if_left(&self, time: u64) {
        let mut inner = self.inner.lock();
        if inner.ending.is_some() || inner.left != Some(time) {
            return;
        }
        self.finish(&mut inner, Ok(FinishReason::Cancelled));
        self.wake(inner, Side::Vendor);
        self.want_abort();
        self.release();
    }

    /// [`Self::stop`] for a run whose deadline has passed.
    pub(crate) fn expire(&self, seconds: f64) {
        self.stop(Err(Arc::new(Error::Timeout { seconds })), Side::Vendor);
    }

    /// The library has paused, as it was told: the reader decides how it goes on.
    pub(crate) fn rest(&self) {
        let mut inner = self.inner.lock();
        inner.resting = true;
        self.wake(inner, Side::Vendor);
    }

    /// Whether the library was told to pause in this run; and whether it has said since that the run is
    /// over, which ends the steps: there is nothing to go on with.
    pub(crate) fn has_paused(&self) -> (bool, bool) {
        let inner = self.inner.lock();
        (inner.pausing, inner.last_call.is_some())
    }

    /// Whether the run waits for what it is to go on with.
    pub(crate) fn is_resting(&self) -> bool {
        self.inner.lock().resting
    }

    /// The reader has decided.
    pub(crate) fn leave_rest(&self) {
        self.inner.lock().resting = false;
    }

    /// The library asks something: the reader is to look at the desk.
    pub(crate) fn poke(&self) {
        let mut inner = self.inner.lock();
        inner.poked = true;
        self.wake(inner, Side::Vendor);
    }

    /// Width of the rows that came.
    pub(crate) fn width(&self) -> Option<usize> {
        self.inner.lock().width
    }

    /// Whether the reader has been told an end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn want_abort(&self) {
        self.abort_wanted.store(true, Ordering::Release);
        self.watch.poke();
    }

    #[inline]
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

//! The way of a token: from the library's callback to whoever reads.
//!
//! One buffer for each run, under one lock. The callback appends and wakes the reader only if it
//! sleeps; the reader takes all that is there at once. The buffer can hold a whole run, so the
//! library never waits for a reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::actor::watch::Watch;
use crate::error::Error;
use crate::loader::host::wake::{Side, WakePair};
use crate::output::{Ending, FinishReason, LibraryPerf, PerfStats};
use crate::utf8::Utf8Joiner;

/// What one token call brought. Small, since a run that nobody reads keeps one for each token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// How much of the text, in bytes; nothing where a character was not whole yet.
    length: u32,
    pub(crate) id: i32,
}

impl Piece {
    fn new(length: usize, id: i32) -> Self {
        let Ok(length) = u32::try_from(length) else {
            // Becomes an error of the run, as every panic under the callback.
            panic!("a token of {length} bytes")
        };
        Self { length, id }
    }

    pub(crate) fn length(self) -> usize {
        self.length as usize
    }
}

/// Text and tokens that have come and not been read.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// All pieces, one behind the other.
    pub(crate) text: String,
    /// One for each token call.
    pub(crate) pieces: Vec<Piece>,
    /// Text behind the pieces that came with no call: what was left of an unfinished character.
    pub(crate) rest: Option<Piece>,
}

impl Batch {
    fn clear(&mut self) {
        self.text.clear();
        self.pieces.clear();
        self.rest = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_none()
    }

    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + size_of_val(self.pieces.as_slice())
    }

    /// Adds a copy of what came next.
    pub(crate) fn append(&mut self, next: &Self) {
        self.text.push_str(&next.text);
        self.pieces.extend_from_slice(&next.pieces);
        self.rest = next.rest;
    }
}

/// How the library's last call of a run went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LastCall {
    Finish(Option<LibraryPerf>),
    Error,
}

#[derive(Default)]
struct Inner {
    pending: Batch,
    joiner: Utf8Joiner,
    last_token: i32,
    last_call: Option<LastCall>,
    /// Counts calls, so that the actor can see whether any still come.
    calls: u64,
    tokens: usize,
    limit_reached: bool,
    panicked: bool,
    started: Option<Instant>,
    first_token: Option<Instant>,
    ending: Option<Ending>,
    sleepers: usize,
    loop_waits: bool,
    wake: Option<WakePair>,
}

impl Inner {
    /// Appends all characters that are whole after `bytes`, and returns how long they are.
    #[inline]
    fn join(&mut self, bytes: &[u8]) -> usize {
        let before = self.pending.text.len();
        self.joiner.push(bytes, &mut self.pending.text);
        self.pending.text.len() - before
    }
}

/// What one look into the buffer found.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The batch has something.
    Some,
    /// Nothing yet.
    Nothing,
    /// Nothing more will come.
    Ended(Ending),
}

/// After how many token calls a run ends with "length".
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) tokens: usize,
    /// Whether the library has been given the same limit; if not, we stop it.
    pub(crate) by_library: bool,
}

/// The buffer of one run.
pub(crate) struct Delivery {
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// The library's last call, for the actor: a reader need not wake for it.
    called: Condvar,
    /// Told when the run is to be aborted.
    watch: Arc<Watch>,
    abort_wanted: AtomicBool,
    ended: AtomicBool,
    run: u64,
    limit: Limit,
    submitted: Instant,
    pub(crate) deadline: Option<(Instant, f64)>,
}

impl Delivery {
    pub(crate) fn new(
        run: u64,
        limit: Limit,
        timeout: Option<Duration>,
        watch: Arc<Watch>,
    ) -> Arc<Self> {
        let submitted = Instant::now();
        Arc::new(Self {
            inner: Mutex::default(),
            arrived: Condvar::new(),
            called: Condvar::new(),
            watch,
            abort_wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            run,
            limit,
            submitted,
            deadline: timeout
                .and_then(|timeout| Some((submitted.checked_add(timeout)?, timeout.as_secs_f64()))),
        })
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Whether the library should be asked to stop.
    pub(crate) fn abort_wanted(&self) -> bool {
        self.abort_wanted.load(Ordering::Acquire)
    }

    // ---- the library's side ----

    /// The run begins now.
    pub(crate) fn start(&self) {
        self.inner.lock().started = Some(Instant::now());
    }

    /// A token call.
    #[inline]
    pub(crate) fn token(&self, bytes: &[u8], id: i32) {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        if inner.ending.is_some() {
            return;
        }
        if inner.limit_reached {
            // The library goes on beyond the limit that it was given.
            return self.stop_at_limit(inner);
        }
        if id < 0 {
            // No token: the end of a row, or bytes left over at the end of a run.
            return self.leftover(inner, bytes, id);
        }
        if inner.tokens == 0 {
            inner.first_token = Some(Instant::now());
        }
        inner.tokens += 1;
        inner.last_token = id;
        let length = inner.join(bytes);
        inner.pending.pieces.push(Piece::new(length, id));
        if inner.tokens >= self.limit.tokens {
            inner.limit_reached = true;
            if !self.limit.by_library {
                return self.stop_at_limit(inner);
            }
        }
        if length > 0 {
            self.wake(inner, Side::Vendor);
        }
    }

    #[cold]
    fn leftover(&self, mut inner: MutexGuard<'_, Inner>, bytes: &[u8], id: i32) {
        let length = inner.join(bytes);
        if length > 0 {
            inner.pending.pieces.push(Piece::new(length, id));
            self.wake(inner, Side::Vendor);
        }
    }

    #[cold]
    fn stop_at_limit(&self, mut inner: MutexGuard<'_, Inner>) {
        self.finish(&mut inner, Ok(FinishReason::Length));
        self.wake(inner, Side::Vendor);
        self.want_abort();
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
            _ if inner.limit_reached => Ok(FinishReason::Length),
            Ok(()) => Ok(FinishReason::Stop),
            Err(error) => Err(error),
        };
        self.finish(&mut inner, outcome);
        self.wake(inner, Side::Vendor);
    }

    fn finish(&self, inner: &mut Inner, outcome: Result<FinishReason, Arc<Error>>) {
        if inner.ending.is_some() {
            return;
        }
        self.ended.store(true, Ordering::Release);
        let now = Instant::now();
        let before = inner.pending.text.len();
        let Inner {
            pending, joiner, ..
        } = inner;
        joiner.finish(&mut pending.text);
        let length = pending.text.len() - before;
        if length > 0 {
            pending.rest = Some(Piece::new(length, inner.last_token));
        }
        let library = match inner.last_call {
            Some(LastCall::Finish(perf)) => perf,
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
    }

    /// [`Self::stop`] for a caller who wants no more.
    pub(crate) fn cancel(&self) {
        self.stop(Ok(FinishReason::Cancelled), Side::Host);
    }

    /// [`Self::stop`] for a model that is being closed: a run that has not begun has no answer at all.
    pub(crate) fn close(&self) {
        let begun = self.inner.lock().started.is_some();
        let outcome = if begun {
            Ok(FinishReason::Cancelled)
        } else {
            Err(Arc::new(Error::Closed))
        };
        self.stop(outcome, Side::Host);
    }

    /// [`Self::stop`] for a deadline that has passed.
    pub(crate) fn expire(&self, seconds: f64) {
        self.stop(Err(Arc::new(Error::Timeout { seconds })), Side::Vendor);
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
        if inner.sleepers > 0 {
            inner.sleepers = 0;
            self.arrived.notify_all();
        }
        if inner.loop_waits {
            inner.loop_waits = false;
            if let Some(wake) = inner.wake {
                wake.signal(side);
            }
        }
    }

    // ---- the reader's side ----

    /// Swaps what has come into `batch` (emptied before; its room is used again).
    pub(crate) fn take(&self, batch: &mut Batch) -> Taken {
        batch.clear();
        let mut inner = self.inner.lock();
        if !inner.pending.is_empty() {
            std::mem::swap(&mut inner.pending, batch);
            return Taken::Some;
        }
        match &inner.ending {
            Some(ending) => Taken::Ended(ending.clone()),
            None => Taken::Nothing,
        }
    }

    /// Sleeps until there is something to take; false when `limit` has passed first.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let mut inner = self.inner.lock();
        let ready = |inner: &Inner| !inner.pending.text.is_empty() || inner.ending.is_some();
        if ready(&inner) {
            return true;
        }
        inner.sleepers += 1;
        let until = Instant::now() + limit;
        loop {
            let timed_out = self.arrived.wait_until(&mut inner, until).timed_out();
            if ready(&inner) {
                return true;
            }
            if timed_out {
                inner.sleepers = inner.sleepers.saturating_sub(1);
                return false;
            }
            if inner.sleepers == 0 {
                inner.sleepers = 1;
            }
        }
    }

    /// Asks for `wake` to be signalled once when something comes; true when something is there.
    pub(crate) fn arm(&self, wake: WakePair) -> bool {
        let mut inner = self.inner.lock();
        if !inner.pending.text.is_empty() || inner.ending.is_some() {
            return true;
        }
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

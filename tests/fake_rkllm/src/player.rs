//! Makes the callbacks of one run.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::ffi::shared::{
    RKLLMPerfStat, RKLLMResult, RKLLMResultLastHiddenLayer, RKLLMResultLogits, call_state,
    callback_return, infer_mode,
};
use crate::instance::lock;
use crate::output;
use crate::run::Session;
use crate::script::{Rows, Run, Step};

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Played,
    Aborted,
    Paused,
}

impl End {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Played => "played",
            Self::Aborted => "aborted",
            Self::Paused => "paused",
        }
    }
}

/// The state of a run under way.
pub(crate) struct Player<'a> {
    session: &'a Session,
    run: &'a Run,
    /// One result for each batch row, all alike.
    rows: Vec<RKLLMResult>,
    /// The text of the current callback; overwritten after it, as the vendor's memory may be.
    text: Vec<u8>,
    tokens: i32,
    /// What the callback returned, without the zeros.
    returns: Vec<c_int>,
    started: Instant,
}

const EMPTY: RKLLMResult = RKLLMResult {
    text: std::ptr::null(),
    token_id: 0,
    last_hidden_layer: NO_HIDDEN,
    logits: NO_LOGITS,
    perf: RKLLMPerfStat {
        prefill_time_ms: 0.0,
        prefill_tokens: 0,
        generate_time_ms: 0.0,
        generate_tokens: 0,
        memory_usage_mb: 0.0,
    },
};
const NO_HIDDEN: RKLLMResultLastHiddenLayer = RKLLMResultLastHiddenLayer {
    hidden_states: std::ptr::null(),
    embd_size: 0,
    num_tokens: 0,
};
const NO_LOGITS: RKLLMResultLogits = RKLLMResultLogits {
    logits: std::ptr::null(),
    vocab_size: 0,
    num_tokens: 0,
};

/// Nonzero returns of the callback that are kept for the record.
const KEPT_RETURNS: usize = 16;

impl<'a> Player<'a> {
    pub(crate) fn new(session: &'a Session, run: &'a Run) -> Self {
        Self {
            session,
            run,
            rows: vec![EMPTY; session.instance.n_batch],
            text: Vec::with_capacity(256),
            tokens: 0,
            returns: Vec::new(),
            started: Instant::now(),
        }
    }

    pub(crate) fn tokens(&self) -> i32 {
        self.tokens
    }

    pub(crate) fn returns(&self) -> &[c_int] {
        &self.returns
    }

    /// Waits as long as the prompt takes.
    pub(crate) fn prefill(&self) -> End {
        let time = Duration::from_millis(self.run.prefill_ms);
        if !self.run.abort_in_prefill {
            sleep(time);
            return End::Played;
        }
        let start = Instant::now();
        while start.elapsed() < time {
            if self.abort_obeyed() {
                return End::Aborted;
            }
            sleep(Duration::from_millis(1));
        }
        End::Played
    }

    /// Whether an abort has come that the script obeys.
    #[inline]
    fn abort_obeyed(&self) -> bool {
        let instance = &self.session.instance;
        instance.abort_asked.load(Ordering::Relaxed)
            && !self.run.ignore_abort
            && instance.abort_is_due(Duration::from_millis(self.run.ignore_abort_ms))
    }

    /// Plays the list of steps, `repeat` times.
    pub(crate) fn steps(&mut self) -> End {
        let run = self.run;
        let limit = if run.obey_max_new_tokens {
            self.session.limit
        } else {
            -1
        };
        let pausable = self.session.instance.generation.rank >= 121;
        for _ in 0..run.repeat {
            for step in &run.steps {
                let delay = step.delay_ms.unwrap_or(run.delay_ms);
                for _ in 0..step.repeat {
                    if delay > 0 {
                        sleep(Duration::from_millis(delay));
                    }
                    if self.abort_obeyed() {
                        return End::Aborted;
                    }
                    if self.token(step) == callback_return::PAUSE && pausable {
                        return End::Paused;
                    }
                    if self.tokens == limit {
                        return End::Played;
                    }
                }
            }
        }
        End::Played
    }

    /// Makes the callback of one step.
    pub(crate) fn token(&mut self, step: &Step) -> c_int {
        if !step.log.is_empty() {
            output::lines(&step.log);
        }
        self.tokens += 1;
        let id = step.id.unwrap_or(self.tokens);
        let text = if step.echo {
            Some(&self.session.prompt)
        } else {
            step.text.as_ref()
        };
        self.text.clear();
        let mut pointer = std::ptr::null();
        if let Some(text) = text {
            self.text.extend_from_slice(text);
            pointer = self.text.as_ptr().cast();
        }
        for row in &mut self.rows {
            row.text = pointer;
            row.token_id = id;
        }
        let returned = self.call(step.null_result, step.state, step.thread);
        if let Some((_, text)) = self.text.split_last_mut() {
            text.fill(b'#');
        }
        if self.session.instance.script.record_tokens {
            self.session.instance.recorder.write("token", |fields| {
                fields.insert("id".to_owned(), id.into());
                fields.insert("state".to_owned(), step.state.into());
                fields.insert("return".to_owned(), returned.into());
            });
        }
        returned
    }

    /// Shows hidden states or logits.
    pub(crate) fn matrix(&mut self, rows: Rows, mode: c_int) -> End {
        if self.abort_obeyed() {
            return End::Aborted;
        }
        let instance = &self.session.instance;
        let count = rows.rows.unwrap_or(self.session.n_tokens);
        let floats = (0..count * rows.width)
            .map(|at| rows.start + at as f32)
            .collect::<Vec<f32>>();
        let (width, num_tokens) = (rows.width as c_int, count as c_int);
        let hidden = mode == infer_mode::LAST_HIDDEN_LAYER;
        for row in &mut self.rows {
            row.text = std::ptr::null();
            if hidden {
                let hidden_states = floats.as_ptr();
                row.last_hidden_layer = RKLLMResultLastHiddenLayer {
                    hidden_states,
                    embd_size: width,
                    num_tokens,
                };
            } else {
                let logits = floats.as_ptr();
                row.logits = RKLLMResultLogits {
                    logits,
                    vocab_size: width,
                    num_tokens,
                };
            }
        }
        // 1.1.x has a state of its own for this.
        let state = if instance.generation.rank < 120 {
            call_state::LAST_HIDDEN_LAYER
        } else {
            call_state::NORMAL
        };
        let returned = self.call(false, state, false);
        instance.recorder.write("callback", |fields| {
            fields.insert("mode".to_owned(), mode.into());
            fields.insert("state".to_owned(), state.into());
            fields.insert("return".to_owned(), returned.into());
        });
        for row in &mut self.rows {
            row.last_hidden_layer = NO_HIDDEN;
            row.logits = NO_LOGITS;
        }
        // A reader that comes too late finds NaN; the memory itself goes with the next matrix.
        let mut floats = floats;
        floats.fill(f32::NAN);
        *lock(&instance.stale_rows) = floats;
        let pausable = instance.generation.rank >= 121;
        if returned == callback_return::PAUSE && pausable {
            End::Paused
        } else {
            End::Played
        }
    }

    /// Makes the last callback of the run.
    pub(crate) fn finish(&mut self, state: c_int) {
        let finish = self.run.finish.as_ref();
        let said = finish.map(|finish| finish.perf).unwrap_or_default();
        self.text.clear();
        let mut pointer = std::ptr::null();
        if let Some(text) = finish.and_then(|finish| finish.text.as_ref()) {
            self.text.extend_from_slice(text.as_bytes());
            self.text.push(0);
            pointer = self.text.as_ptr().cast();
        }
        let elapsed = self.started.elapsed().as_secs_f32() * 1000.0;
        let prefill = self.run.prefill_ms as f32;
        let perf = RKLLMPerfStat {
            prefill_time_ms: said.prefill_time_ms.unwrap_or(prefill),
            prefill_tokens: said
                .prefill_tokens
                .unwrap_or(self.session.n_tokens as c_int),
            generate_time_ms: said
                .generate_time_ms
                .unwrap_or((elapsed - prefill).max(0.0)),
            generate_tokens: said.generate_tokens.unwrap_or(self.tokens),
            memory_usage_mb: said.memory_usage_mb.unwrap_or(1.0),
        };
        for row in &mut self.rows {
            row.text = pointer;
            row.token_id = 0;
            row.perf = perf;
        }
        self.call(
            finish.is_some_and(|finish| finish.null_result),
            state,
            false,
        );
    }

    /// Calls back, on another thread if asked to.
    #[inline]
    fn call(&mut self, null_result: bool, state: c_int, elsewhere: bool) -> c_int {
        let callback = self.session.instance.callback;
        let count = if null_result { 0 } else { self.rows.len() };
        let rows = &mut self.rows[..count];
        let user: *mut c_void = std::ptr::with_exposed_provenance_mut(self.session.user);
        let returned = if elsewhere {
            let parcel = Parcel { rows, user };
            thread::scope(|scope| {
                let thread = scope.spawn(move || {
                    // SAFETY: as below; the rows stay borrowed until the thread is joined.
                    parcel.open(|rows, user| unsafe { callback.call(rows, user, state) })
                });
                thread.join().unwrap_or(0)
            })
        } else {
            // SAFETY: the caller of init keeps the callback valid until destroy has returned, which
            // waits for runs and late calls; there is a result for each batch row.
            unsafe { callback.call(rows, user, state) }
        };
        if returned != callback_return::CONTINUE && self.returns.len() < KEPT_RETURNS {
            self.returns.push(returned);
        }
        returned
    }
}

/// What a callback on another thread needs.
struct Parcel<'a> {
    rows: &'a mut [RKLLMResult],
    user: *mut c_void,
}

// SAFETY: the sender waits for the receiver and touches neither meanwhile; what the pointers point to
// is for the callback, which must expect any thread.
unsafe impl Send for Parcel<'_> {}

impl Parcel<'_> {
    fn open(self, call: impl FnOnce(&mut [RKLLMResult], *mut c_void) -> c_int) -> c_int {
        call(self.rows, self.user)
    }
}

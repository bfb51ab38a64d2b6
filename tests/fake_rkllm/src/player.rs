//! Makes the callbacks of one run.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::ffi::shared::{
    RKLLMPerfStat, RKLLMResult, RKLLMResultLastHiddenLayer, RKLLMResultLogits, callback_return,
};
use crate::input::Input;
use crate::output;
use crate::run::Session;
use crate::script::{Run, Step, terminated};

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Played,
    Aborted,
    Paused,
    /// A callback that was asked something could not answer.
    Failed,
}

impl End {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Played => "played",
            Self::Aborted => "aborted",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }
}

/// The state of a run under way.
pub(crate) struct Player<'a> {
    pub(crate) session: &'a Session,
    pub(crate) run: &'a Run,
    /// One result for each batch row.
    pub(crate) rows: Vec<RKLLMResult>,
    /// The rows' texts in the current callback; overwritten after it, as the vendor's memory may be.
    texts: Vec<Vec<u8>>,
    /// The batch rows that are over.
    ended: Vec<bool>,
    /// Callbacks with tokens.
    tokens: i32,
    /// Tokens of each row of a batch; empty without one, where counting twice would cost time.
    row_tokens: Vec<i32>,
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
pub(crate) const NO_HIDDEN: RKLLMResultLastHiddenLayer = RKLLMResultLastHiddenLayer {
    hidden_states: std::ptr::null(),
    embd_size: 0,
    num_tokens: 0,
};
pub(crate) const NO_LOGITS: RKLLMResultLogits = RKLLMResultLogits {
    logits: std::ptr::null(),
    vocab_size: 0,
    num_tokens: 0,
};

/// The token id of a batch row that is over.
const ENDED: i32 = -1;

/// Nonzero returns of the callback that are kept for the record.
const KEPT_RETURNS: usize = 16;

impl<'a> Player<'a> {
    pub(crate) fn new(session: &'a Session, run: &'a Run) -> Self {
        let count = session.instance.n_batch;
        Self {
            session,
            run,
            rows: vec![EMPTY; count],
            texts: vec![Vec::with_capacity(256); count],
            ended: vec![false; count],
            tokens: 0,
            row_tokens: vec![0; if count > 1 { count } else { 0 }],
            returns: Vec::new(),
            started: Instant::now(),
        }
    }

    pub(crate) fn tokens(&self) -> i32 {
        self.tokens
    }

    /// Tokens of each row of a batch; none without one.
    pub(crate) fn row_tokens(&self) -> &[i32] {
        &self.row_tokens
    }

    pub(crate) fn returns(&self) -> &[c_int] {
        &self.returns
    }

    /// Waits as long as the prompt takes.
    pub(crate) fn prefill(&self) -> End {
        if !self.run.abort_in_prefill {
            self.session.instance.script.take(self.run.prefill_ms);
            return End::Played;
        }
        let script = &self.session.instance.script;
        let time = Duration::from_millis(self.run.prefill_ms);
        let start = Instant::now();
        while start.elapsed() < time && !script.is_open() {
            if self.abort_obeyed() {
                return End::Aborted;
            }
            sleep(Duration::from_millis(1));
        }
        End::Played
    }

    /// Whether an abort has come that the script obeys.
    #[inline]
    pub(crate) fn abort_obeyed(&self) -> bool {
        let instance = &self.session.instance;
        instance.abort_asked.load(Ordering::Relaxed)
            && !self.run.ignore_abort
            && instance.abort_is_due(Duration::from_millis(self.run.ignore_abort_ms))
    }

    /// Plays the list of steps, `repeat` times.
    pub(crate) fn steps(&mut self) -> End {
        let run = self.run;
        let limit = self.limit();
        let pausable = self.session.instance.abi.rank >= 121;
        for _ in 0..run.repeat {
            for step in &run.steps {
                let delay = step.delay_ms.unwrap_or(run.delay_ms);
                for _ in 0..step.repeat {
                    if delay > 0 {
                        self.session.instance.script.take(delay);
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

    /// Plays each batch row's own list; all rows come in one callback, until the last has ended.
    pub(crate) fn batch(&mut self) -> End {
        let run = self.run;
        let limit = self.limit();
        let pausable = self.session.instance.abi.rank >= 121;
        let mut lists: Vec<_> = (0..self.rows.len()).map(|row| run.row(row)).collect();
        loop {
            let steps: Vec<Option<&Step>> = lists.iter_mut().map(Iterator::next).collect();
            self.ended = steps.iter().map(Option::is_none).collect();
            let live = || steps.iter().copied().flatten();
            let Some(delay) = live()
                .map(|step| step.delay_ms.unwrap_or(run.delay_ms))
                .max()
            else {
                return End::Played;
            };
            self.session.instance.script.take(delay);
            if self.abort_obeyed() {
                return End::Aborted;
            }
            live().for_each(|step| output::lines(&step.log));
            self.tokens += 1;
            for (row, step) in steps.iter().enumerate() {
                let (result, text) = (&mut self.rows[row], &mut self.texts[row]);
                if let Some(step) = step {
                    self.row_tokens[row] += 1;
                    fill(result, text, step, self.tokens, &self.session.inputs[row]);
                } else {
                    text.clear();
                    result.text = std::ptr::null();
                    result.token_id = ENDED;
                }
            }
            let returned = self.deliver(
                live().any(|step| step.null_result),
                live().map(|step| step.state).max().unwrap_or(0),
                live().any(|step| step.thread),
            );
            if returned == callback_return::PAUSE && pausable {
                return End::Paused;
            }
            if self.tokens == limit {
                self.ended.fill(true);
                return End::Played;
            }
        }
    }

    /// Tokens after which the run ends by itself; no count of tokens reaches −1.
    fn limit(&self) -> i32 {
        if self.run.obey_max_new_tokens {
            self.session.limit
        } else {
            -1
        }
    }

    /// Makes the callback of one step, the same for all batch rows.
    pub(crate) fn token(&mut self, step: &Step) -> c_int {
        if !step.log.is_empty() {
            output::lines(&step.log);
        }
        self.tokens += 1;
        let inputs = &self.session.inputs;
        for ((result, text), input) in self.rows.iter_mut().zip(&mut self.texts).zip(inputs) {
            fill(result, text, step, self.tokens, input);
        }
        self.deliver(step.null_result, step.state, step.thread)
    }

    /// Calls back with what [`fill`] has put into the results.
    #[inline]
    fn deliver(&mut self, null_result: bool, state: c_int, elsewhere: bool) -> c_int {
        let returned = self.call(null_result, state, elsewhere);
        for text in &mut self.texts {
            if let Some((_, text)) = text.split_last_mut() {
                text.fill(b'#');
            }
        }
        if self.session.instance.script.record_tokens {
            self.note_tokens(state, returned);
        }
        returned
    }

    #[cold]
    fn note_tokens(&self, state: c_int, returned: c_int) {
        self.session.instance.recorder.write("token", |fields| {
            let ids: Vec<i32> = self.rows.iter().map(|row| row.token_id).collect();
            fields.insert("id".to_owned(), ids[0].into());
            if ids.len() > 1 {
                fields.insert("ids".to_owned(), ids.into());
            }
            fields.insert("state".to_owned(), state.into());
            fields.insert("return".to_owned(), returned.into());
        });
    }

    /// Makes the last callback of the run.
    pub(crate) fn finish(&mut self, state: c_int) {
        let finish = self.run.finish.as_ref();
        let said = finish.map(|finish| finish.perf).unwrap_or_default();
        let text = finish
            .and_then(|finish| finish.text.as_deref())
            .map(terminated);
        let pointer = text
            .as_ref()
            .map_or(std::ptr::null(), |text| text.as_ptr().cast());
        let elapsed = self.started.elapsed().as_secs_f32() * 1000.0;
        let prefill = self.run.prefill_ms as f32;
        for (at, row) in self.rows.iter_mut().enumerate() {
            row.text = pointer;
            row.token_id = if self.ended[at] { ENDED } else { 0 };
            row.perf = RKLLMPerfStat {
                prefill_time_ms: said.prefill_time_ms.unwrap_or(prefill),
                prefill_tokens: said
                    .prefill_tokens
                    .unwrap_or(self.session.inputs[at].n_tokens as c_int),
                generate_time_ms: said
                    .generate_time_ms
                    .unwrap_or((elapsed - prefill).max(0.0)),
                generate_tokens: said
                    .generate_tokens
                    .unwrap_or_else(|| self.row_tokens.get(at).copied().unwrap_or(self.tokens)),
                memory_usage_mb: said.memory_usage_mb.unwrap_or(1.0),
            };
        }
        self.call(
            finish.is_some_and(|finish| finish.null_result),
            state,
            false,
        );
    }

    /// Calls back, on another thread if asked to.
    #[inline]
    pub(crate) fn call(&mut self, null_result: bool, state: c_int, elsewhere: bool) -> c_int {
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

/// Puts a step into a row's result.
#[inline]
fn fill(result: &mut RKLLMResult, buffer: &mut Vec<u8>, step: &Step, counted: i32, input: &Input) {
    let text = if step.echo {
        Some(&input.prompt)
    } else {
        step.text.as_ref()
    };
    buffer.clear();
    result.text = std::ptr::null();
    if let Some(text) = text {
        buffer.extend_from_slice(text);
        result.text = buffer.as_ptr().cast();
    }
    result.token_id = step.id.unwrap_or(counted);
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

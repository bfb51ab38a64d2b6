//! Calls the caller's result callback.
#![allow(unsafe_code, reason = "calls a C function pointer")]

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

use rkllm_ffi::cpu_table::LogitsProcessor;
use rkllm_ffi::shared::{call_state, callback_return};
use rkllm_ffi::v1_3_0::{
    RKLLMPerfStat, RKLLMResult, RKLLMResultLastHiddenLayer, RKLLMResultLogits, ResultCallback,
};

use crate::flag::RunFlag;
use crate::perf::{Perf, peak_memory_mb};

/// The callback that `rkllm_init` was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Callback {
    pub(crate) function: ResultCallback,
    pub(crate) userdata: *mut c_void,
}

// SAFETY: only a function pointer and a pointer that is handed back to it; the caller of
// `rkllm_init` promises that both may be used from the threads it calls `rkllm_run` on.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

/// A userdata pointer on its way to the thread of an asynchronous run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Userdata(pub(crate) *mut c_void);

// SAFETY: never dereferenced here; the caller of `rkllm_run_async` asks for the other thread.
unsafe impl Send for Userdata {}

/// What one lane has to say in a call.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// NUL-terminated when delivered; None = NULL.
    pub(crate) text: Option<Vec<u8>>,
    /// −1 for a lane that has ended.
    pub(crate) token: i32,
    /// Hidden states or logits, several positions one after another.
    pub(crate) values: Vec<f32>,
}

/// Which values [`Lane::values`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    None,
    /// With their width.
    HiddenStates(usize),
    /// With their width.
    Logits(usize),
}

impl Values {
    /// Floats of one position.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::None => 0,
            Self::HiddenStates(width) | Self::Logits(width) => width,
        }
    }
}

/// What the callback answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Continue,
    Pause,
}

/// The callback with the userdata of one run.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    callback: Callback,
    userdata: *mut c_void,
    lanes: usize,
    flag: &'a RunFlag,
    called: Cell<bool>,
    processor: Option<LogitsProcessor>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(
        callback: Callback,
        userdata: Userdata,
        lanes: usize,
        flag: &'a RunFlag,
        processor: Option<LogitsProcessor>,
    ) -> Self {
        let userdata = if userdata.0.is_null() {
            callback.userdata
        } else {
            userdata.0
        };
        Self {
            callback,
            userdata,
            lanes,
            flag,
            called: Cell::new(false),
            processor,
        }
    }

    /// Lets the caller change the logits of a lane's next token.
    pub(crate) fn process(&self, lane: usize, logits: &mut [f32]) {
        let Some(processor) = self.processor.filter(|_| !self.is_mute()) else {
            return;
        };
        let count = logits.len() as c_int;
        // SAFETY: the logits may be changed for the call; function and userdata are the caller's, who keeps
        // them valid for the run.
        unsafe { processor(self.userdata, lane as c_int, logits.as_mut_ptr(), count) };
    }

    /// Whether the run was made to end by `rkllm_destroy` before its first call: then it makes none.
    pub(crate) fn is_mute(&self) -> bool {
        !self.called.get() && self.flag.closing()
    }

    fn call(&self, state: c_int, results: &mut [RKLLMResult]) -> Answer {
        if self.is_mute() {
            return Answer::Continue;
        }
        self.called.set(true);
        // SAFETY: the pointers in `results` outlive the call; function and userdata are the caller's,
        // who keeps them valid for the life of the handle.
        let answer =
            unsafe { (self.callback.function)(results.as_mut_ptr(), self.userdata, state) };
        // `RELEASE` asks to free the output, which we do after every call anyway.
        if answer == callback_return::PAUSE {
            Answer::Pause
        } else {
            Answer::Continue
        }
    }

    /// Tokens, or the values of a mode, of each lane.
    pub(crate) fn lanes(&self, lanes: &mut [Lane], values: Values, waiting: bool) -> Answer {
        let mut results: Vec<RKLLMResult> = lanes
            .iter_mut()
            .map(|lane| {
                let mut result = empty();
                result.token_id = lane.token;
                if let Some(text) = &mut lane.text {
                    text.push(0);
                    result.text = text.as_ptr().cast::<c_char>();
                }
                match values {
                    Values::None => {}
                    Values::HiddenStates(width) => {
                        result.last_hidden_layer = RKLLMResultLastHiddenLayer {
                            hidden_states: lane.values.as_ptr(),
                            embd_size: width as c_int,
                            num_tokens: (lane.values.len() / width) as c_int,
                        };
                    }
                    Values::Logits(width) => {
                        result.logits = RKLLMResultLogits {
                            logits: lane.values.as_ptr(),
                            vocab_size: width as c_int,
                            num_tokens: (lane.values.len() / width) as c_int,
                        };
                    }
                }
                result
            })
            .collect();
        self.call(
            if waiting {
                call_state::WAITING
            } else {
                call_state::NORMAL
            },
            &mut results,
        )
    }

    /// The last call of a run.
    pub(crate) fn finish(&self, perf: &Perf) {
        let mut result = empty();
        result.perf = RKLLMPerfStat {
            prefill_time_ms: perf.prefill.as_secs_f32() * 1e3,
            prefill_tokens: perf.prefill_tokens as c_int,
            generate_time_ms: perf.generate.as_secs_f32() * 1e3,
            generate_tokens: perf.generate_tokens as c_int,
            memory_usage_mb: peak_memory_mb(),
        };
        self.call(call_state::FINISH, &mut vec![result; self.lanes]);
    }

    /// The last call of a run that failed.
    pub(crate) fn error(&self) {
        self.call(call_state::ERROR, &mut vec![empty(); self.lanes]);
    }
}

fn empty() -> RKLLMResult {
    RKLLMResult {
        text: std::ptr::null(),
        token_id: -1,
        last_hidden_layer: RKLLMResultLastHiddenLayer {
            hidden_states: std::ptr::null(),
            embd_size: 0,
            num_tokens: 0,
        },
        logits: RKLLMResultLogits {
            logits: std::ptr::null(),
            vocab_size: 0,
            num_tokens: 0,
        },
        perf: RKLLMPerfStat {
            prefill_time_ms: 0.0,
            prefill_tokens: 0,
            generate_time_ms: 0.0,
            generate_tokens: 0,
            memory_usage_mb: 0.0,
        },
    }
}

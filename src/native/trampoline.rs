//! The C functions that the library calls with results.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::lane::{Lane, LastCall, Verdict};
use super::slot::Slot;
use crate::host::{CopyProblem, FloatBlock};
use crate::protocol::output::{LibraryPerf, RowsKind};
use rkllm_ffi::shared::{RKLLMPerfStat, RKLLMResult, call_state, callback_return};
use rkllm_ffi::{v1_1_0, v1_2_0};

/// Rows as the library shows them: where, how wide, how many.
type Shown = (*const f32, c_int, c_int);

/// A result struct of some layout: only what that layout provides may be read.
trait ResultStruct {
    fn text(&self) -> *const c_char;
    fn token_id(&self) -> i32;
    fn hidden_states(&self) -> Shown;
    fn logits(&self) -> Option<Shown>;
    fn perf(&self) -> Option<RKLLMPerfStat>;

    fn shown(&self, kind: RowsKind) -> Option<Shown> {
        let shown = match kind {
            RowsKind::HiddenStates => Some(self.hidden_states()),
            RowsKind::Logits => self.logits(),
        };
        shown.filter(|(values, width, rows)| !values.is_null() && *width != 0 && *rows != 0)
    }
}

macro_rules! result_struct {
    ($ty:ty, $logits:expr, $perf:expr) => {
        impl ResultStruct for $ty {
            fn text(&self) -> *const c_char {
                self.text
            }
            fn token_id(&self) -> i32 {
                self.token_id
            }
            fn hidden_states(&self) -> Shown {
                let shown = &self.last_hidden_layer;
                (shown.hidden_states, shown.embd_size, shown.num_tokens)
            }
            fn logits(&self) -> Option<Shown> {
                let read: fn(&$ty) -> Option<Shown> = $logits;
                read(self)
            }
            fn perf(&self) -> Option<RKLLMPerfStat> {
                let read: fn(&$ty) -> Option<RKLLMPerfStat> = $perf;
                read(self)
            }
        }
    };
}

result_struct!(v1_1_0::RKLLMResult, |_| None, |_| None);
result_struct!(
    v1_2_0::RKLLMResult,
    |result| {
        let shown = &result.logits;
        Some((shown.logits, shown.vocab_size, shown.num_tokens))
    },
    |_| None
);
result_struct!(
    RKLLMResult,
    |result| {
        let shown = &result.logits;
        Some((shown.logits, shown.vocab_size, shown.num_tokens))
    },
    |result| Some(result.perf)
);

/// Libraries that measure nothing leave zeros.
fn library_perf(perf: RKLLMPerfStat) -> Option<LibraryPerf> {
    let figures = LibraryPerf {
        prefill_time_ms: perf.prefill_time_ms,
        prefill_tokens: perf.prefill_tokens,
        generate_time_ms: perf.generate_time_ms,
        generate_tokens: perf.generate_tokens,
        memory_usage_mb: perf.memory_usage_mb,
    };
    let nothing = figures.prefill_tokens <= 0 && figures.generate_tokens <= 0;
    (!nothing).then_some(figures)
}

/// One lane's part of a call that is not the last.
fn hand_on<R: ResultStruct>(lane: &dyn Lane, result: &R) -> Verdict {
    if let Some(kind) = lane.wants() {
        let Some((values, width, rows)) = result.shown(kind) else {
            lane.called();
            return Verdict::Continue;
        };
        if lane.has_ended() {
            return Verdict::Release;
        }
        let coming = |block: Option<&FloatBlock>| lane.rows_come(block);
        // SAFETY: the library shows `rows` × `width` floats that live for this call (rkllm.h:
        // RKLLMResultLogits, RKLLMResultLastHiddenLayer).
        match unsafe { FloatBlock::copy(kind, values, rows, width, coming) } {
            Ok(block) => lane.rows(block),
            Err(problem) => lane.unusable(match problem {
                CopyProblem::Counts => {
                    format!("the runtime announced an impossible array of {rows} x {width} floats")
                }
                CopyProblem::Memory => {
                    format!("out of memory while copying {rows} x {width} floats")
                }
            }),
        }
        return Verdict::Release;
    }
    let text = result.text();
    let bytes = if text.is_null() {
        &[]
    } else {
        // SAFETY: a NUL-terminated string that lives for this call (rkllm.h: RKLLMResult.text); it is
        // copied before we return.
        unsafe { CStr::from_ptr(text) }.to_bytes()
    };
    lane.token(bytes, result.token_id())
}

/// # Safety
/// `results` is NULL or points to one `R` for each of `lanes`.
unsafe fn sort<R: ResultStruct>(
    lanes: &[Arc<dyn Lane>],
    results: *const R,
    state: c_int,
) -> Verdict {
    let last = match state {
        call_state::FINISH => {
            // SAFETY: the caller's promise; one struct is there if any is.
            let perf = unsafe { results.as_ref() }.and_then(ResultStruct::perf);
            LastCall::Finish(perf.and_then(library_perf))
        }
        call_state::ERROR => LastCall::Error,
        // NORMAL, WAITING, LAST_HIDDEN_LAYER, and whatever a newer library may add.
        _ => {
            let mut verdict = Verdict::Continue;
            for (at, lane) in lanes.iter().enumerate().filter(|_| !results.is_null()) {
                // SAFETY: the caller's promise; with a batch the library lays them side by side.
                let result = unsafe { &*results.add(at) };
                verdict = verdict.max(hand_on(lane.as_ref(), result));
            }
            return verdict;
        }
    };
    for lane in lanes {
        lane.last_call(last);
    }
    Verdict::Continue
}

/// # Safety
/// `userdata` is NULL or what [`super::slot::Slots::bind`] gave; `results` is NULL or points, for the
/// length of this call, to one `R` for each lane that the model was opened for.
unsafe fn receive<R: ResultStruct>(
    results: *mut R,
    userdata: *mut c_void,
    state: c_int,
) -> Verdict {
    if userdata.is_null() {
        return Verdict::Continue;
    }
    // SAFETY: the caller's promise; slots live for ever.
    let slot = unsafe { &*userdata.cast::<Slot>() };
    let verdict = slot.with(|lanes| {
        // SAFETY: the caller's promise; all borrows end with this call.
        let sort = || unsafe { sort(lanes, results, state) };
        catch_unwind(AssertUnwindSafe(sort)).unwrap_or_else(|_| {
            for lane in lanes {
                lane.panicked();
            }
            Verdict::Continue
        })
    });
    verdict.unwrap_or(Verdict::Continue)
}

/// `LogitsProcessor` of the CPU runtime.
pub(super) unsafe extern "C" fn process_logits(
    userdata: *mut c_void,
    lane: c_int,
    logits: *mut f32,
    count: c_int,
) {
    let (Ok(lane), Ok(count)) = (usize::try_from(lane), usize::try_from(count)) else {
        return;
    };
    if userdata.is_null() || logits.is_null() {
        return;
    }
    // SAFETY: what `Slots::bind` gave, handed back by the runtime; slots live for ever.
    let slot = unsafe { &*userdata.cast::<Slot>() };
    slot.before_callback(|lanes| {
        let Some(lane) = lanes.get(lane) else { return };
        // SAFETY: the runtime lets us change `count` floats for this call, and does not look meanwhile.
        let logits = unsafe { std::slice::from_raw_parts_mut(logits, count) };
        let choosing = AssertUnwindSafe(|| lane.choose(logits));
        if catch_unwind(choosing).is_err() {
            lane.panicked();
        }
    });
}

macro_rules! void_trampoline {
    ($name:ident, $result:ty) => {
        /// `LLMResultCallback` of a layout in which it returns nothing.
        pub(super) unsafe extern "C" fn $name(
            result: *mut $result,
            userdata: *mut c_void,
            state: c_int,
        ) {
            // SAFETY: the library hands us the structs of its layout and our own userdata.
            unsafe { receive(result, userdata, state) };
        }
    };
}

void_trampoline!(result_v1_1_0, v1_1_0::RKLLMResult);
void_trampoline!(result_v1_2_0, v1_2_0::RKLLMResult);

/// `LLMResultCallback` of 1.2.1 to 1.2.3, which know no release of the output buffer.
pub(super) unsafe extern "C" fn result_v1_2_1(
    result: *mut RKLLMResult,
    userdata: *mut c_void,
    state: c_int,
) -> c_int {
    // SAFETY: the library hands us the structs of its layout and our own userdata.
    match unsafe { receive(result, userdata, state) } {
        Verdict::Pause => callback_return::PAUSE,
        Verdict::Continue | Verdict::Release => callback_return::CONTINUE,
    }
}

/// `LLMResultCallback` from 1.3.0 on.
pub(super) unsafe extern "C" fn result_v1_3_0(
    result: *mut RKLLMResult,
    userdata: *mut c_void,
    state: c_int,
) -> c_int {
    // SAFETY: the library hands us the structs of its layout and our own userdata.
    match unsafe { receive(result, userdata, state) } {
        Verdict::Pause => callback_return::PAUSE,
        // Hazard M2: what was copied is given back at once.
        Verdict::Release => callback_return::RELEASE,
        Verdict::Continue => callback_return::CONTINUE,
    }
}

//! The C functions that the library calls.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::slot::Slot;
use crate::delivery::{Delivery, LastCall};
use crate::ffi::shared::{RKLLMPerfStat, RKLLMResult, call_state, callback_return};
use crate::ffi::{v1_1_0, v1_2_0};
use crate::output::LibraryPerf;

/// A result struct of some generation: only what that generation provides may be read.
trait ResultStruct {
    fn text(&self) -> *const c_char;
    fn token_id(&self) -> i32;
    fn perf(&self) -> Option<RKLLMPerfStat>;
}

macro_rules! result_struct {
    ($ty:ty, $perf:expr) => {
        impl ResultStruct for $ty {
            fn text(&self) -> *const c_char {
                self.text
            }
            fn token_id(&self) -> i32 {
                self.token_id
            }
            fn perf(&self) -> Option<RKLLMPerfStat> {
                let read: fn(&$ty) -> Option<RKLLMPerfStat> = $perf;
                read(self)
            }
        }
    };
}

result_struct!(v1_1_0::RKLLMResult, |_| None);
result_struct!(v1_2_0::RKLLMResult, |_| None);
result_struct!(RKLLMResult, |result| Some(result.perf));

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

fn hand_on<R: ResultStruct>(delivery: &Delivery, result: Option<&R>, state: c_int) {
    match state {
        call_state::FINISH => {
            let perf = result.and_then(ResultStruct::perf).and_then(library_perf);
            delivery.last_call(LastCall::Finish(perf));
        }
        call_state::ERROR => delivery.last_call(LastCall::Error),
        // NORMAL, WAITING, and whatever a newer library may add: a token is a token.
        _ => {
            let Some(result) = result else { return };
            let text = result.text();
            let bytes = if text.is_null() {
                &[]
            } else {
                // SAFETY: a NUL-terminated string that lives for this call (rkllm.h:
                // RKLLMResult.text); it is copied before we return.
                unsafe { CStr::from_ptr(text) }.to_bytes()
            };
            delivery.token(bytes, result.token_id());
        }
    }
}

/// # Safety
/// `userdata` is NULL or what [`super::slot::Slots::bind`] gave; `result` is NULL or points to an `R`
/// for the length of this call.
unsafe fn receive<R: ResultStruct>(result: *mut R, userdata: *mut c_void, state: c_int) {
    if userdata.is_null() {
        return;
    }
    // SAFETY: the caller's promise; slots live for ever.
    let slot = unsafe { &*userdata.cast::<Slot>() };
    slot.with(|delivery| {
        // SAFETY: the caller's promise; the borrow ends with this call.
        let result = unsafe { result.as_ref() };
        let handed = catch_unwind(AssertUnwindSafe(|| hand_on(delivery, result, state)));
        if handed.is_err() {
            delivery.panicked();
        }
    });
}

macro_rules! void_trampoline {
    ($name:ident, $result:ty) => {
        /// `LLMResultCallback` of a generation in which it returns nothing.
        pub(super) unsafe extern "C" fn $name(
            result: *mut $result,
            userdata: *mut c_void,
            state: c_int,
        ) {
            // SAFETY: the library hands us the struct of its generation and our own userdata.
            unsafe { receive(result, userdata, state) }
        }
    };
}

void_trampoline!(result_v1_1_0, v1_1_0::RKLLMResult);
void_trampoline!(result_v1_2_0, v1_2_0::RKLLMResult);

/// `LLMResultCallback` from 1.2.1 on.
pub(super) unsafe extern "C" fn result_v1_2_1(
    result: *mut RKLLMResult,
    userdata: *mut c_void,
    state: c_int,
) -> c_int {
    // SAFETY: the library hands us the struct of its generation and our own userdata.
    unsafe { receive(result, userdata, state) }
    callback_return::CONTINUE
}

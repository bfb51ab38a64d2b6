//! Log lines in the vendor's form: a level letter, `rkllm:`, the text; to stderr, one write each.

use std::ffi::{CStr, c_char, c_void};
use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};

use llama_cpp_sys_2 as sys;

#[allow(
    unsafe_code,
    reason = "llama.cpp hands its log lines over through a C callback"
)]
mod forward;

static VERBOSITY: AtomicU8 = AtomicU8::new(0);

/// Reads `RKLLM_LOG_LEVEL`; the vendor's library does so no later than at init.
pub(crate) fn read_level() {
    let level = std::env::var("RKLLM_LOG_LEVEL")
        .ok()
        .and_then(|text| text.trim().parse::<u8>().ok())
        .unwrap_or(0);
    VERBOSITY.store(level, Ordering::Relaxed);
}

/// 0 errors, warnings and the lines of init; 1 timings after each run; 2 more.
pub(crate) fn level() -> u8 {
    VERBOSITY.load(Ordering::Relaxed)
}

/// Writes one line. A closed stderr is no reason to fail.
pub(crate) fn line(letter: char, text: &str) {
    let text = text.trim_end().replace('\n', " ");
    let line = format!("{letter} rkllm: {text}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// An `E` line.
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::line('E', &format!($($arg)*)) };
}
/// A `W` line.
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::line('W', &format!($($arg)*)) };
}
/// An `I` line.
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::line('I', &format!($($arg)*)) };
}
pub(crate) use {error, info, warning};

/// What llama.cpp says of good models, too, or of an abort that the caller has asked for.
const HARMLESS: [&str; 10] = [
    "control-looking token",
    "special_eo",
    "n_ctx_seq",
    "to USER_DEFINED",
    "from EOG list",
    "model default pooling_type",
    "removing memory module entries",
    "sched_graph_compute_async failed with error 1",
    "failed to compute graph, compute status: 1",
    "failed to decode, ret = 2",
];

fn forwarded(letter: char, text: &str) {
    if level() < 2 && HARMLESS.iter().any(|known| text.contains(known)) {
        return;
    }
    let text = text.trim();
    if !text.is_empty() {
        line(letter, text);
    }
}

/// Sends llama.cpp's errors and warnings through [`line`] and drops the rest.
pub(crate) fn forward_llama() {
    static ONCE: Once = Once::new();
    ONCE.call_once(forward::install);
}

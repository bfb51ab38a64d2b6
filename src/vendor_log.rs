//! What the vendor's library prints.
//!
//! The library has no log callback: it writes lines to stdout and stderr. They are forwarded as they
//! come, and the last few hundred are kept; errors carry the error and warning lines of their call.
//! `RKLLM_RS_VENDOR_LOG=off` leaves the library's output alone and keeps nothing.

use crate::loader::host;

pub use crate::loader::host::{LogLevel, LogLine, LogStream};

/// The kept lines whose number is `since` or more, oldest first.
#[must_use]
pub fn lines(since: u64) -> Vec<LogLine> {
    host::log_kept(since)
}

/// The number that the next line will bear.
#[must_use]
pub fn next_number() -> u64 {
    host::log_mark()
}

/// Whether lines are being kept: false before the first library is loaded, when switched off, and
/// where the system gives a thread no descriptor table of its own.
#[must_use]
pub fn is_kept() -> bool {
    host::log_is_kept()
}

//! What the vendor's library prints.
//!
//! The library has no log callback: it writes lines to stdout and stderr. They are read as they come, and
//! the last few hundred are kept; errors carry the error and warning lines of their call. What is printed
//! of them, and only ever to stderr, is the program's choice: [`set_mode`], or `RKLLM_RS_VENDOR_LOG`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::host;

pub use crate::host::{LogLevel, LogLine, LogStream, Mode};

/// Chooses what is printed from now on, in the whole process.
///
/// [`Mode::Direct`] takes full effect only if it is chosen before the first library is loaded, and then
/// for good. Chosen later, lines go to the stream that the library wrote them to.
pub fn set_mode(mode: Mode) {
    host::mode::set(mode);
}

/// The choice.
#[must_use]
pub fn mode() -> Mode {
    host::mode::get()
}

/// What a user should be told about the choice, each thing once: a value of the variable that is unknown,
/// or a choice that cannot be obeyed.
#[must_use]
pub fn notices() -> Vec<String> {
    static TOLD: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
    [host::mode::misspelt(), host::log_problem()]
        .into_iter()
        .zip(&TOLD)
        .filter_map(|(notice, told)| notice.filter(|_| !told.swap(true, Ordering::Relaxed)))
        .collect()
}

/// Says whether the program prints the lines itself, by a logger: then nothing goes to stderr.
pub fn set_taken(taken: bool) {
    host::mode::set_taken(taken);
}

/// Says that the program was started without a stderr, so that nothing is printed to its number: it may
/// belong to any file that the program has opened since.
pub fn set_no_stderr() {
    host::mode::set_no_stderr();
}

/// Says that a logger has been given the lines below `number`, and whether it will take later ones, which
/// are then kept until it does (65,536 at most).
pub fn passed_on(number: u64, awaited: bool) {
    host::log_passed_on(number, awaited);
}

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

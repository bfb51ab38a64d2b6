//! Lets the last log lines out before a crash takes the process.
//!
//! The lines that explain an `abort()` are written just before it and may still be in the pipe, or be
//! held back. The handler waits, half a second at most, until they are printed, then leaves the signal to
//! whoever had it before. It changes nothing else: the process dies as it would have.

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{SIGABRT, SIGBUS, SIGFPE, SIGSEGV, c_int, c_void, siginfo_t};

use super::fork;
use super::forward::Capture;
use super::print::End;

/// SIGILL is left alone: on some boards it tells of a library that the CPU cannot run.
const SIGNALS: [c_int; 4] = [SIGABRT, SIGSEGV, SIGBUS, SIGFPE];

static CAPTURE: OnceLock<&'static Capture> = OnceLock::new();
static PREVIOUS: OnceLock<[libc::sigaction; 4]> = OnceLock::new();
static WAITED: AtomicBool = AtomicBool::new(false);

extern "C" fn handler(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    wait_for_lines(End::Crash);
    let previous = SIGNALS
        .iter()
        .position(|known| *known == signal)
        .zip(PREVIOUS.get());
    // SAFETY: `previous` is what sigaction itself gave us for this signal, or the zeroed default
    // action; `info` comes from the kernel, and si_code is always there.
    unsafe {
        match previous {
            Some((index, actions)) => {
                libc::sigaction(signal, &raw const actions[index], std::ptr::null_mut());
            }
            None => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        // A fault repeats itself when we return; what another thread or abort() sent does not.
        if info.is_null() || (*info).si_code <= 0 {
            libc::raise(signal);
        }
    }
}

fn wait_for_lines(end: End) {
    let Some(capture) = CAPTURE.get() else { return };
    // A forked child has neither the threads nor the lines.
    if fork::depth() != 0 {
        return;
    }
    if WAITED.swap(true, Ordering::SeqCst) {
        return;
    }
    for _ in 0..500 {
        if capture.is_read() && capture.log.printer.ends(end) {
            return;
        }
        let pause = libc::timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        // SAFETY: nanosleep is async-signal-safe; the struct lives on this stack.
        unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) };
    }
}

extern "C" fn at_exit() {
    wait_for_lines(End::Exit);
}

/// Installs the handlers, once.
pub(super) fn install(capture: &'static Capture) {
    if CAPTURE.set(capture).is_err() {
        return;
    }
    // SAFETY: the structs are zeroed, which is a valid sigaction; the handler keeps to
    // async-signal-safe calls and lives in a module that is never unloaded.
    unsafe {
        let previous = SIGNALS.map(|signal| {
            let mut old = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            libc::sigaction(signal, std::ptr::null(), &raw mut old);
            old
        });
        if PREVIOUS.set(previous).is_err() {
            return;
        }
        for signal in SIGNALS {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            action.sa_sigaction = handler as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
        libc::atexit(at_exit);
    }
}

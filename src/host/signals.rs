//! Signals, which are for the program's own threads and not for those of the library's side.
//!
//! The kernel gives a signal to whichever thread does not block it. On a thread with a descriptor table of
//! its own the program's handler would write to a number that leads nowhere, as an event loop's does to
//! wake the loop; and on any other than the program's it would end nobody's sleep.

use std::mem::MaybeUninit;
use std::ptr;

/// What concerns the thread that caused it: faults, and writes that cannot be.
const ITS_OWN: [libc::c_int; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGPIPE,
    libc::SIGXFSZ,
];

/// Leaves the program's signals to the other threads. What the calling thread starts inherits it.
pub(super) fn leave_to_the_program() {
    change(libc::SIG_BLOCK);
}

/// Takes them again: in a process that a thread started which had left them to others.
pub(super) fn take() {
    change(libc::SIG_UNBLOCK);
}

fn change(how: libc::c_int) {
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is filled before anything reads it, and lives until the last call has returned;
    // all numbers are signals of this system, and the mask is the calling thread's alone.
    unsafe {
        libc::sigfillset(signals.as_mut_ptr());
        for own in ITS_OWN {
            libc::sigdelset(signals.as_mut_ptr(), own);
        }
        libc::pthread_sigmask(how, signals.as_ptr(), ptr::null_mut());
    }
}

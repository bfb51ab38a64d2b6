//! C's own streams, which the process shares with the library: touched only when no other thread has
//! them, since one that sits in a read or write of a stream keeps it locked.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the end of the process waits for a reader of its output.
const AT_END: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

unsafe extern "C" {
    static stdout: *mut libc::FILE;
    static stderr: *mut libc::FILE;
    fn ftrylockfile(stream: *mut libc::FILE) -> libc::c_int;
    fn funlockfile(stream: *mut libc::FILE);
    fn fflush_unlocked(stream: *mut libc::FILE) -> libc::c_int;
}

/// Runs `f` with the stream locked, unless another thread has it.
///
/// # Safety
/// `stream` is one of the C library's own, which live as long as the process.
unsafe fn with_lock(stream: *mut libc::FILE, f: impl FnOnce(*mut libc::FILE)) {
    // SAFETY: by the caller's promise; unlocked only if it was locked here.
    unsafe {
        if ftrylockfile(stream) == 0 {
            f(stream);
            funlockfile(stream);
        }
    }
}

fn takes_more(number: RawFd, limit: &Timespec) -> bool {
    // SAFETY: used for this one question; poll says of a number that is not open that it is not.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(limit)).is_ok_and(|ready| ready > 0)
}

/// Hands over what the library left in C's stdout without a line end. On the library's side, where the
/// other end of the stream is always read.
pub(super) fn flush_library() {
    // SAFETY: the stream is the C library's own, and locked.
    unsafe {
        with_lock(stdout, |stream| {
            fflush_unlocked(stream);
        });
    }
}

/// Makes C's stdout write at each end of a line.
///
/// On the library's side it meets a pipe, and would fill a block before it writes: lines would come
/// late and be lost in an abort. It is one stream for the whole process. What the program has left in
/// it is written first, or it would come out on the library's side.
pub(super) fn buffer_lines() {
    // SAFETY: the stream is the C library's own, and locked; setvbuf may lock it once more.
    unsafe {
        with_lock(stdout, |stream| {
            if takes_more(libc::STDOUT_FILENO, &NOW) {
                fflush_unlocked(stream);
            }
            libc::setvbuf(
                stream,
                std::ptr::null_mut(),
                libc::_IOLBF,
                libc::BUFSIZ as libc::size_t,
            );
        });
    }
}

/// Writes what C's stdout and stderr hold, before a process ends by `_exit`; waits for no other thread,
/// and not for long for one who reads them.
pub(super) fn flush_at_end() {
    // SAFETY: the streams are the C library's own, and locked.
    unsafe {
        for (stream, number) in [(stdout, libc::STDOUT_FILENO), (stderr, libc::STDERR_FILENO)] {
            with_lock(stream, |stream| {
                if takes_more(number, &AT_END) {
                    fflush_unlocked(stream);
                }
            });
        }
    }
}

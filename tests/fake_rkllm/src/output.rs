//! What the vendor's library does to its process besides answering: printing, and dying.

use std::ffi::CString;

use serde::Deserialize;

/// Where a log line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// File descriptor 1, at once.
    Stdout,
    /// File descriptor 2, at once.
    Stderr,
    /// File descriptor 2, at once, and without the end of the line.
    StderrUnfinished,
    /// C's `stdout`, which keeps the line until somebody flushes it.
    StdioStdout,
}

/// A line and its stream, as scripts write them: `["stderr", "W rkllm: …"]`.
pub type LogLine = (Stream, String);

/// Prints one line.
pub(crate) fn line(stream: Stream, text: &str) {
    let fd = match stream {
        Stream::Stdout => libc::STDOUT_FILENO,
        Stream::Stderr | Stream::StderrUnfinished => libc::STDERR_FILENO,
        Stream::StdioStdout => {
            let text = CString::new(text.replace('\0', "")).unwrap_or_default();
            // SAFETY: `text` is a NUL-terminated string that outlives the call.
            unsafe { libc::puts(text.as_ptr()) };
            return;
        }
    };
    let mut bytes = text.as_bytes().to_vec();
    if stream != Stream::StderrUnfinished {
        bytes.push(b'\n');
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        // SAFETY: pointer and length are those of a live slice.
        let written = unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) };
        if written <= 0 {
            return;
        }
        rest = &rest[written as usize..];
    }
}

/// Prints a script's lines.
pub(crate) fn lines(log: &[LogLine]) {
    for (stream, text) in log {
        line(*stream, text);
    }
}

/// Prints an E line the way the vendor does.
pub(crate) fn error(reason: &str) {
    line(Stream::Stderr, &format!("E rkllm: {reason}"));
}

/// Ends the process as a failed assertion in the vendor's library does.
pub(crate) fn abort() -> ! {
    // SAFETY: abort has no preconditions.
    unsafe { libc::abort() }
}

/// Ends the process by SIGSEGV, whatever handlers are installed.
pub(crate) fn crash() -> ! {
    // SAFETY: setting a default disposition and raising a signal have no preconditions.
    unsafe {
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        libc::raise(libc::SIGSEGV);
    }
    abort()
}

/// Ends the process with a status and without any clean-up, so that no handler can hang a test.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// The kernel's id of the calling thread, as `threading.get_native_id()` gives it.
pub(crate) fn thread_id() -> i64 {
    // SAFETY: gettid takes nothing and cannot fail. The bare system call, since glibc's wrapper is
    // newer than the oldest glibc of the boards.
    i64::from(unsafe { libc::syscall(libc::SYS_gettid) } as i32)
}

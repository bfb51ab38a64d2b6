//! What makes this process a worker: it ends with its parent, and its output is the library's alone.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Pid, Signal};

use super::jobs::{self, Jobs};
use super::socket::Socket;
use super::{Host, LogLine, fds, signals, worker_log};

/// The library's lines, which the parent reads: what is written is in its pipes at once, and not lost with
/// this process.
pub(crate) trait RemoteLog: Send + Sync {
    /// The lines that came after that [`mark`]; waits for the parent.
    fn since(&self, mark: u64) -> Vec<LogLine>;
}

static LOG: OnceLock<Box<dyn RemoteLog>> = OnceLock::new();
static IS_ONE: AtomicBool = AtomicBool::new(false);

/// From here on the parent is asked for the library's lines.
pub(crate) fn ask_for_lines(log: Box<dyn RemoteLog>) {
    let _ = LOG.set(log);
}

/// Marks the place in both streams that whatever is printed from here on comes after.
pub(super) fn mark() -> u64 {
    static MARKS: AtomicU64 = AtomicU64::new(0);
    super::stdio::flush_library();
    let number = MARKS.fetch_add(1, Ordering::Relaxed) + 1;
    let mark = worker_log::mark(number);
    for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        super::forward::write_all(stream, &mark);
    }
    number
}

/// The lines, in a worker.
pub(super) fn log() -> Option<&'static dyn RemoteLog> {
    LOG.get().map(AsRef::as_ref)
}

/// Whether this process is a worker.
pub(super) fn is_one() -> bool {
    IS_ONE.load(Ordering::Relaxed)
}

/// Makes this process a worker of `parent`: its standard input is the socket to it, which is given back.
///
/// # Errors
/// What the system refuses.
pub(crate) fn become_one(parent: i32) -> io::Result<Socket> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before; then another process has taken its place.
    if rustix::process::getppid()
        .map(Pid::as_raw_nonzero)
        .map(std::num::NonZero::get)
        != Some(parent)
    {
        return Err(io::Error::other("the parent process has ended"));
    }
    let copy = |number: i32| {
        // SAFETY: used for this one call; a number that is not open is an error, and no more.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        fds::raised(fd.try_clone_to_owned()?)
    };
    let socket = copy(libc::STDIN_FILENO)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(null)?;
    // Whatever a program left open for its children is none of a library's business.
    fds::close_others(&[socket.as_raw_fd()]);
    signals::take();
    // Ctrl-C is the parent's.
    // SAFETY: sets a disposition, and nothing else.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    IS_ONE.store(true, Ordering::Relaxed);
    Ok(Socket::new(socket))
}

/// [`super::start`] in a worker: its output is its parent's to read.
pub(super) fn start_host() -> io::Result<Host> {
    let jobs = Jobs::start(|work| jobs::thread("rkllm-vendor", work))?;
    super::stdio::buffer_lines();
    Ok(Host {
        jobs,
        capture: None,
        parted: false,
        direct: false,
    })
}

/// Ends this process at once, without the destructors of a library or of Python.
pub(crate) fn leave(status: i32) -> ! {
    super::log_sync();
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

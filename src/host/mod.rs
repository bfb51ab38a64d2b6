//! What is asked of the operating system: descriptor tables, the library's log, waking, fork, exit, memory.
//!
//! The vendor's library tells its reasons on stdout and stderr and in no other way. Redirecting the
//! descriptors of the process would catch the host program's own output too. Linux lets a thread
//! have a descriptor table of its own, so one does: in its table descriptors 1 and 2 are pipes, which a
//! second thread reads there; a third one, in the ordinary table, prints what is to be printed. Threads
//! started from there, the models' own and whatever the library starts, share that table; the host
//! program's threads never see it. One table serves all models, since a library may keep a device open
//! process-wide.
//!
//! The thread that parted from the process's table, `rkllm-vendor`, starts the others and makes
//! descriptors, and that is all it does: it never calls a library, so that nobody waits for one that
//! takes long to load, or never comes back. Signals are left to the program's threads.

#![allow(unsafe_code, reason = "system calls on descriptors and signals")]

pub(crate) mod byte_locks;
mod crash;
pub(crate) mod exit;
mod fds;
mod floats;
pub(crate) mod fork;
mod forward;
mod jobs;
mod lines;
pub(crate) mod mode;
mod print;
pub(crate) mod process;
pub(crate) mod shared;
mod signals;
pub(crate) mod socket;
mod stdio;
pub mod vendor_log;
pub(crate) mod wake;
pub(crate) mod worker;
mod worker_log;

use std::sync::{Mutex, OnceLock, PoisonError};

pub(crate) use floats::CopyProblem;
pub use floats::FloatBlock;
pub(crate) use floats::{Lease, Lender, copy_into};
use jobs::Jobs;
pub use lines::{LogLevel, LogLine, LogStream};
pub use mode::Mode;
pub(crate) use worker_log::LogOfWorker;

struct Host {
    jobs: Jobs,
    capture: Option<&'static forward::Capture>,
    /// Whether the library's side has a descriptor table of its own.
    parted: bool,
    /// Whether it was started in order to leave the library's output alone.
    direct: bool,
}

static HOST: OnceLock<Option<Host>> = OnceLock::new();
static LOG: OnceLock<&'static forward::Log> = OnceLock::new();

fn host() -> Option<&'static Host> {
    HOST.get_or_init(|| start().ok()).as_ref()
}

fn start() -> std::io::Result<Host> {
    fork::watch();
    if worker::is_one() {
        return worker::start_host();
    }
    let direct = mode::get() == Mode::Direct;
    let mut plumbing = if direct {
        None
    } else {
        fds::Plumbing::new().ok()
    };
    let private = plumbing.as_ref().map(fds::Plumbing::private_side);
    let jobs = Jobs::start(|work| jobs::thread("rkllm-vendor", work))?;
    let enter = move || {
        signals::leave_to_the_program();
        private.is_some_and(fds::PrivateSide::enter)
    };
    let isolated = jobs::outcome(enter, |job| jobs.add(job))?;
    let parted = plumbing
        .as_ref()
        .is_some_and(|plumbing| isolated && plumbing.is_isolated());
    let capture = match plumbing.take() {
        Some(plumbing) if parted => start_capture(plumbing, &jobs)?,
        _ => None,
    };
    Ok(Host {
        jobs,
        capture,
        parted,
        direct,
    })
}

/// The process's log, for which a thread prints.
fn start_log() -> std::io::Result<&'static forward::Log> {
    static START: Mutex<()> = Mutex::new(());
    let _one = START.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(log) = LOG.get() {
        return Ok(log);
    }
    let log: &'static forward::Log = Box::leak(Box::new(forward::Log::new(print::Printer::new())));
    let print = || {
        signals::leave_to_the_program();
        log.printer.print();
    };
    jobs::thread("rkllm-print", Box::new(print))?;
    Ok(LOG.get_or_init(|| log))
}

fn start_capture(
    plumbing: fds::Plumbing,
    jobs: &Jobs,
) -> std::io::Result<Option<&'static forward::Capture>> {
    let capture = forward::Capture::new(plumbing.host_side(), start_log()?)?;
    let capture: &'static forward::Capture = Box::leak(Box::new(capture));
    let read = || jobs::thread("rkllm-log", Box::new(|| capture.read()));
    jobs::outcome(read, |job| jobs.add(job))??;
    stdio::buffer_lines();
    crash::install(capture);
    Ok(Some(capture))
}

/// Runs `f` on the vendor thread and gives back what it returned; `f` must not wait for anything.
///
/// A panic in `f` goes on in the caller. Must not be called in a forked child of a process that has
/// used it (see [`fork`]): the thread is not there any more.
fn dispatch<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let outcome = jobs::outcome(f, |job| {
        if let Some(host) = host() {
            return host.jobs.add(job);
        }
        // No vendor thread could be had: an ordinary one does, without keeping the log.
        job();
        Ok(())
    });
    outcome.unwrap_or_else(|_| unreachable!("the vendor thread lives as long as the process"))
}

/// Starts a named thread that shares the vendor thread's descriptor table.
///
/// # Errors
/// What the operating system says when it has no thread to give.
#[cfg(not(feature = "interleavings"))]
pub(crate) fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    start_thread(name, Box::new(f))
}

/// [`spawn`], compiled once for all that threads do.
#[cfg(not(feature = "interleavings"))]
fn start_thread(name: &str, job: jobs::Job) -> std::io::Result<()> {
    let name = name.to_owned();
    dispatch(move || jobs::thread(&name, job))
}

#[cfg(feature = "interleavings")]
pub(crate) use crate::sync::checked::spawn;

/// Runs `f`, which may call a library, on a thread of that table, and gives back what it returned.
///
/// A panic in `f` goes on in the caller.
///
/// # Errors
/// As for [`spawn`].
pub(crate) fn run<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    jobs::outcome(f, |job| spawn(name, job))
}

/// The number that the next log line will bear; see [`log_since`].
pub(crate) fn log_mark() -> u64 {
    match worker::log() {
        Some(_) => worker::mark(),
        None => log().map_or(0, forward::Log::mark),
    }
}

/// The kept log lines from `mark` on, oldest first; the library's own buffers are flushed before.
pub(crate) fn log_since(mark: u64) -> Vec<LogLine> {
    log_sync();
    match worker::log() {
        Some(log) => log.since(mark),
        None => log_kept(mark),
    }
}

/// The kept log lines from `mark` on, as they are now; for threads of the host program.
pub(crate) fn log_kept(mark: u64) -> Vec<LogLine> {
    log().map_or_else(Vec::new, |log| log.since(mark))
}

/// The program's logger has been given the lines below `number`; `awaited` tells whether it takes the
/// later ones too, so that they are kept until then.
pub(crate) fn log_passed_on(number: u64, awaited: bool) {
    if let Some(log) = log() {
        log.pass_on(number, awaited);
    }
}

/// How long a call waits at most for its lines.
const PRINTING: std::time::Duration = std::time::Duration::from_secs(1);

/// Waits, for a moment at most, until all that the library has written is kept, and printed if it is to
/// be.
///
/// Called on a thread of the library's side after each call, so that the lines of a call come
/// before whatever the caller prints next.
pub(crate) fn log_sync() {
    if worker::is_one() {
        // What is written is the parent's to read.
        return stdio::flush_library();
    }
    if let Some(capture) = capture() {
        stdio::flush_library();
        capture.drain(PRINTING);
    }
}

/// Waits, for a moment at most, until what is kept is printed, if it is to be: what a worker has printed in a
/// call comes before whatever the caller prints next, too.
pub(crate) fn log_printed() {
    if let Some(log) = log() {
        log.printer.drain(PRINTING);
    }
}

/// An open that goes on: the lines of one that fails are in its error, and not printed as well.
pub(crate) struct LogOfOpening {
    mark: u64,
    in_error: bool,
}

impl LogOfOpening {
    pub(crate) fn begin() -> Self {
        if let Some(log) = log() {
            log.printer.opening();
        }
        Self {
            mark: log_mark(),
            in_error: false,
        }
    }

    /// The lines since it began.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        log_since(self.mark)
    }

    /// It has failed, and the error has the lines.
    pub(crate) fn leave_to_error(mut self) {
        self.in_error = true;
    }
}

impl Drop for LogOfOpening {
    fn drop(&mut self) {
        if let Some(log) = log() {
            log.printer.opened(self.in_error.then_some(self.mark));
        }
    }
}

/// Why the choice of [`mode`] has no effect on a library that is loaded, if it has none.
pub(crate) fn log_problem() -> Option<String> {
    let host = HOST.get()?.as_ref();
    if host.is_some_and(|host| host.capture.is_some()) || mode::get() == Mode::Direct {
        return None;
    }
    let name = mode::get().name();
    Some(if host.is_some_and(|host| host.direct) {
        format!(
            "vendor_log={name:?} has no effect, because this process loaded its first runtime with \
             vendor_log=\"direct\""
        )
    } else {
        format!(
            "vendor_log={name:?} has no effect, because this system forbids close_range and unshare: the \
             runtime prints to stdout and stderr itself, and errors do not include its lines"
        )
    })
}

/// Whether the library's log lines are being kept.
pub(crate) fn log_is_kept() -> bool {
    log().is_some()
}

/// Makes the process keep a log, also where no library is loaded in it. On the program's side.
///
/// # Errors
/// When the system has no thread to give.
pub(crate) fn keep_log() -> std::io::Result<()> {
    // First, since it decides what becomes of the process's own library.
    host();
    start_log().map(drop)
}

fn log() -> Option<&'static forward::Log> {
    LOG.get().copied()
}

fn capture() -> Option<&'static forward::Capture> {
    HOST.get()
        .and_then(Option::as_ref)
        .and_then(|host| host.capture)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn nobody_waits_for_a_call_that_does_not_come_back() {
        let (go_on, stuck) = channel::<()>();
        let (begun, started) = channel();
        let loading = std::thread::spawn(move || {
            run("stuck", move || {
                begun.send(()).expect("the test waits");
                stuck.recv().is_err()
            })
        });
        started.recv().expect("the job begins");
        let (done, other) = channel();
        spawn("other", move || done.send(()).expect("the test waits")).expect("a thread");
        other.recv().expect("the other thread runs");
        let pairs: Vec<_> = (0..20).map(|_| wake::WakePair::acquire()).collect();
        assert!(pairs.iter().all(Result::is_ok));
        drop(go_on);
        assert!(loading.join().expect("no panic").expect("a thread"));
    }
}

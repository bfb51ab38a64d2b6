//! The thread from which every call into a vendor library starts.
//!
//! The vendor's library tells its reasons on stdout and stderr and in no other way. Redirecting the
//! descriptors of the process would catch the host program's own output too. Linux lets a thread
//! have a descriptor table of its own, so one does: in its table descriptors 1 and 2 are pipes that a
//! second thread, in the ordinary table, forwards at once and keeps. Threads started from there, the
//! models' own and whatever the library starts, share that table; the host program's threads never
//! see it. One table serves all models, since a library may keep a device open process-wide.

#![allow(unsafe_code, reason = "system calls on descriptors and signals")]

mod crash;
pub(crate) mod exit;
mod fds;
pub(crate) mod fork;
mod forward;
pub(crate) mod wake;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Builder;

pub use forward::{LogLevel, LogLine, LogStream};

type Job = Box<dyn FnOnce() + Send>;

struct Host {
    jobs: Mutex<Sender<Job>>,
    capture: Option<&'static forward::Capture>,
    /// Socket over which the vendor thread hands descriptors to the ordinary table.
    handover: Option<fds::Handover>,
}

static HOST: OnceLock<Option<Host>> = OnceLock::new();

/// `RKLLM_RS_VENDOR_LOG=off` (or `0`): the library writes where it likes and nothing is kept.
fn capture_wanted() -> bool {
    std::env::var_os("RKLLM_RS_VENDOR_LOG")
        .and_then(|value| value.to_str().map(str::to_ascii_lowercase))
        .is_none_or(|value| !matches!(value.as_str(), "off" | "0" | "no" | "false"))
}

fn host() -> Option<&'static Host> {
    HOST.get_or_init(|| start().ok()).as_ref()
}

fn start() -> std::io::Result<Host> {
    fork::watch();
    let mut plumbing = if capture_wanted() {
        fds::Plumbing::new().ok()
    } else {
        None
    };
    let private = plumbing.as_ref().map(fds::Plumbing::private_side);
    let (jobs, inbox) = channel::<Job>();
    let (ready, isolated) = channel();
    Builder::new()
        .name("rkllm-vendor".to_owned())
        .spawn(move || {
            let done = private.is_some_and(fds::PrivateSide::enter);
            let _ = ready.send(done);
            for job in inbox {
                job();
            }
        })?;
    let isolated = isolated.recv().unwrap_or(false);
    let mut host = Host {
        jobs: Mutex::new(jobs),
        capture: None,
        handover: None,
    };
    if let Some(plumbing) = plumbing.take() {
        if isolated && plumbing.is_isolated() {
            let (readers, handover) = plumbing.host_side();
            host.capture = forward::Capture::start(readers);
            host.handover = Some(handover);
            if let Some(capture) = host.capture {
                crash::install(capture);
            }
        }
    }
    Ok(host)
}

fn submit(job: Job) -> Result<(), Job> {
    match host() {
        Some(host) => {
            let sender = host.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            sender.send(job).map_err(|refused| refused.0)
        }
        None => Err(job),
    }
}

/// Runs `f` on the vendor thread and gives back what it returned.
///
/// A panic in `f` goes on in the caller. Must not be called in a forked child of a process that has
/// used it (see [`fork`]): the thread is not there any more.
pub(crate) fn run<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (reply, result) = channel();
    let job = Box::new(move || {
        drop(reply.send(catch_unwind(AssertUnwindSafe(f))));
    });
    if let Err(job) = submit(job) {
        // No vendor thread could be had: an ordinary one does, without keeping the log.
        job();
    }
    match result.recv() {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("the job sends its result or its panic"),
    }
}

/// Starts a named thread that shares the vendor thread's descriptor table.
///
/// # Errors
/// What the operating system says when it has no thread to give.
pub(crate) fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let name = name.to_owned();
    run(move || Builder::new().name(name).spawn(f).map(drop))
}

/// The number that the next log line will bear; see [`log_since`].
pub(crate) fn log_mark() -> u64 {
    capture().map_or(0, forward::Capture::mark)
}

/// The kept log lines from `mark` on, oldest first; the library's own buffers are flushed before.
pub(crate) fn log_since(mark: u64) -> Vec<LogLine> {
    log_sync();
    capture().map_or_else(Vec::new, |capture| capture.since(mark))
}

/// The kept log lines from `mark` on, as they are now; for threads of the host program.
pub(crate) fn log_kept(mark: u64) -> Vec<LogLine> {
    capture().map_or_else(Vec::new, |capture| capture.since(mark))
}

/// Waits, for a moment at most, until all that the library has written is forwarded and kept.
///
/// Called on a thread of the library's side after each call, so that the lines of a call come
/// before whatever the caller prints next.
pub(crate) fn log_sync() {
    if let Some(capture) = capture() {
        forward::flush_stdio();
        capture.drain(std::time::Duration::from_millis(200));
        capture.finish_lines();
    }
}

/// Whether the library's log lines are being kept.
pub(crate) fn log_is_kept() -> bool {
    capture().is_some()
}

fn capture() -> Option<&'static forward::Capture> {
    HOST.get()
        .and_then(Option::as_ref)
        .and_then(|host| host.capture)
}

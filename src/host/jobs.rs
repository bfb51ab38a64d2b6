//! Threads that do jobs, and what comes of a job.
//!
//! A job is a boxed closure, and its end the end of a channel of nothing: the standard library's channels and the
//! start of a thread are compiled once more for each type that goes through them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

/// What a thread is given to do.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job after the other, as long as this is kept.
pub(super) struct Jobs(Mutex<Sender<Job>>);

impl Jobs {
    /// `spawn` starts the thread with what it has to do.
    ///
    /// # Errors
    /// Those of `spawn`.
    pub(super) fn start(spawn: impl FnOnce(Job) -> io::Result<()>) -> io::Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        spawn(Box::new(move || inbox.into_iter().for_each(|job| job())))?;
        Ok(Self(Mutex::new(jobs)))
    }

    /// Adds a job.
    ///
    /// # Errors
    /// The thread has ended.
    pub(super) fn add(&self, job: Job) -> io::Result<()> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(job).map_err(|_| ended())
    }
}

fn ended() -> io::Error {
    io::Error::other("a thread of rkllm_rs has ended")
}

/// Starts a named thread, on the caller's side of the descriptor tables.
///
/// # Errors
/// What the operating system says when it has no thread to give.
pub(super) fn thread(name: &str, job: Job) -> io::Result<()> {
    Builder::new().name(name.to_owned()).spawn(job).map(drop)
}

/// What `f` returns, which runs on the thread that `hand_over` gives it to. A panic in `f` goes on in the caller.
///
/// # Errors
/// Those of `hand_over`; and the thread has ended without doing it.
pub(super) fn outcome<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
    hand_over: impl FnOnce(Job) -> io::Result<()>,
) -> io::Result<T> {
    let place = Arc::new(Mutex::new(None));
    let there = Arc::clone(&place);
    let (ends, end) = channel::<()>();
    hand_over(Box::new(move || {
        let outcome = catch_unwind(AssertUnwindSafe(f));
        *there.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        drop(ends);
    }))?;
    // An error, since nothing is sent: it was done, or dropped with its thread.
    let _ = end.recv();
    let outcome = place.lock().unwrap_or_else(PoisonError::into_inner).take();
    match outcome {
        Some(Ok(value)) => Ok(value),
        Some(Err(panic)) => resume_unwind(panic),
        None => Err(ended()),
    }
}

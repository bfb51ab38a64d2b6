//! Threads with room for deep recursion. One that has rendered waits a moment for the next template, since
//! to start one takes as long as many a rendering.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::time::Duration;

use super::Trouble;

/// Renders, and gives what hands the outcome over. In between the thread says that it is free: who has the
/// outcome may have the next template.
type Job = Box<dyn FnOnce() -> Box<dyn FnOnce()> + Send>;

/// For rendering: macros may call each other [`DEEPEST_CALL`](super::DEEPEST_CALL) times deep, and what they
/// hand on may be nested.
const STACK: usize = 32 << 20;
/// How many wait at most, and how long, for the next template.
const MOST: usize = 4;
const WAIT: Duration = Duration::from_secs(1);

/// A thread that waits. One of a process that has forked since is gone.
struct Waiting {
    process: u32,
    number: u64,
    jobs: SyncSender<Job>,
}

/// Never waited for: whoever held it when the process forked may be gone.
static WAITING: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

/// Runs `work` on a thread with room for deep recursion.
pub(super) fn with_room<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    let failed = |reason: String| Err(Trouble::Failed { line: None, reason });
    let (out, result) = sync_channel(1);
    let mut job: Job = Box::new(move || {
        let panicked = |_| Err(inside());
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked);
        // Somebody waits for it.
        Box::new(move || drop(out.send(outcome)))
    });
    while let Some(jobs) = waiting() {
        match jobs.send(job) {
            Ok(()) => return result.recv().unwrap_or_else(|_| Err(inside())),
            Err(SendError(back)) => job = back,
        }
    }
    let thread = std::thread::Builder::new()
        .name("rkllm-template".into())
        .stack_size(STACK);
    match thread.spawn(move || serve(job)) {
        Ok(_) => result.recv().unwrap_or_else(|_| Err(inside())),
        Err(error) => failed(format!("no thread to run it on: {error}")),
    }
}

fn inside() -> Trouble {
    Trouble::Failed {
        line: None,
        reason: "an error inside the engine".to_owned(),
    }
}

/// A thread that waits in this process.
fn waiting() -> Option<SyncSender<Job>> {
    let mut all = WAITING.try_lock().ok()?;
    let here = std::process::id();
    all.retain(|one| one.process == here);
    all.pop().map(|one| one.jobs)
}

/// Does a job, and the next ones as long as they come soon.
fn serve(first: Job) {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let (jobs, next) = sync_channel(1);
    let mut job = first;
    loop {
        let hand_over = job();
        let waits = WAITING.try_lock().is_ok_and(|mut all| {
            let has_room = all.len() < MOST;
            if has_room {
                all.push(Waiting {
                    process: std::process::id(),
                    number,
                    jobs: jobs.clone(),
                });
            }
            has_room
        });
        hand_over();
        match waits.then(|| wait(&next, number)).flatten() {
            Some(given) => job = given,
            None => return,
        }
    }
}

/// The next job; none if none comes, and then nobody gives one any more.
fn wait(next: &Receiver<Job>, number: u64) -> Option<Job> {
    loop {
        if let Ok(job) = next.recv_timeout(WAIT) {
            return Some(job);
        }
        let Ok(mut all) = WAITING.try_lock() else {
            continue;
        };
        // One that has been taken gets its job at once.
        if let Some(at) = all.iter().position(|one| one.number == number) {
            all.remove(at);
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use crate::jinja::Jinja;

    #[test]
    fn many_threads_render_at_once_and_one_after_the_other() {
        let jinja = Jinja::new("{{ n }}").expect("compiles");
        std::thread::scope(|scope| {
            for n in 0..16 {
                let jinja = &jinja;
                scope.spawn(move || {
                    for _ in 0..50 {
                        assert_eq!(jinja.render(context! { n => n }), Ok(n.to_string()));
                    }
                });
            }
        });
    }
}

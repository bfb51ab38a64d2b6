//! Ends runs whose time is over: one thread for the process.
//!
//! It never calls a library, so that no library can make it late.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::host;
use crate::protocol::error::Failure;

/// What waits for its time.
pub(crate) trait Due: Send + Sync {
    /// Whether its time no longer matters.
    fn is_over(&self) -> bool;
    /// The time has come, for what was given to [`mind`].
    fn due(&self, why: Why);
}

/// Why a run ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Why {
    /// Its deadline of so many seconds has passed.
    Deadline(f64),
    /// Its reader left, for this time, and has not come back.
    Left(u64),
}

struct Entry {
    at: Instant,
    why: Why,
    what: Weak<dyn Due>,
}

static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// Starts the thread, once.
///
/// # Errors
/// `ErrorKind::Model` where the system has no thread to give.
pub(crate) fn start() -> Result<(), Failure> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED
        .get_or_init(|| host::spawn("rkllm-deadline", serve).map_err(|error| error.to_string()));
    started
        .clone()
        .map_err(|reason| Failure::system("cannot start a thread for deadlines", reason))
}

/// Tells `what` at that time, unless it is over by then.
pub(crate) fn mind(what: Weak<dyn Due>, at: Instant, why: Why) {
    ENTRIES.lock().push(Entry { at, why, what });
    CHANGED.notify_one();
}

fn serve() {
    let mut entries = ENTRIES.lock();
    loop {
        let now = Instant::now();
        let mut due: Vec<(Arc<dyn Due>, Why)> = Vec::new();
        // What is let go of here may be the last that refers to it: not under the lock.
        let mut over: Vec<Arc<dyn Due>> = Vec::new();
        entries.retain(|entry| match entry.what.upgrade() {
            Some(what) if entry.at <= now => {
                due.push((what, entry.why));
                false
            }
            Some(what) => {
                let goes_on = !what.is_over();
                over.push(what);
                goes_on
            }
            None => false,
        });
        // Not under the lock, which whoever begins a run takes.
        let told = !due.is_empty();
        parking_lot::MutexGuard::unlocked(&mut entries, || {
            drop(over);
            for (what, why) in due {
                what.due(why);
            }
        });
        if told {
            continue;
        }
        match entries.iter().map(|entry| entry.at).min() {
            Some(at) => {
                CHANGED.wait_until(&mut entries, at);
            }
            None => CHANGED.wait(&mut entries),
        }
    }
}

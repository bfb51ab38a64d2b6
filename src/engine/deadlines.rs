//! Ends runs whose time is over: one thread for the process.
//!
//! It never calls a library, so that no library can make it late.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::client::Delivery;
use crate::error::Error;
use crate::host;

/// How long a run goes on whose reader was cancelled while it waited. A reader that comes back within
/// this time loses nothing.
const GRACE: Duration = Duration::from_millis(100);

/// Why a run ends.
#[derive(Clone, Copy)]
enum Why {
    /// Its deadline of so many seconds has passed.
    Deadline(f64),
    /// Its reader left, for this time, and has not come back.
    Left(u64),
}

struct Entry {
    at: Instant,
    why: Why,
    delivery: Weak<Delivery>,
}

static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// Starts the thread, once.
///
/// # Errors
/// [`Error::System`] where the system has no thread to give.
pub(super) fn start() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED
        .get_or_init(|| host::spawn("rkllm-deadline", serve).map_err(|error| error.to_string()));
    started.clone().map_err(|reason| Error::System {
        what: "a thread for deadlines could not be started",
        reason,
    })
}

/// Ends `delivery` when its deadline has passed, from now on, queued or running.
pub(super) fn mind(delivery: &Arc<Delivery>) {
    if let Some((at, seconds)) = delivery.deadline {
        add(at, Why::Deadline(seconds), delivery);
    }
}

/// Ends `delivery` unless its reader, who was cancelled while it waited, comes back soon.
pub(crate) fn left(delivery: &Arc<Delivery>) {
    if let Some(time) = delivery.leave() {
        add(Instant::now() + GRACE, Why::Left(time), delivery);
    }
}

fn add(at: Instant, why: Why, delivery: &Arc<Delivery>) {
    let delivery = Arc::downgrade(delivery);
    ENTRIES.lock().push(Entry { at, why, delivery });
    CHANGED.notify_one();
}

fn serve() {
    let mut entries = ENTRIES.lock();
    loop {
        let now = Instant::now();
        let mut due = Vec::new();
        entries.retain(|entry| match entry.delivery.upgrade() {
            Some(delivery) if entry.at <= now => {
                due.push((delivery, entry.why));
                false
            }
            Some(delivery) => !delivery.has_ended(),
            None => false,
        });
        if !due.is_empty() {
            // Not under the lock, which whoever begins a run takes.
            parking_lot::MutexGuard::unlocked(&mut entries, || {
                for (delivery, why) in due {
                    match why {
                        Why::Deadline(seconds) => delivery.expire(seconds),
                        Why::Left(time) => delivery.end_if_left(time),
                    }
                }
            });
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

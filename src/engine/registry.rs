//! All live models of the process: who closes, and what happens at exit.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::abi::Capabilities;
use crate::host;
use crate::host::wake::Side;
use crate::protocol::error::{BusyWith, ErrorKind, Failure};
use crate::runtime::Runtime;

/// How often one that waits for another model looks whether it is still wanted itself.
const LOOK: Duration = Duration::from_millis(20);
/// How long the end of the process waits for runs to obey their abort.
const EXIT: Duration = Duration::from_secs(2);
/// How long it waits for what it has killed.
const KILLED: Duration = Duration::from_millis(500);

static MODELS: Mutex<Vec<Weak<dyn Life>>> = Mutex::new(Vec::new());

/// A model, as far as others wait for its end.
pub(crate) trait Life: Send + Sync {
    /// The library in this process, if it gives right results for one model in it only (hazard M6).
    fn only_one(&self) -> Option<&Arc<Runtime>>;
    /// Whether it is closed, or being closed.
    fn is_closed(&self) -> bool;
    /// Waits until the library has let go of the model; false when `limit` has passed first.
    fn wait_until_gone(&self, limit: Duration) -> bool;
    /// Ends all runs, and gives the model back when the library has come back. Returns at once.
    fn close(&self, side: Side);
    /// Ends the library itself; false where that cannot be done without ending this process.
    fn kill(&self) -> bool {
        false
    }
}

/// Notes a new model; forgotten by itself when the model is gone.
///
/// # Errors
/// `ErrorKind::Busy` where the library is good for one model, and one is open.
pub(crate) fn add(new: &Arc<dyn Life>) -> Result<(), Failure> {
    let mut models = MODELS.lock();
    models.retain(|model| model.strong_count() > 0);
    if let Some(runtime) = new.only_one() {
        let same = |other: &Arc<dyn Life>| {
            let library = other.only_one();
            library.is_some_and(|library| Arc::ptr_eq(library, runtime)) && !other.is_closed()
        };
        if models
            .iter()
            .filter_map(Weak::upgrade)
            .any(|other| same(&other))
        {
            let identity = runtime.identity();
            let have = identity.version.as_ref().map_or_else(
                || format!("this runtime (ABI {})", identity.abi),
                |version| format!("RKLLM {version}"),
            );
            let text =
                format!("{have} supports one open model per process, and one is already open");
            let hint = format!(
                "Close that model first, use RKLLM {} or later, or open each model in its own process.",
                Capabilities::since("multi_instance")
            );
            return Err(Failure::new(ErrorKind::Busy, text).with_hint(hint));
        }
    }
    models.push(Arc::downgrade(new));
    Ok(())
}

fn live() -> Vec<Arc<dyn Life>> {
    let models = MODELS.lock();
    let all = models.iter().filter_map(Weak::upgrade);
    all.filter(|model| !model.wait_until_gone(Duration::ZERO))
        .collect()
}

/// Waits until the models that are being closed are gone, or `new` is closed itself.
///
/// # Errors
/// `ErrorKind::Busy` when `limit` has passed first: the library is not asked to open a model beside a run
/// of one that was closed (hazards M6 and N4).
pub(crate) fn wait_for_closing(new: &Arc<dyn Life>, limit: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    for model in live() {
        if Arc::ptr_eq(&model, new) || !model.is_closed() {
            continue;
        }
        while !new.is_closed() {
            let left = limit.saturating_sub(start.elapsed());
            if model.wait_until_gone(left.min(LOOK)) {
                break;
            }
            if left.is_zero() {
                let seconds = limit.as_secs_f64();
                return Err(Failure::busy(BusyWith::Closing { seconds }));
            }
        }
    }
    Ok(())
}

/// Since when the library does not let go, so that the end of the process does not wait for it twice.
static GAVE_UP: Mutex<Option<Instant>> = Mutex::new(None);

/// Closes all models and waits, two seconds at most, until the library has let go of them.
///
/// Returns whether it has. If not, and the process ends now, it ends without running the library's
/// destructors under a live run.
#[must_use]
pub fn shut_down() -> bool {
    // In a forked child the models are the parent's: their threads are not there to let go of them,
    // and may have held any lock when the child was made.
    if host::fork::depth() != 0 {
        return true;
    }
    let models = live();
    for model in &models {
        model.close(Side::Host);
    }
    let start = GAVE_UP.lock().unwrap_or_else(Instant::now);
    let until = start + EXIT;
    let in_time = |model: &Arc<dyn Life>| {
        model.wait_until_gone(until.saturating_duration_since(Instant::now()))
    };
    let mut late = models;
    late.retain(|model| !in_time(model));
    // What can be ended without ending this process is.
    late.retain(|model| !(model.kill() && model.wait_until_gone(KILLED)));
    let done = late.is_empty();
    host::log_sync();
    *GAVE_UP.lock() = (!done).then_some(start);
    if !done {
        guard_exit();
    }
    done
}

/// Makes the end of the process wait for the models.
pub(super) fn guard_exit() {
    host::exit::guard(shut_down);
}

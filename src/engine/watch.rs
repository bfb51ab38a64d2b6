//! Asks the library to abort a model's runs, from beside.
//!
//! `rkllm_abort` may only be called from another thread than the run's, may block or be ignored for
//! seconds, and may be lost when it comes before the library has really begun. So one thread for each
//! model asks, and asks again after a growing pause, until the run is over. It does nothing else.

use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

use super::RunLanes;
use crate::native::{Aborter, Lane as _};

/// How soon an abort that has not worked yet is asked for again: first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

#[derive(Default)]
struct Watched {
    current: Option<RunLanes>,
    quit: bool,
}

/// Shared by the watching thread, the engine and the lanes.
#[derive(Default)]
pub(crate) struct Watch {
    state: Mutex<Watched>,
    changed: Condvar,
}

impl Watch {
    /// Something wants an abort: look now.
    pub(crate) fn poke(&self) {
        // Under the lock, so that the thread either sees the wish or is asleep already.
        let _state = self.state.lock();
        self.changed.notify_one();
    }

    /// The run that the library is in.
    pub(crate) fn set_current(&self, lanes: Option<RunLanes>) {
        self.state.lock().current = lanes;
    }

    /// Ends the thread.
    pub(crate) fn quit(&self) {
        self.state.lock().quit = true;
        self.changed.notify_one();
    }

    /// The thread's work.
    pub(crate) fn watch(&self, aborter: &Aborter) {
        let mut state = self.state.lock();
        // The run that was asked to abort, when it is asked again, and the pause until then.
        let mut asked: Option<(u64, Instant, Duration)> = None;
        while !state.quit {
            let Some(lanes) = state.current.clone().filter(abort_wanted) else {
                asked = None;
                self.changed.wait(&mut state);
                continue;
            };
            let run = lanes[0].run();
            let pause = match asked {
                Some((same, at, _)) if same == run && Instant::now() < at => {
                    self.changed.wait_until(&mut state, at);
                    continue;
                }
                Some((same, _, pause)) if same == run => AGAIN.1.min(pause * 2),
                _ => AGAIN.0,
            };
            // Not under the lock: whoever pokes must not wait for the library.
            drop(state);
            aborter.abort(run);
            state = self.state.lock();
            asked = Some((run, Instant::now() + pause, pause));
        }
    }
}

/// Whether nobody wants any lane of the run any more.
fn abort_wanted(lanes: &RunLanes) -> bool {
    lanes.iter().any(|lane| lane.abort_wanted())
        && lanes
            .iter()
            .all(|lane| lane.abort_wanted() || lane.has_ended())
}

//! Watches a model's runs from beside: asks the library to abort, and ends runs whose deadline is over.
//!
//! `rkllm_abort` may only be called from another thread than the run's, may be ignored for seconds,
//! and may be lost when it comes before the library has really begun. So one thread asks, and asks
//! again, until the run is over.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::callback::Aborter;
use crate::delivery::{Delivery, Rows};

/// How often an abort that has not worked yet is asked for again.
const AGAIN: Duration = Duration::from_millis(20);

#[derive(Default)]
struct State {
    deadlines: Vec<(Instant, f64, Weak<Delivery>)>,
    current: Option<Rows>,
    poked: bool,
    quit: bool,
}

/// Shared by the watching thread, the actor and the deliveries.
#[derive(Default)]
pub(crate) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

impl Watch {
    /// Something wants an abort: look now.
    pub(crate) fn poke(&self) {
        self.state.lock().poked = true;
        self.changed.notify_one();
    }

    /// Ends `delivery` when its deadline is over, from now on, queued or running.
    pub(crate) fn mind(&self, delivery: &Arc<Delivery>) {
        if let Some((at, seconds)) = delivery.deadline {
            self.state
                .lock()
                .deadlines
                .push((at, seconds, Arc::downgrade(delivery)));
            self.changed.notify_one();
        }
    }

    /// The run that the library is in.
    pub(crate) fn set_current(&self, rows: Option<Rows>) {
        self.state.lock().current = rows;
    }

    /// Ends the thread.
    pub(crate) fn quit(&self) {
        self.state.lock().quit = true;
        self.changed.notify_one();
    }

    /// The thread's work.
    pub(crate) fn watch(&self, aborter: &Aborter) {
        let mut state = self.state.lock();
        while !state.quit {
            state.poked = false;
            let now = Instant::now();
            let mut due = Vec::new();
            state
                .deadlines
                .retain(|(at, seconds, delivery)| match delivery.upgrade() {
                    Some(delivery) if *at <= now => {
                        due.push((delivery, *seconds));
                        false
                    }
                    Some(delivery) => !delivery.has_ended(),
                    None => false,
                });
            let abort = state.current.clone().filter(abort_wanted);
            let next = state.deadlines.iter().map(|(at, ..)| *at).min();
            if !due.is_empty() || abort.is_some() {
                // Neither call may be made under the lock: both sides poke, and the library's abort
                // may take its time.
                drop(state);
                for (delivery, seconds) in due {
                    delivery.expire(seconds);
                }
                if let Some(rows) = &abort {
                    aborter.abort(rows[0].run());
                }
                state = self.state.lock();
            }
            if state.quit {
                return;
            }
            let again = abort.map(|_| Instant::now() + AGAIN);
            match [next, again].into_iter().flatten().min() {
                // A poke that has just come is looked at at once, unless it only repeats the abort.
                _ if state.poked && again.is_none() => {}
                Some(until) => {
                    self.changed.wait_until(&mut state, until);
                }
                None => self.changed.wait(&mut state),
            }
        }
    }
}

/// Whether nobody wants any row of the run any more.
fn abort_wanted(rows: &Rows) -> bool {
    rows.iter().any(|row| row.abort_wanted())
        && rows.iter().all(|row| row.abort_wanted() || row.has_ended())
}

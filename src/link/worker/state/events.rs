//! What a child tells, on its own thread here.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::super::frame::{Bytes, Down, Load, Loaded};
use super::super::queue::Queue;
use super::{Child, OWN, Phase, Supervisor, Timer, WorkerState};
use crate::engine::Outbox;
use crate::host::wake::Side;
use crate::host::{self, process::Process};
use crate::protocol::error::Failure;
use crate::protocol::message::{Event, Work};
use crate::protocol::question::Asked;

impl Supervisor {
    pub(crate) fn say(&self, message: &Down) {
        self.state.lock().say(message);
    }

    pub(crate) fn started(&self, life: u64, process: &Arc<Process>, queue: &Arc<Queue>) {
        let mut state = self.state.lock();
        if state.closed || state.life != life {
            process.kill_here();
        }
        let load = Down::Load(Box::new(state.load.clone()));
        queue.say(&load);
        state.child = Some(Child {
            process: Arc::clone(process),
            queue: Arc::clone(queue),
            served: false,
            killed: false,
            doom: None,
        });
        self.changed.notify_all();
    }

    pub(crate) fn loaded(&self, life: u64, loaded: Result<Box<Loaded>, Box<Failure>>) {
        let mut state = self.state.lock();
        if state.life != life || state.phase != Phase::Loading {
            return;
        }
        state.phase = Phase::Loaded;
        match loaded {
            Ok(loaded) if !state.opened => {
                // What the next child loads is this, wherever the program goes meanwhile.
                let model = std::path::absolute(&loaded.model);
                let again = loaded.told.again(&state.load.options);
                state.load = Load {
                    models: vec![Bytes(model.unwrap_or_else(|_| loaded.model.clone()))],
                    options: again,
                };
                state.loaded = Some(Ok(loaded));
            }
            Ok(_) => state.open(),
            Err(failure) => state.doom(*failure),
        }
        self.changed.notify_all();
    }

    pub(crate) fn event(&self, life: u64, event: Event<'_>) {
        let mut state = self.state.lock();
        match event {
            Event::Opened(_) if state.phase == Phase::Opening => {
                let opening = state.opening.take();
                let first = !std::mem::replace(&mut state.opened, true);
                if !first {
                    state.restore_next(0);
                    drop(state);
                    return drop(opening);
                }
                state.phase = Phase::Open;
                let out = state.out.clone();
                drop(state);
                // What was held back comes before whatever the program prints next.
                drop(opening);
                host::log_printed();
                if let Some(out) = out {
                    out.put(event.into_owned(), Side::Vendor);
                }
            }
            Event::OpenFailed(failure) => {
                if let Some(child) = &mut state.child {
                    child.doom.get_or_insert(*failure);
                }
            }
            Event::Working(work) => self.working(state, work),
            Event::Asked(asked) => {
                let number = life << 32 | asked.number & u64::from(u32::MAX);
                state.asked = Some(number);
                pass(state, Event::Asked(Asked { number, ..asked }));
            }
            Event::Unasked { number } => {
                let number = life << 32 | number & u64::from(u32::MAX);
                state.asked.take_if(|asked| *asked == number);
                pass(state, Event::Unasked { number });
            }
            Event::Replied { number, outcome } if number >= OWN => match outcome {
                Ok(_) => {
                    if let Phase::Restoring(done) = state.phase {
                        state.restore_next(done + 1);
                    }
                }
                Err(failure) => state.doom(failure),
            },
            Event::Replied { number, outcome } => {
                let awaited = replied(&mut state, number, outcome.is_ok());
                if awaited {
                    pass(state, Event::Replied { number, outcome });
                }
            }
            Event::Learned { kind, width } => pass(state, Event::Learned { kind, width }),
            // After the last one it leaves, and the rest is told then. What belongs to a lane comes as such.
            _ => {}
        }
    }

    fn working(&self, mut state: MutexGuard<'_, WorkerState>, work: Option<Work>) {
        state.current = work;
        if let Some(work) = work {
            let job = state.jobs.iter_mut().find(|job| job.work == work);
            if let Some(job) = job {
                job.begun = true;
                job.frame = None;
            }
            self.mind_library(state);
        } else {
            state.jobs.retain(|job| !job.is_over(None));
        }
    }

    /// Sees to it that a library comes back from what nobody wants any more.
    pub(super) fn mind_library(&self, state: MutexGuard<'_, WorkerState>) {
        let Some(limit) = self.policy.kill_after else {
            return;
        };
        let life = state.life;
        if let Some(work) = state.unwanted_work() {
            self.later(state, limit, Timer::Overdue(life, work));
        } else if state.is_opening_for_nobody() {
            self.later(state, limit, Timer::Late(life));
        }
    }

    /// Where the events of a lane go, if it has not ended.
    pub(crate) fn lane(&self, run: u64, lane: usize) -> Option<Arc<dyn Outbox>> {
        let mut state = self.state.lock();
        state.has_served();
        let mut jobs = state.jobs.iter();
        let job = jobs.find(|job| job.work == Work::Run(run))?;
        job.lanes.get(lane)?.clone()
    }

    pub(crate) fn lane_event(&self, run: u64, lane: usize, event: Event<'_>) {
        let Event::Ended(ended) = event else {
            if let Some(out) = self.lane(run, lane) {
                out.put(event, Side::Vendor);
            }
            return;
        };
        if let Some(out) = self.end_lane(run, lane, ended.outcome.is_ok()) {
            out.put(Event::Ended(ended), Side::Vendor);
            let mut state = self.state.lock();
            if let Some(told) = state.awaited.get_mut(&(run, lane)) {
                *told = true;
                self.changed.notify_all();
            }
        }
    }

    /// Takes note of a lane's end; gives who is to be told.
    pub(super) fn end_lane(&self, run: u64, lane: usize, served: bool) -> Option<Arc<dyn Outbox>> {
        let mut state = self.state.lock();
        if served {
            state.has_served();
        }
        let current = state.current;
        let at = state
            .jobs
            .iter()
            .position(|job| job.work == Work::Run(run))?;
        let out = state.jobs[at].lanes.get_mut(lane)?.take();
        if state.jobs[at].is_over(current) {
            state.jobs.remove(at);
        } else {
            self.mind_library(state);
        }
        out
    }
}

fn pass(state: MutexGuard<'_, WorkerState>, event: Event<'static>) {
    let out = state.out.clone();
    drop(state);
    if let Some(out) = out {
        out.put(event, Side::Vendor);
    }
}

/// Takes note of an answer; false if nobody waits for it.
fn replied(state: &mut WorkerState, number: u64, well: bool) -> bool {
    let work = Work::Ask(number);
    let Some(at) = state.jobs.iter().position(|job| job.work == work) else {
        return false;
    };
    state.has_served();
    let job = state.jobs.remove(at);
    if let Some(request) = job.and_then(|job| job.request).filter(|_| well) {
        state.restore.note(request);
    }
    true
}

impl Event<'_> {
    fn into_owned(self) -> Event<'static> {
        match self {
            Event::Opened(opened) => Event::Opened(opened),
            _ => Event::Gone,
        }
    }
}

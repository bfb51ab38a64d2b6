//! What a program knows of its worker: what waits, what the worker is in, and what becomes of both when it
//! dies.
//!
//! The lock is held for a moment only. Nothing that belongs to a reader is told anything under it, since
//! readers close models.

mod commands;
mod death;
mod events;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub(super) use super::crash::Death;
use super::frame::{Down, Load, Loaded};
use super::queue::Queue;
use super::restore::Restore;
use super::{Policy, child};
use crate::engine::Outbox;
use crate::engine::deadlines::{self, Due, Why};
use crate::host::process::{Process, Program};
use crate::host::wake::Side;
use crate::host::{self, LogOfOpening};
use crate::protocol::config::ModelConfig;
use crate::protocol::error::Failure;
use crate::protocol::message::{Command, Ended, Event, Request, StopReason, Work};

/// How long the worker may take to end a run for its reader before that is done here.
const STOP: Duration = Duration::from_millis(50);
/// How many children in a row may die before they have served anything.
const LIMIT: u32 = 6;
/// The first pause between two such children, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// From this number on, requests are our own: those that restore a model's state.
const OWN: u64 = 1 << 63;

/// How far the current child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It loads the library.
    Loading,
    /// It waits to be told to open the model.
    Loaded,
    /// It opens the model.
    Opening,
    /// It is asked for what the model had been asked before; so many are done.
    Restoring(usize),
    /// It serves.
    Open,
    /// There is none; the next call starts one.
    Down,
    /// There is none, and there will be none.
    Gone,
}

/// A run or a request that has not ended.
struct Job {
    work: Work,
    /// What the worker is to be told; not needed any more when it has begun.
    frame: Option<Arc<[u8]>>,
    /// The worker knows of it.
    sent: bool,
    /// The worker has begun with it.
    begun: bool,
    /// Where the events of each lane go; none for one that has ended.
    lanes: Vec<Option<Arc<dyn Outbox>>>,
    /// What is asked, if that is to be asked again of the next child.
    request: Option<Request>,
    /// Nobody waits for the answer any more.
    left: bool,
}

impl Job {
    /// Whether anybody waits for it.
    fn is_wanted(&self) -> bool {
        match self.work {
            Work::Run(_) => self.lanes.iter().any(Option::is_some),
            Work::Ask(_) => !self.left,
        }
    }

    fn is_over(&self, current: Option<Work>) -> bool {
        matches!(self.work, Work::Run(_))
            && current != Some(self.work)
            && self.lanes.iter().all(Option::is_none)
    }
}

struct Child {
    process: Arc<Process>,
    queue: Arc<Queue>,
    /// It has given something of a run, or answered a request.
    served: bool,
    /// We have ended it: that is no failing of the library.
    killed: bool,
    /// Why its model cannot be used.
    doom: Option<Failure>,
}

/// What is looked at again later.
enum Timer {
    /// The worker was to end this lane for its reader.
    Stop(u64, usize, StopReason),
    /// The library was to come back from this, in this child.
    Overdue(u64, Work),
    /// This child was to open the model again.
    Late(u64),
    /// This child was to close its model.
    Closing(u64),
}

/// What a worker's lock guards.
struct WorkerState {
    phase: Phase,
    /// The program has closed the model.
    closed: bool,
    /// A child has opened the model; another one may follow it then.
    opened: bool,
    /// Counts children.
    life: u64,
    child: Option<Child>,
    /// What each child is told to load.
    load: Load,
    /// What the first child has loaded, until the program takes it.
    loaded: Option<Result<Box<Loaded>, Failure>>,
    /// How each child is to open the model, once the program has said so.
    config: Option<ModelConfig>,
    /// Where events of the model go.
    out: Option<Arc<dyn Outbox>>,
    /// The lines of the library while it opens the model.
    opening: Option<LogOfOpening>,
    /// In the order of the calls.
    jobs: VecDeque<Job>,
    /// What the child is in.
    current: Option<Work>,
    restore: Restore,
    /// The number of what the library asks.
    asked: Option<u64>,
    /// Children in a row that have died before they served anything.
    barren: u32,
    /// Why no further child is started.
    broken: Option<Failure>,
    /// Lanes whose end is waited for, and whether it has come.
    awaited: HashMap<(u64, usize), bool>,
    timers: HashMap<u64, Timer>,
    timer_count: u64,
}

/// One worker, as its children come and go.
pub(super) struct Supervisor {
    pub(super) program: Program,
    policy: Policy,
    state: Mutex<WorkerState>,
    changed: Condvar,
    this: Weak<Self>,
}

/// What is told to others when the lock is not held any more.
#[derive(Default)]
struct News {
    ends: Vec<(Arc<dyn Outbox>, Failure)>,
    events: Vec<Event<'static>>,
    out: Option<Arc<dyn Outbox>>,
    gone: bool,
}

impl News {
    fn tell(self, side: Side) {
        for (lane, failure) in self.ends {
            let ended = Ended::at_once(Err(failure));
            lane.put(Event::Ended(Box::new(ended)), side);
        }
        if let Some(out) = self.out {
            for event in self.events {
                out.put(event, side);
            }
            if self.gone {
                out.put(Event::Gone, side);
            }
        }
    }
}

impl Supervisor {
    pub(super) fn start(program: Program, load: Load, policy: Policy) -> Arc<Self> {
        let supervisor = Arc::new_cyclic(|this| Self {
            program,
            policy,
            state: Mutex::new(WorkerState {
                phase: Phase::Loading,
                closed: false,
                opened: false,
                life: 1,
                child: None,
                load,
                loaded: None,
                config: None,
                out: None,
                opening: None,
                jobs: VecDeque::new(),
                current: None,
                restore: Restore::default(),
                asked: None,
                barren: 0,
                broken: None,
                awaited: HashMap::new(),
                timers: HashMap::new(),
                timer_count: 0,
            }),
            changed: Condvar::new(),
            this: Weak::clone(this),
        });
        supervisor.begin_life(1, Duration::ZERO);
        supervisor
    }

    /// Starts the child of that number, on a thread of its own.
    fn begin_life(self: &Arc<Self>, life: u64, pause: Duration) {
        let this = Arc::clone(self);
        let spawned = host::spawn("rkllm-worker", move || {
            if this.rest(pause) {
                child::live(&this, life);
            }
        });
        if let Err(error) = spawned {
            let failure = Failure::system("cannot start a thread for the worker", error);
            self.died(life, &Death::of_nothing(failure));
        }
    }

    /// Waits before another child is started; false if none is wanted any more.
    fn rest(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        let waits = |state: &mut WorkerState| !state.closed;
        self.changed.wait_while_for(&mut state, waits, pause);
        if state.closed {
            let news = state.be_gone();
            self.changed.notify_all();
            drop(state);
            news.tell(Side::Vendor);
            return false;
        }
        true
    }

    fn later(&self, mut state: MutexGuard<'_, WorkerState>, limit: Duration, timer: Timer) {
        state.timer_count += 1;
        let number = state.timer_count;
        state.timers.insert(number, timer);
        drop(state);
        let this: Weak<Self> = Weak::clone(&self.this);
        deadlines::mind(this, Instant::now() + limit, Why::Left(number));
    }
}

impl Due for Supervisor {
    fn is_over(&self) -> bool {
        false
    }

    fn due(&self, why: Why) {
        let Why::Left(number) = why else { return };
        let mut state = self.state.lock();
        match state.timers.remove(&number) {
            Some(Timer::Stop(run, lane, reason)) => {
                drop(state);
                self.end_here(run, lane, reason, Side::Vendor);
            }
            Some(Timer::Overdue(life, work))
                if state.life == life && state.unwanted_work() == Some(work) =>
            {
                drop(state);
                self.kill();
            }
            Some(Timer::Late(life)) if state.life == life && state.is_opening_for_nobody() => {
                drop(state);
                self.kill();
            }
            Some(Timer::Closing(life)) if state.life == life => {
                drop(state);
                self.kill();
            }
            _ => {}
        }
    }
}

impl WorkerState {
    fn say(&self, message: &Down) {
        if let Some(child) = &self.child {
            child.queue.say(message);
        }
    }

    /// Tells the child to open the model.
    fn open(&mut self) {
        let Some(config) = self.config.clone() else {
            return;
        };
        self.phase = Phase::Opening;
        self.opening = Some(LogOfOpening::begin());
        self.say(&Down::Open(Box::new(config)));
    }

    /// Asks for the next thing that the model had been asked for; when there is none, for what waits.
    fn restore_next(&mut self, done: usize) {
        if let Some(request) = self.restore.get(done) {
            self.phase = Phase::Restoring(done);
            let number = OWN + done as u64;
            self.say(&Down::Tell(Command::Ask { number, request }));
            return;
        }
        self.phase = Phase::Open;
        let Some(child) = &self.child else { return };
        for job in &mut self.jobs {
            if let Some(frame) = &job.frame {
                job.sent = true;
                child.queue.send(Arc::clone(frame));
            }
        }
    }

    /// The current child cannot be used.
    fn doom(&mut self, failure: Failure) {
        if let Some(child) = &mut self.child {
            child.doom.get_or_insert(failure);
            child.process.kill();
        }
    }

    fn has_served(&mut self) {
        if let Some(child) = &mut self.child {
            child.served = true;
        }
    }

    /// Whether a run has begun and waits between two steps.
    fn is_paused(&self) -> bool {
        self.jobs.iter().any(|job| job.begun)
    }

    /// What the library is in, if nobody wants that any more.
    fn unwanted_work(&self) -> Option<Work> {
        let work = self.current?;
        let job = self.jobs.iter().find(|job| job.work == work);
        let wanted = match work {
            Work::Run(_) => job.is_some_and(Job::is_wanted),
            // What restores the model's state is nobody's job.
            Work::Ask(_) => job.is_none_or(Job::is_wanted),
        };
        (!wanted).then_some(work)
    }

    /// Whether the model is being opened again and nobody waits for that any more.
    fn is_opening_for_nobody(&self) -> bool {
        let opens = matches!(
            self.phase,
            Phase::Loading | Phase::Loaded | Phase::Opening | Phase::Restoring(_)
        );
        opens && self.opened && !self.jobs.iter().any(Job::is_wanted)
    }

    fn be_gone(&mut self) -> News {
        self.phase = Phase::Gone;
        self.closed = true;
        News {
            out: self.out.take(),
            gone: true,
            ..News::default()
        }
    }
}

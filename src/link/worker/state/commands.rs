//! What a program tells its worker.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::super::frame::{Down, Loaded};
use super::super::queue;
use super::super::restore::Restore;
use super::death::pause_before;
use super::{Job, News, Phase, STOP, Supervisor, Timer, WorkerState};
use crate::engine::Outbox;
use crate::host::wake::Side;
use crate::protocol::config::ModelConfig;
use crate::protocol::error::Failure;
use crate::protocol::message::{Command, Ended, Event, StopReason, Work};

impl Supervisor {
    /// Waits, `limit` at most, until the first child has loaded the library, or has failed to.
    pub(crate) fn wait_until_loaded(
        &self,
        limit: Duration,
    ) -> Option<Result<Box<Loaded>, Failure>> {
        let mut state = self.state.lock();
        let waits = |state: &mut WorkerState| state.loaded.is_none();
        self.changed.wait_while_for(&mut state, waits, limit);
        state.loaded.take()
    }

    /// Tells the child to open its model.
    pub(crate) fn open(&self, config: ModelConfig, out: Arc<dyn Outbox>) -> Result<(), Failure> {
        let mut state = self.state.lock();
        state.out = Some(out);
        state.config = Some(config);
        if state.phase == Phase::Loaded {
            state.open();
            return Ok(());
        }
        // It has died meanwhile.
        Err(state.broken.clone().unwrap_or_else(Failure::closed))
    }

    /// The model cannot be opened, for a reason that the child does not know.
    pub(crate) fn refuse(&self, failure: Failure, out: &Arc<dyn Outbox>) {
        out.put(Event::OpenFailed(Box::new(failure)), Side::Vendor);
        self.state.lock().out.get_or_insert_with(|| Arc::clone(out));
        self.close(Side::Vendor);
    }

    pub(crate) fn send(
        &self,
        command: Command,
        lanes: Vec<Arc<dyn Outbox>>,
        side: Side,
    ) -> Result<(), Failure> {
        let (work, request) = match &command {
            Command::Run { run, .. } => (Work::Run(*run), None),
            Command::Ask { number, request } => {
                let restored = Restore::wants(request).then(|| request.clone());
                (Work::Ask(*number), restored)
            }
            Command::Stop { run, lane, reason } => {
                self.stop(*run, *lane, *reason, command, side);
                return Ok(());
            }
            Command::Close => {
                self.close(side);
                return Ok(());
            }
            Command::Answer { .. } => {
                self.answer(command);
                return Ok(());
            }
            Command::Resume { .. } | Command::Look => {
                let state = self.state.lock();
                if state.closed {
                    return Err(Failure::closed());
                }
                // What was paused has died with its worker, and its reader knows.
                if state.phase == Phase::Open {
                    state.say(&Down::Tell(command));
                }
                return Ok(());
            }
        };
        let frame = queue::encode(&Down::Tell(command)).map_err(|problem| {
            let text = format!("cannot be sent to the worker: {problem}");
            Failure::invalid_with_hint("input", text, "Pass a shorter input, or isolate=False.")
        })?;
        let mut state = self.state.lock();
        if state.closed {
            return Err(Failure::closed());
        }
        if let Some(broken) = &state.broken {
            return Err(broken.clone());
        }
        let sent = state.phase == Phase::Open;
        if let (true, Some(child)) = (sent, &state.child) {
            child.queue.send(Arc::clone(&frame));
        }
        state.jobs.push_back(Job {
            work,
            frame: Some(frame),
            sent,
            begun: false,
            lanes: lanes.into_iter().map(Some).collect(),
            request,
            left: false,
        });
        if state.phase == Phase::Down {
            let pause = pause_before(state.barren);
            self.start_next(state, pause);
        }
        Ok(())
    }

    /// Starts another child.
    pub(super) fn start_next(&self, mut state: MutexGuard<'_, WorkerState>, pause: Duration) {
        state.life += 1;
        state.phase = Phase::Loading;
        let life = state.life;
        drop(state);
        if let Some(this) = self.this.upgrade() {
            this.begin_life(life, pause);
        }
    }

    fn stop(&self, run: u64, lane: usize, reason: StopReason, command: Command, side: Side) {
        let mut state = self.state.lock();
        let current = state.current;
        let Some(at) = state.jobs.iter().position(|job| job.work == Work::Run(run)) else {
            return;
        };
        let job = &mut state.jobs[at];
        if job.sent && job.lanes.get(lane).is_none_or(Option::is_none) {
            return;
        }
        if job.sent {
            state.say(&Down::Tell(command));
            if side == Side::Vendor {
                // Where deadlines are kept nobody waits.
                return self.later(state, STOP, Timer::Stop(run, lane, reason));
            }
            if !self.wait_for_end(&mut state, (run, lane)) {
                drop(state);
                self.end_here(run, lane, reason, side);
            }
            return;
        }
        let out = job.lanes.get_mut(lane).and_then(Option::take);
        if job.is_over(current) {
            state.jobs.remove(at);
        }
        self.mind_library(state);
        if let Some(out) = out {
            let ended = Ended::at_once(reason.outcome());
            out.put(Event::Ended(Box::new(ended)), side);
        }
    }

    /// Nobody waits for the answer to that request any more: a library that does not come back from it is
    /// ended as one is that ignores its abort.
    pub(crate) fn leave(&self, number: u64) {
        let mut state = self.state.lock();
        let work = Work::Ask(number);
        if let Some(job) = state.jobs.iter_mut().find(|job| job.work == work) {
            job.left = true;
            self.mind_library(state);
        }
    }

    /// Waits until a lane's reader has been told its end by the worker, which takes as long as a message
    /// there and back; false if that has not come in time.
    fn wait_for_end(&self, state: &mut MutexGuard<'_, WorkerState>, lane: (u64, usize)) -> bool {
        state.awaited.insert(lane, false);
        let waits = |state: &mut WorkerState| state.awaited.get(&lane) == Some(&false);
        self.changed.wait_while_for(state, waits, STOP);
        state.awaited.remove(&lane).unwrap_or_default()
    }

    /// Ends a lane for its reader in the worker's place.
    pub(super) fn end_here(&self, run: u64, lane: usize, reason: StopReason, side: Side) {
        if let Some(out) = self.end_lane(run, lane, false) {
            let ended = Ended::at_once(reason.outcome());
            out.put(Event::Ended(Box::new(ended)), side);
        }
    }

    fn answer(&self, command: Command) {
        let Command::Answer { number, response } = command else {
            return;
        };
        let mut state = self.state.lock();
        // One of an earlier child waits no longer.
        if state.asked.take_if(|asked| *asked == number).is_some() {
            let number = number & u64::from(u32::MAX);
            state.say(&Down::Tell(Command::Answer { number, response }));
        }
    }

    pub(crate) fn close(&self, side: Side) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let mut news = News::default();
        for job in state.jobs.drain(..) {
            let lanes = job.lanes.into_iter().flatten();
            news.ends
                .extend(lanes.map(|lane| (lane, Failure::closed())));
        }
        let life = state.life;
        match (state.phase, &mut state.child) {
            (Phase::Open, Some(child)) => {
                child.queue.say(&Down::Tell(Command::Close));
                if let Some(limit) = self.policy.kill_after {
                    self.later(state, limit, Timer::Closing(life));
                }
            }
            // There is nothing that it could lose.
            (_, Some(child)) => {
                child.killed = true;
                child.process.kill();
            }
            // Its thread looks, or there is none.
            (Phase::Down, None) => {
                let gone = state.be_gone();
                news.out = gone.out;
                news.gone = gone.gone;
            }
            (_, None) => {}
        }
        self.changed.notify_all();
        news.tell(side);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn wait_until_gone(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        let waits = |state: &mut WorkerState| state.phase != Phase::Gone;
        self.changed.wait_while_for(&mut state, waits, limit);
        state.phase == Phase::Gone
    }

    /// Whether the library is in the middle of something.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.current.is_some() || state.phase != Phase::Open
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        let state = self.state.lock();
        state.child.as_ref().map(|child| child.process.pid())
    }

    pub(crate) fn kill(&self) {
        let mut state = self.state.lock();
        if let Some(child) = &mut state.child {
            child.killed = true;
            let process = Arc::clone(&child.process);
            drop(state);
            process.kill();
        }
    }
}

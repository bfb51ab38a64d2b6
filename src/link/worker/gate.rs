//! The lock of the NPU for a worker's runs: the program holds it, so that its own block of the lock lets
//! them in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::frame::{Down, Up};
use super::outbox::Line;
use super::queue::Queue;
use crate::engine::Gate;
use crate::host;
use crate::link::npu::{Place, RunGate};
use crate::protocol::error::Failure;

/// How often a run that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// What a gate has said.
pub(super) type Entered = Result<bool, Box<Failure>>;

/// The worker's side.
pub(super) struct FarGate {
    line: Arc<Line>,
    answers: Receiver<Entered>,
}

impl FarGate {
    pub(super) fn new(line: &Arc<Line>, answers: Receiver<Entered>) -> Self {
        Self {
            line: Arc::clone(line),
            answers,
        }
    }
}

impl Gate for FarGate {
    fn enter(&mut self, limit: Duration, wanted: &dyn Fn() -> bool) -> Result<bool, Failure> {
        self.line.say_and_send(&Up::Enter(limit));
        let mut given_up = false;
        loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(entered) => return entered.map_err(|failure| *failure),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
            if !given_up && !wanted() {
                given_up = true;
                self.line.say_and_send(&Up::NotWanted);
            }
        }
    }

    fn leave(&mut self) {
        self.line.say_and_send(&Up::Leave);
    }
}

enum Wish {
    Enter(Duration),
    Leave,
}

/// The program's side, for one child: a thread of its own stands in the line.
pub(super) struct Keeper {
    queue: Arc<Queue>,
    wanted: Arc<AtomicBool>,
    wishes: Option<Sender<Wish>>,
}

impl Keeper {
    pub(super) fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: Arc::clone(queue),
            wanted: Arc::default(),
            wishes: None,
        }
    }

    /// Starts the thread, where runs will be on the NPU: before the first run, since the C library holds up what
    /// a new thread does first as long as some other thread loads a library.
    pub(super) fn start(&mut self) -> std::io::Result<()> {
        if self.wishes.is_none() {
            let (wishes, come) = channel();
            let (queue, wanted) = (Arc::clone(&self.queue), Arc::clone(&self.wanted));
            host::spawn("rkllm-npu", move || keep(&come, &queue, &wanted))?;
            self.wishes = Some(wishes);
        }
        Ok(())
    }

    pub(super) fn enter(&mut self, limit: Duration) {
        self.wanted.store(true, Ordering::Release);
        if let Err(error) = self.start() {
            let failure = Failure::system("cannot start a thread for the NPU lock", error);
            return self.queue.say(&Down::Entered(Err(Box::new(failure))));
        }
        self.wish(Wish::Enter(limit));
    }

    pub(super) fn give_up(&self) {
        self.wanted.store(false, Ordering::Release);
    }

    pub(super) fn leave(&self) {
        self.wish(Wish::Leave);
    }

    fn wish(&self, wish: Wish) {
        if let Some(wishes) = &self.wishes {
            // The thread lives as long as we do.
            let _ = wishes.send(wish);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The child is dead: what it held goes back when the thread ends.
        self.give_up();
    }
}

fn keep(wishes: &Receiver<Wish>, queue: &Queue, wanted: &AtomicBool) {
    let mut gate = RunGate::new(Place::chosen());
    for wish in wishes {
        match wish {
            Wish::Enter(limit) => {
                let entered = gate.enter(limit, &|| wanted.load(Ordering::Acquire));
                queue.say(&Down::Entered(entered.map_err(Box::new)));
            }
            Wish::Leave => gate.leave(),
        }
    }
}

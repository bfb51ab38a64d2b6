//! The lock around a block of the program: its own calls on the NPU, and its own runs.
//!
//! A thread stands in the line for it, since the program's threads and loops may not wait there, and since
//! it is on the library's side of the descriptor tables.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

use super::line::{Line, Stand};
use super::record::Use;
use super::{CHANGED, Held, PARTY, Party, Patience, Place, step_out};
use crate::host::wake::{Side, WakePair};
use crate::host::{self, fork};
use crate::protocol::error::{ErrorKind, Failure};

/// Who enters a block: a thread, or a task of an event loop on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The thread's number.
    pub thread: u64,
    /// The task's number.
    pub task: Option<u64>,
}

/// How long leaving a block waits at most for a thread of ours.
const SOON: Duration = Duration::from_secs(1);

thread_local! {
    static ANSWERING: Cell<bool> = const { Cell::new(false) };
}

/// Answers a question of a library in `f`. The run that asked holds the lock, and does nothing until it has
/// its answer: so [`Block::begin`] there has the lock at once, and other runs of this process are let in.
pub fn answering<T>(f: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ANSWERING.set(self.0);
            PARTY.lock().answers -= 1;
        }
    }
    {
        let mut party = PARTY.lock();
        party.answers += 1;
        party.changed();
    }
    let _before = Before(ANSWERING.replace(true));
    f()
}

enum Stage {
    Waiting,
    Held,
    /// There is nothing to hold.
    Free,
    /// It was not had, and whoever waits has not been told.
    Failed(Failure),
    /// Nobody wants it any more.
    Over,
}

pub(super) struct Wish {
    stage: Mutex<(Stage, Option<WakePair>)>,
    arrived: Condvar,
}

/// A block that waits for the NPU, or has it. Dropping it gives the NPU back.
///
/// The lock is one for the whole machine, held for each run of a model on the NPU as well. A process that has
/// it for a block runs its own models meanwhile without waiting.
pub struct Block {
    wish: Arc<Wish>,
    wake: Mutex<Option<WakePair>>,
    forks: u64,
}

impl Wish {
    /// Goes on to `stage`, if it is still waited for.
    fn go_on(&self, stage: Stage) -> bool {
        let mut now = self.stage.lock();
        if !matches!(now.0, Stage::Waiting) {
            return false;
        }
        now.0 = stage;
        if let Some(wake) = now.1.take() {
            wake.signal(Side::Vendor);
        }
        self.arrived.notify_all();
        true
    }

    fn is_waiting(&self) -> bool {
        matches!(self.stage.lock().0, Stage::Waiting)
    }
}

impl Block {
    /// Begins to wait. `blocks` says that the calling thread waits, and nothing else happens on it.
    ///
    /// # Errors
    /// `ErrorKind::Busy` where the thread would wait for itself; `ErrorKind::ForkedProcess`; when the system
    /// has no thread to give.
    pub fn begin(
        place: Place,
        owner: Owner,
        timeout: Option<Duration>,
        blocks: bool,
    ) -> Result<Self, Failure> {
        let forks = fork::depth();
        if forks != 0 {
            // The threads and descriptors for it are the parent's.
            return Err(forked());
        }
        let wish = Arc::new(Wish {
            stage: Mutex::new((Stage::Waiting, None)),
            arrived: Condvar::new(),
        });
        let block = Self {
            wish: Arc::clone(&wish),
            wake: Mutex::new(None),
            forks,
        };
        if place == Place::Off {
            wish.go_on(Stage::Free);
            return Ok(block);
        }
        if PARTY.lock().join(owner, blocks)? {
            wish.go_on(Stage::Held);
            return Ok(block);
        }
        if ANSWERING.get() && PARTY.lock().runs > 0 {
            wish.go_on(Stage::Free);
            return Ok(block);
        }
        if !blocks {
            let task = (owner.thread, Arc::clone(&wish));
            PARTY.lock().tasks.push(task);
        }
        let line = Line::new(place, Use::NpuLock, false);
        host::spawn("rkllm-npu", move || {
            stand_for(&wish, line, owner, timeout);
        })
        .map_err(|error| Failure::system("cannot start a thread for the NPU lock", error))?;
        Ok(block)
    }

    /// Waits, `limit` at most, until it has the lock.
    ///
    /// # Errors
    /// `ErrorKind::Busy` when its time is over; what is wrong with the lock's file.
    pub fn wait(&self, limit: Duration) -> Option<Result<(), Failure>> {
        if self.forks != fork::depth() {
            return Some(Err(forked()));
        }
        let until = Instant::now() + limit;
        let mut state = self.wish.stage.lock();
        loop {
            match std::mem::replace(&mut state.0, Stage::Over) {
                Stage::Waiting => state.0 = Stage::Waiting,
                had @ (Stage::Held | Stage::Free) => {
                    state.0 = had;
                    return Some(Ok(()));
                }
                Stage::Failed(failure) => return Some(Err(failure)),
                Stage::Over => return Some(Err(given_up())),
            }
            if self.wish.arrived.wait_until(&mut state, until).timed_out()
                && matches!(state.0, Stage::Waiting)
            {
                return None;
            }
        }
    }

    /// A descriptor that becomes readable when [`Self::wait`] has something; `None` when it has.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&self) -> std::io::Result<Option<RawFd>> {
        let mut own = self.wake.lock();
        let wake = WakePair::kept_in(&mut own)?;
        let mut state = self.wish.stage.lock();
        if !matches!(state.0, Stage::Waiting) {
            return Ok(None);
        }
        wake.clear();
        state.1 = Some(wake);
        Ok(Some(wake.host_fd()))
    }

    /// Gives the lock back, or waits for it no longer. From any thread, and again.
    pub fn leave(&self) {
        if self.forks != fork::depth() {
            return;
        }
        let stage = {
            let mut state = self.wish.stage.lock();
            state.1 = None;
            std::mem::replace(&mut state.0, Stage::Over)
        };
        let mut party = PARTY.lock();
        if matches!(stage, Stage::Held) {
            if let Some(held) = party.block.as_mut() {
                held.depth = held.depth.saturating_sub(1);
            }
            party.changed();
            // The lock is back when this returns, unless a run goes on that the block has let in.
            let until = Instant::now() + SOON;
            while party.is_left() && !CHANGED.wait_until(&mut party, until).timed_out() {}
        } else {
            party.changed();
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.leave();
        if self.forks == fork::depth() {
            if let Some(wake) = self.wake.get_mut().take() {
                // From here on nobody signals it: it was taken away in leaving.
                wake.release();
            }
        }
    }
}

impl Party {
    /// Whether nobody is in the block any more that still holds the lock.
    fn is_left(&self) -> bool {
        self.block.as_ref().is_some_and(|held| held.depth == 0) && !self.guest
    }

    /// Enters a block that its owner is in already; false if the line must be stood in.
    fn join(&mut self, owner: Owner, blocks: bool) -> Result<bool, Failure> {
        self.tasks.retain(|(_, task)| task.is_waiting());
        let mut does = self
            .tasks
            .iter()
            .any(|(thread, _)| *thread == owner.thread)
            .then_some("waits for");
        if let Some(held) = self.block.as_mut().filter(|held| held.depth > 0) {
            // A task of a thread that is in the block itself is in it, too: the thread cannot leave before.
            if held.owner == owner
                || (held.owner.task.is_none() && held.owner.thread == owner.thread)
            {
                held.depth += 1;
                return Ok(true);
            }
            if held.owner.thread == owner.thread {
                does = Some("holds");
            }
        }
        match does {
            Some(does) if blocks => {
                let text = format!(
                    "another task of this event loop {does} the NPU lock, and this call would block it"
                );
                Err(Failure::new(ErrorKind::Busy, text)
                    .with_hint("Use `async with rkllm_rs.npu_lock():` in an event loop."))
            }
            _ => Ok(false),
        }
    }
}

impl Owner {
    /// The calling thread.
    #[must_use]
    pub fn thread() -> Self {
        let thread = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        Self {
            thread: thread.into(),
            task: None,
        }
    }
}

/// Stands in the line, holds the lock until nobody is in the block any more, and steps out.
fn stand_for(wish: &Wish, mut line: Line, owner: Owner, timeout: Option<Duration>) {
    let mut patience = Patience::new(timeout);
    loop {
        let changes = PARTY.lock().changes;
        if !wish.is_waiting() {
            return step_out(&mut line);
        }
        match line.stand() {
            Ok(Stand::First) if begin_block(wish, owner) => break,
            Ok(stand) if patience.is_over(stand) => {
                let busy = patience.busy(&line);
                step_out(&mut line);
                wish.go_on(Stage::Failed(busy));
                return;
            }
            Ok(stand) => patience.wait(stand, changes),
            Err(failure) => {
                wish.go_on(Stage::Failed(failure));
                return step_out(&mut line);
            }
        }
    }
    let mut party = PARTY.lock();
    while !party.is_left() {
        CHANGED.wait(&mut party);
    }
    line.step_out();
    party.block = None;
    party.changed();
}

/// The block has the lock, unless another one of this process has that of another file, or it is not waited
/// for any more.
fn begin_block(wish: &Wish, owner: Owner) -> bool {
    let mut party = PARTY.lock();
    let begins = party.block.is_none() && wish.go_on(Stage::Held);
    if begins {
        party.block = Some(Held { owner, depth: 1 });
    }
    begins
}

fn given_up() -> Failure {
    Failure::new(ErrorKind::Busy, "the wait for the NPU lock was cancelled")
}

fn forked() -> Failure {
    Failure::new(
        ErrorKind::ForkedProcess,
        "the NPU lock was used before fork(), so this process cannot use it",
    )
    .with_hint("Start the process with the \"spawn\" method.")
}

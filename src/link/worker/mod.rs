//! An engine in a child process, so that a library that crashes takes nothing else with it.
//!
//! A worker is what a program sees: one after the other, children of it may die. Each child has two threads
//! here, one that reads from it and one that writes to it, both on the library's side of the descriptor
//! tables.

mod child;
mod crash;
mod frame;
mod gate;
#[cfg(all(test, feature = "interleavings"))]
#[path = "../../../tests/shuttle/worker.rs"]
mod interleavings;
mod outbox;
mod pool;
mod queue;
mod restore;
mod rows;
mod serve;
mod state;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing {
    //! What reads the other process's bytes here, for `fuzz/`.

    use serde::{Deserialize, Serialize};

    use super::frame::{Down, Frames, Problem, Up, write};

    /// What a program and its worker send each other.
    pub fn frames(bytes: &[u8]) {
        frames_from_program(bytes);
        frames_from_worker(bytes);
    }

    /// What a worker reads.
    fn frames_from_program(bytes: &[u8]) {
        let mut frames = came(bytes);
        while let Ok(Some(message)) = frames.next::<Down>() {
            again(&message, |frames| write_next::<Down>(frames));
        }
    }

    /// What a program reads.
    fn frames_from_worker(bytes: &[u8]) {
        let mut frames = came(bytes);
        while let Ok(Some(message)) = frames.next::<Up<'_>>() {
            again(&message, |frames| write_next::<Up<'_>>(frames));
        }
    }

    fn came(bytes: &[u8]) -> Frames {
        let mut frames = Frames::default();
        for part in bytes.chunks(1 << 16) {
            frames.room()[..part.len()].copy_from_slice(part);
            frames.came(part.len());
        }
        frames
    }

    fn write_next<'a, T: Serialize + Deserialize<'a>>(
        frames: &'a mut Frames,
    ) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        if let Some(message) = frames.next::<T>()? {
            write(&message, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// What was read is written and read again as the same.
    fn again(message: &impl Serialize, next: impl FnOnce(&mut Frames) -> Result<Vec<u8>, Problem>) {
        let mut bytes = Vec::new();
        write(message, &mut bytes).expect("it was no longer than a frame");
        let written = next(&mut came(&bytes)).expect("it was read before");
        assert_eq!(bytes, written);
    }
}

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::frame::{Bytes, Load};
use self::state::Supervisor;
use super::Link;
use crate::engine::registry::{self, Life};
use crate::engine::{Outbox, deadlines};
use crate::host::wake::Side;
use crate::host::{self, fork};
use crate::protocol::config::ModelConfig;
use crate::protocol::error::Failure;
use crate::protocol::message::Command;
use crate::runtime::{LoadOptions, Runtime};

pub use self::serve::serve;
pub use crate::host::process::Program;

/// What is done about a worker that dies, or does not answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The next call starts another one.
    pub restart: bool,
    /// After so long a library that has been asked to abort is killed.
    pub kill_after: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: true,
            kill_after: None,
        }
    }
}

/// A worker that has been started, and that loads the library for a model.
pub struct Worker {
    supervisor: Arc<Supervisor>,
    /// The model is its link's from then on.
    opened: bool,
    forks: u64,
}

/// What a worker has loaded.
#[derive(Debug)]
pub struct Found {
    /// The model's file.
    pub model: PathBuf,
    /// The library, which is loaded there and not here.
    pub runtime: Arc<Runtime>,
    /// What the caller should know.
    pub warnings: Vec<String>,
    /// Why a model that came first in order was passed over.
    pub fallback: Option<String>,
}

impl Worker {
    /// Starts `program`, which must call [`serve`]. It chooses one of the models, and loads the library
    /// for it.
    ///
    /// # Errors
    /// `ErrorKind::Model` where the system has no thread to give, `ErrorKind::ForkedProcess` in a child
    /// of a process that has used the library or a worker.
    pub fn start(
        program: Program,
        models: Vec<PathBuf>,
        options: LoadOptions,
        policy: Policy,
    ) -> Result<Self, Failure> {
        if fork::depth() != 0 {
            return Err(crate::runtime::Error::ForkedRuntime.into());
        }
        let refused = |error| Failure::system("cannot start a thread for the worker", error);
        host::keep_log().map_err(refused)?;
        deadlines::start()?;
        let models = models.into_iter().map(Bytes).collect();
        let load = Load { models, options };
        Ok(Self {
            supervisor: Supervisor::start(program, load, policy),
            opened: false,
            forks: fork::depth(),
        })
    }

    /// Waits, `limit` at most, until the library is loaded.
    ///
    /// # Errors
    /// As `runtime::backend::resolve`; `ErrorKind::WorkerCrashed`.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Option<Result<Found, Failure>> {
        let loaded = match self.supervisor.wait_until_loaded(limit)? {
            Err(failure) => return Some(Err(failure)),
            Ok(loaded) => *loaded,
        };
        Some(Ok(Found {
            model: loaded.model,
            runtime: Arc::new(Runtime::elsewhere(loaded.told)),
            warnings: loaded.warnings,
            fallback: loaded.fallback,
        }))
    }

    /// Begins to open the model; events that belong to no run come to `out`.
    ///
    /// # Errors
    /// `ErrorKind::WorkerCrashed`.
    pub(crate) fn open(
        mut self,
        config: ModelConfig,
        out: Arc<dyn Outbox>,
    ) -> Result<Arc<dyn Link>, Failure> {
        let supervisor = Arc::clone(&self.supervisor);
        let life: Arc<dyn Life> = Arc::clone(&supervisor) as _;
        registry::add(&life)?;
        let limit = config.open_timeout();
        // Models that were closed before are let go of first: there may be memory for one only.
        if registry::wait_for_closing(&life, Duration::ZERO).is_ok() {
            supervisor.open(config, out)?;
        } else {
            let waiting = Arc::clone(&supervisor);
            host::spawn("rkllm-open", move || {
                let opened = registry::wait_for_closing(&life, limit)
                    .and_then(|()| waiting.open(config, Arc::clone(&out)));
                if let Err(failure) = opened {
                    waiting.refuse(failure, &out);
                }
            })
            .map_err(|error| Failure::system("cannot start a thread for the worker", error))?;
        }
        self.opened = true;
        Ok(supervisor)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // In a forked child it is the parent's, and any lock may be held for ever.
        if !self.opened && self.forks == fork::depth() {
            self.supervisor.close(Side::Host);
        }
    }
}

impl Link for Supervisor {
    fn send(
        &self,
        command: Command,
        lanes: Vec<Arc<dyn Outbox>>,
        side: Side,
    ) -> Result<(), Failure> {
        Supervisor::send(self, command, lanes, side)
    }

    fn leave(&self, number: u64) {
        Supervisor::leave(self, number);
    }

    fn is_closed(&self) -> bool {
        Supervisor::is_closed(self)
    }

    fn wait_until_gone(&self, limit: Duration) -> bool {
        Supervisor::wait_until_gone(self, limit)
    }

    fn closing_time(&self) -> Duration {
        // The end of an idle process gives its memory back, which is worth waiting for.
        let idle = !self.is_busy();
        Duration::from_millis(if idle { 1000 } else { 50 })
    }

    fn pid(&self) -> Option<u32> {
        Supervisor::pid(self)
    }
}

impl Life for Supervisor {
    fn only_one(&self) -> Option<&Arc<Runtime>> {
        None
    }

    fn is_closed(&self) -> bool {
        Supervisor::is_closed(self)
    }

    fn wait_until_gone(&self, limit: Duration) -> bool {
        Supervisor::wait_until_gone(self, limit)
    }

    fn close(&self, side: Side) {
        Supervisor::close(self, side);
    }

    fn kill(&self) -> bool {
        Supervisor::kill(self);
        true
    }
}

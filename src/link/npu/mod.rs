//! One NPU is shared by all: the machine's lock, which each run of a library holds, and each block of a
//! program that asks for it.
//!
//! Processes stand in a line in a file ([`line`]). A process that holds the lock for a block of its own
//! (`block`) lets its own runs in, one at a time (`run`).

mod block;
#[cfg(all(test, feature = "interleavings"))]
#[path = "../../../tests/shuttle/npu.rs"]
mod interleavings;
mod line;
mod look;
mod place;
mod record;
mod run;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing {
    //! What reads the lock's file here, for `fuzz/`.

    /// The records of a lock's file of these bytes.
    ///
    /// # Panics
    /// A record says what cannot be shown.
    pub fn npu_record(bytes: &[u8]) {
        super::record::read_all(bytes);
    }
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, statics};

use crate::protocol::error::{ErrorKind, Failure};

pub use block::{Block, Owner, answering};
pub use look::{Look, look};
pub use place::Place;
pub use record::{Record, Use};
pub(crate) use run::RunGate;

/// What this process does with the lock that it holds.
struct Party {
    /// The block that holds it. It stays until the last run that it let in is over.
    block: Option<Held>,
    /// Whether a run is in it that stands in no line itself.
    guest: bool,
    /// How many runs hold the lock for themselves.
    runs: usize,
    /// How many questions of runs are being answered.
    answers: usize,
    /// The threads of tasks that have begun to wait for a block.
    tasks: Vec<(u64, Arc<block::Wish>)>,
    /// Counts changes, here and of the lines that this process stands in: who has looked at both, and found
    /// nothing for himself, sees whether he must look again.
    changes: u64,
}

struct Held {
    /// Who is in the block, and how often; nobody any more if 0.
    owner: Owner,
    depth: usize,
}

statics! {
static PARTY: Mutex<Party> = Mutex::new(Party {
    block: None,
    guest: false,
    runs: 0,
    answers: 0,
    tasks: Vec::new(),
    changes: 0,
});
/// Told when [`Party::changes`] has grown.
static CHANGED: Condvar = Condvar::new();
}

/// How soon one who waits looks again: first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// How much longer one waits at a door that is closed.
const DOOR: Duration = Duration::from_millis(250);

/// A growing pause between two looks, up to the end of a time.
struct Patience {
    until: Option<Instant>,
    limit: Option<Duration>,
    pause: Duration,
}

impl Patience {
    /// Without a limit it has no end.
    fn new(limit: Option<Duration>) -> Self {
        Self {
            until: limit.and_then(|limit| Instant::now().checked_add(limit)),
            limit,
            pause: LOOK.0,
        }
    }

    /// Whether one who stands so has waited enough. A door that is closed opens in a moment, and says
    /// nothing of the line behind it.
    fn is_over(&self, stand: line::Stand) -> bool {
        let more = match stand {
            line::Stand::AtTheDoor => DOOR,
            _ => Duration::ZERO,
        };
        self.until
            .is_some_and(|until| Instant::now() >= until + more)
    }

    /// Waits a moment, or until something changes in this process that was not counted in `changes` yet.
    fn wait(&mut self, stand: line::Stand, changes: u64) {
        // The door is open again in a few microseconds.
        let pause = match stand {
            line::Stand::AtTheDoor => LOOK.0 / 10,
            _ => self.pause,
        };
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let mut party = PARTY.lock();
        if party.changes == changes {
            CHANGED.wait_for(&mut party, pause.min(left.unwrap_or(pause)));
        }
        if stand != line::Stand::AtTheDoor {
            self.pause = LOOK.1.min(self.pause * 2);
        }
    }

    /// It is over: who has the lock.
    fn busy(&self, line: &line::Line) -> Failure {
        let seconds = self.limit.unwrap_or_default().as_secs_f64();
        let holder = line
            .holder()
            .unwrap_or_else(|| "another program".to_owned());
        let text = format!("the NPU is in use by {holder}; waited {seconds} s");
        Failure::new(ErrorKind::Busy, text).with_hint(
            "Run `rkllm-rs ps` to see who holds it and who waits, and try again later or wait longer.",
        )
    }
}

impl Party {
    /// Lets those who wait look again.
    fn changed(&mut self) {
        self.changes += 1;
        CHANGED.notify_all();
    }
}

/// Steps out of the line, and lets others of this process look at once.
fn step_out(line: &mut line::Line) {
    line.step_out();
    PARTY.lock().changed();
}

//! What `userdata` points to.

use std::sync::Arc;

use parking_lot::Mutex;
use rkllm_ffi::cpu_table::GetPromptFigures;
use rkllm_ffi::shared::LLMHandle;

use super::calls::filled;
use super::kept;
use super::lane::{Lane, Lanes, PromptTokens};

/// Asks the CPU runtime how many tokens the prompts of the present run took.
pub(super) struct AsksFigures {
    pub(super) ask: GetPromptFigures,
    /// Of the run that is under way.
    pub(super) handle: LLMHandle,
}

impl AsksFigures {
    fn tell(&self, lanes: &[Arc<dyn Lane>]) {
        // SAFETY: the table belongs to the library of this handle, which is in a run and so alive, and
        // answers inside of its callback; there is as much room as is told.
        let figures =
            filled(|figures, room| unsafe { (self.ask)(self.handle, figures.as_mut_ptr(), room) });
        let count = |tokens: i32| usize::try_from(tokens).unwrap_or(0);
        for (lane, figures) in lanes.iter().zip(figures.unwrap_or_default()) {
            lane.prompt(PromptTokens {
                all: Some(count(figures.prompt_tokens)),
                cached: Some(count(figures.cached_tokens)),
            });
        }
    }
}

/// A run in its slot.
struct Bound {
    lanes: Lanes,
    /// Until its first callback.
    figures: Option<AsksFigures>,
}

/// The place of one run. The library may call back late, even after the run has returned, so a slot
/// is never freed, and is used for another run only after all others have been.
pub(super) struct Slot {
    bound: Mutex<Option<Bound>>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            bound: Mutex::new(None),
        }
    }

    /// What `f` makes of the run's lanes; `None` when the run is over.
    pub(super) fn with<T>(&self, f: impl FnOnce(&[Arc<dyn Lane>]) -> T) -> Option<T> {
        let mut bound = self.bound.lock();
        let bound = bound.as_mut()?;
        if let Some(figures) = bound.figures.take() {
            figures.tell(&bound.lanes);
        }
        Some(f(&bound.lanes))
    }

    /// [`Self::with`] for what comes before the run's first callback: the prompts have no figures yet.
    pub(super) fn before_callback(&self, f: impl FnOnce(&[Arc<dyn Lane>])) {
        // Not under the lock: it may wait for the program.
        let lanes = self.bound.lock().as_ref().map(|one| Arc::clone(&one.lanes));
        if let Some(lanes) = lanes {
            f(&lanes);
        }
    }
}

/// The slots of one model.
pub(super) struct Slots {
    all: &'static [Slot],
    next: usize,
}

impl Slots {
    /// How many runs must come and go before a late call could be taken for a later run's.
    const COUNT: usize = 16;

    pub(super) fn new() -> Self {
        // A few hundred bytes a model: a callback after destroy finds memory that is still its own.
        let all = kept::for_ever([const { Slot::new() }; Self::COUNT]);
        Self { all, next: 0 }
    }

    /// The slot for the next run, filled with its lanes, and with whom to ask how much its prompts took.
    pub(super) fn bind(&mut self, lanes: Lanes, figures: Option<AsksFigures>) -> &'static Slot {
        let slot = &self.all[self.next];
        self.next = (self.next + 1) % self.all.len();
        *slot.bound.lock() = Some(Bound { lanes, figures });
        slot
    }

    /// From here on calls with this slot are dropped.
    pub(super) fn release(slot: &Slot) {
        *slot.bound.lock() = None;
    }
}

//! What `userdata` points to.

use std::sync::Arc;

use parking_lot::Mutex;

use super::lane::{Lane, Lanes};

/// The place of one run. The library may call back late, even after the run has returned, so a slot
/// is never freed, and is used for another run only after all others have been.
pub(super) struct Slot {
    lanes: Mutex<Option<Lanes>>,
}

impl Slot {
    /// What `f` makes of the run's lanes; `None` when the run is over.
    pub(super) fn with<T>(&self, f: impl FnOnce(&[Arc<dyn Lane>]) -> T) -> Option<T> {
        self.lanes.lock().as_deref().map(f)
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
        let all: Vec<Slot> = (0..Self::COUNT)
            .map(|_| Slot {
                lanes: Mutex::new(None),
            })
            .collect();
        // Leaked on purpose, a few hundred bytes a model: a callback after destroy finds memory
        // that is still its own.
        Self {
            all: Box::leak(all.into_boxed_slice()),
            next: 0,
        }
    }

    /// The slot for the next run, filled with its lanes.
    pub(super) fn bind(&mut self, lanes: Lanes) -> &'static Slot {
        let slot = &self.all[self.next];
        self.next = (self.next + 1) % self.all.len();
        *slot.lanes.lock() = Some(lanes);
        slot
    }

    /// From here on calls with this slot are dropped.
    pub(super) fn release(slot: &Slot) {
        *slot.lanes.lock() = None;
    }
}

//! What `userdata` points to.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::delivery::Delivery;

/// The place of one run. The library may call back late, even after the run has returned, so a slot
/// is never freed, and is used for another run only after all others have been.
pub(super) struct Slot {
    delivery: Mutex<Option<Arc<Delivery>>>,
}

impl Slot {
    pub(super) fn with(&self, f: impl FnOnce(&Delivery)) {
        if let Some(delivery) = &*self.delivery.lock() {
            f(delivery);
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
        let all: Vec<Slot> = (0..Self::COUNT)
            .map(|_| Slot {
                delivery: Mutex::new(None),
            })
            .collect();
        // Leaked on purpose, a few hundred bytes a model: a callback after destroy finds memory
        // that is still its own.
        Self {
            all: Box::leak(all.into_boxed_slice()),
            next: 0,
        }
    }

    /// The slot for the next run, filled with its delivery.
    pub(super) fn bind(&mut self, delivery: Arc<Delivery>) -> &'static Slot {
        let slot = &self.all[self.next];
        self.next = (self.next + 1) % self.all.len();
        *slot.delivery.lock() = Some(delivery);
        slot
    }

    /// From here on calls with this slot are dropped.
    pub(super) fn release(slot: &Slot) {
        *slot.delivery.lock() = None;
    }
}

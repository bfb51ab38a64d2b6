//! Rows that a worker has lent: its shared memory, as mapped here.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::frame::Down;
use super::queue::Queue;
use crate::host::shared::Segment;
use crate::host::{FloatBlock, Lease, Lender, fork};
use crate::protocol::output::RowsKind;

struct Mapped {
    /// None where this process has no room for it.
    segment: Option<Arc<Segment>>,
    /// How many forks there had been when it was lent; none while it is not.
    lent: Option<u64>,
}

/// The shared memory of one child.
pub(super) struct Memory {
    mapped: Mutex<HashMap<u32, Mapped>>,
    queue: Arc<Queue>,
    this: Weak<Self>,
}

/// Why rows could not be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The worker says what cannot be.
    Lie,
    /// There is no memory for them here.
    NoMemory,
}

impl Memory {
    pub(super) fn new(queue: &Arc<Queue>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            mapped: Mutex::default(),
            queue: Arc::clone(queue),
            this: Weak::clone(this),
        })
    }

    /// Maps a file that has come; false if it cannot be what was announced.
    pub(super) fn came(&self, number: u32, size: usize, fd: &OwnedFd) -> bool {
        let segment = match Segment::map(fd, size) {
            Ok(segment) => Some(segment),
            Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => None,
            Err(_) => return false,
        };
        let mapped = Mapped {
            segment,
            lent: None,
        };
        self.mapped.lock().insert(number, mapped).is_none()
    }

    /// It will not be used any more.
    pub(super) fn forget(&self, number: u32) {
        // Views keep what they look at.
        self.mapped.lock().remove(&number);
    }

    /// Memory of that number, in which rows are when it has been written for the `serial`th time.
    pub(super) fn borrow(
        &self,
        (number, serial): (u32, u32),
        kind: RowsKind,
        rows: usize,
        width: usize,
    ) -> Result<FloatBlock, Refused> {
        let back = self.this.upgrade().ok_or(Refused::Lie)?;
        let segment = {
            let mut mapped = self.mapped.lock();
            let one = mapped.get_mut(&number).ok_or(Refused::Lie)?;
            if one.lent.replace(fork::count()).is_some() {
                return Err(Refused::Lie);
            }
            let Some(segment) = one.segment.clone() else {
                // There may be room for other memory later.
                mapped.remove(&number);
                self.queue.say(&Down::Drop(number));
                return Err(Refused::NoMemory);
            };
            segment
        };
        let lease = Lease {
            segment,
            number,
            serial,
            back,
        };
        FloatBlock::shared(kind, lease, rows, width).ok_or(Refused::Lie)
    }
}

impl Lender for Memory {
    fn back(&self, number: u32, _segment: &Arc<Segment>) {
        // In a forked child it is the parent's, and any lock may be held for ever.
        if fork::depth() != 0 {
            return;
        }
        let mut mapped = self.mapped.lock();
        let lent = mapped.get_mut(&number).and_then(|one| one.lent.take());
        self.queue.say(&if lent == Some(fork::count()) {
            Down::Back(number)
        } else {
            // A child that was forked meanwhile may still look at the rows.
            mapped.remove(&number);
            Down::Drop(number)
        });
    }
}

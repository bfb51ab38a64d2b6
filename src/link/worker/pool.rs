//! The worker's side: shared memory for rows, which both processes look at until each has let go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::frame::Up;
use super::outbox::Line;
use crate::host::shared::Segment;
use crate::host::{Lease, Lender};

/// How much shared memory is kept for the next rows.
const KEPT: usize = 64 << 20;

#[derive(Default)]
struct Segments {
    /// The number of the newest.
    last: u32,
    free: Vec<(u32, Arc<Segment>)>,
    /// What the program may look at, and whether this process and the program have it.
    lent: HashMap<u32, Lent>,
}

/// A segment that both processes may have.
struct Lent {
    segment: Arc<Segment>,
    here: bool,
    there: bool,
    /// It may be used for other rows then.
    again: bool,
}

/// Shared memory for rows.
pub(super) struct Pool {
    line: Arc<Line>,
    segments: Mutex<Segments>,
    this: Weak<Self>,
}

impl Pool {
    pub(super) fn new(line: &Arc<Line>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            line: Arc::clone(line),
            segments: Mutex::default(),
            this: Weak::clone(this),
        })
    }

    /// Memory for `size` bytes: some that was used before, or new one, of which the program is told.
    pub(super) fn take(&self, size: usize) -> std::io::Result<Lease> {
        let back = self.this.upgrade().ok_or(std::io::ErrorKind::OutOfMemory)?;
        let mut segments = self.segments.lock();
        let fits = |(_, segment): &(u32, Arc<Segment>)| {
            segment.room() >= size && segment.room() / 2 <= size.max(64 * 1024)
        };
        let at = segments.free.iter().position(fits);
        let (number, segment) = if let Some(at) = at {
            segments.free.swap_remove(at)
        } else {
            segments.last += 1;
            let number = segments.last;
            drop(segments);
            let (segment, fd) = Segment::create(size)?;
            self.line.give_memory(number, segment.size(), &fd);
            (number, segment)
        };
        // Nobody writes to it meanwhile.
        let serial = segment.written().load(Ordering::Relaxed).wrapping_add(1);
        Ok(Lease {
            segment,
            number,
            serial,
            back,
        })
    }

    /// The program has it as well from now on, until [`Self::returned`].
    pub(super) fn lend(&self, number: u32, segment: &Arc<Segment>) {
        let lent = Lent {
            segment: Arc::clone(segment),
            here: true,
            there: true,
            again: true,
        };
        self.segments.lock().lent.insert(number, lent);
    }

    /// The program does not look at it any more, which may be before all of it is written. If it is not to be
    /// used `again`, the program has forgotten it.
    pub(super) fn returned(&self, number: u32, again: bool) {
        let mut segments = self.segments.lock();
        self.let_go(&mut segments, number, |lent| {
            lent.there = false;
            lent.again = again;
        });
    }

    /// It is free when neither process has it.
    fn let_go(&self, segments: &mut Segments, number: u32, whose: impl FnOnce(&mut Lent)) {
        let Some(lent) = segments.lent.get_mut(&number) else {
            return;
        };
        whose(lent);
        if !lent.here && !lent.there {
            if let Some(lent) = segments.lent.remove(&number).filter(|lent| lent.again) {
                self.keep(segments, number, lent.segment);
            }
        }
    }

    /// Keeps a segment for the next rows, or has the program forget it too.
    fn keep(&self, segments: &mut Segments, number: u32, segment: Arc<Segment>) {
        let kept: usize = segments.free.iter().map(|(_, free)| free.size()).sum();
        if kept + segment.size() > KEPT {
            self.line.say(&Up::Forget(number));
        } else {
            segments.free.push((number, segment));
        }
    }
}

impl Lender for Pool {
    fn back(&self, number: u32, segment: &Arc<Segment>) {
        let mut segments = self.segments.lock();
        if segments.lent.contains_key(&number) {
            self.let_go(&mut segments, number, |lent| lent.here = false);
        } else {
            self.keep(&mut segments, number, Arc::clone(segment));
        }
    }
}

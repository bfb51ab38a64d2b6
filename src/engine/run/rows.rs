//! The part of a lane that hands on rows in place of an answer.

use std::time::Instant;

use super::{Inner, RunLane};
use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::protocol::message::Event;

/// What is known of the rows that a lane has lent.
#[derive(Default)]
pub(super) struct Rows {
    /// How wide they were.
    pub(super) width: Option<usize>,
    /// How many blocks have been lent.
    count: u64,
    /// The block that was lent, and whose rows are being copied.
    coming: Option<u64>,
}

impl RunLane {
    pub(in crate::engine) fn width(&self) -> Option<usize> {
        self.inner.lock().rows.width
    }

    pub(super) fn tell_of_rows(&self, shared: Option<&FloatBlock>) {
        let mut inner = self.inner.lock();
        if !inner.ended {
            let block = shared.map(|block| self.lend(&mut inner, block.clone()));
            inner.rows.coming = block;
            self.out.put(Event::RowsCome(block), Side::Vendor);
        }
    }

    pub(super) fn hand_on_rows(&self, block: FloatBlock) {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        let coming = inner.rows.coming.take();
        if inner.ended {
            return;
        }
        inner.first_token.get_or_insert_with(Instant::now);
        let width = block.width();
        inner.rows.width = Some(width);
        let block = coming.unwrap_or_else(|| self.lend(&mut inner, block));
        self.out.put(Event::Rows { block, width }, Side::Vendor);
    }

    fn lend(&self, inner: &mut Inner, block: FloatBlock) -> u64 {
        inner.rows.count += 1;
        self.out.lend(inner.rows.count, block);
        inner.rows.count
    }
}

//! Copies of the rows that the library shows: logits and hidden states.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::shared::Segment;

use crate::protocol::output::RowsKind;

/// As many floats take longer to copy than it takes to tell of them: 64 KiB.
const LONG: usize = 16 * 1024;

/// Rows of floats, copied out of the library's memory once; clones share them.
///
/// What looks into the memory from outside (a NumPy view) may also write into it. So it is kept as an
/// address, and nothing in this crate holds a reference to the floats beyond a call.
#[derive(Clone)]
pub struct FloatBlock {
    memory: Arc<Memory>,
    /// What they are.
    pub kind: RowsKind,
    rows: usize,
    width: usize,
}

struct Memory {
    at: NonNull<f32>,
    length: usize,
    owner: Owner,
}

/// Whose the memory is.
enum Owner {
    /// A vector that was taken apart, of this capacity.
    Heap(usize),
    /// Shared with another process.
    Shared(Lease),
}

/// A part of shared memory that is in use; dropping it gives it back.
pub(crate) struct Lease {
    pub(crate) segment: Arc<Segment>,
    pub(crate) number: u32,
    /// What [`Segment::written`] is when the rows are there.
    pub(crate) serial: u32,
    pub(crate) back: Arc<dyn Lender>,
}

/// Gets shared memory back.
pub(crate) trait Lender: Send + Sync {
    /// The memory of that number is not used any more.
    fn back(&self, number: u32, segment: &Arc<Segment>);
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.back.back(self.number, &self.segment);
    }
}

/// Gives shared memory for copies; none where the library is in the reader's process.
pub(crate) type Source = dyn Fn(usize) -> std::io::Result<Lease> + Send + Sync;

static SOURCE: OnceLock<Box<Source>> = OnceLock::new();

/// From here on rows are copied into memory of `source`.
pub(crate) fn copy_into(source: Box<Source>) {
    let _ = SOURCE.set(source);
}

// SAFETY: floats that stay where they are, of a vector or of a mapping that the lease holds; who writes through a
// view is the owner of the view.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Owner::Heap(capacity) = self.owner {
            // SAFETY: the parts are those of the vector that `FloatBlock::new` took apart.
            drop(unsafe { Vec::from_raw_parts(self.at.as_ptr(), self.length, capacity) });
        }
    }
}

/// Why rows could not be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyProblem {
    /// The counts are negative, or too large for this machine.
    Counts,
    /// There is no memory for them.
    Memory,
}

impl FloatBlock {
    /// Takes `values`, `rows` rows of them.
    #[must_use]
    pub fn new(kind: RowsKind, values: Vec<f32>, rows: usize) -> Self {
        let width = values.len().checked_div(rows).unwrap_or(0);
        let mut values = std::mem::ManuallyDrop::new(values);
        // A vector's address is never null.
        let at = NonNull::from(values.as_mut_slice()).cast();
        Self {
            memory: Arc::new(Memory {
                at,
                length: values.len(),
                owner: Owner::Heap(values.capacity()),
            }),
            kind,
            rows,
            width,
        }
    }

    /// Copies what the library shows. Into shared memory as much may be copied that a reader can wake
    /// meanwhile: then `coming` gets the block before its rows are there.
    ///
    /// # Safety
    /// `values` points to `rows` × `width` floats that stay as they are during the call.
    pub(crate) unsafe fn copy(
        kind: RowsKind,
        values: *const f32,
        rows: i32,
        width: i32,
        coming: impl FnOnce(Option<&Self>),
    ) -> Result<Self, CopyProblem> {
        let rows = usize::try_from(rows).map_err(|_| CopyProblem::Counts)?;
        let width = usize::try_from(width).map_err(|_| CopyProblem::Counts)?;
        let length = rows
            .checked_mul(width)
            .filter(|length| *length <= isize::MAX as usize / size_of::<f32>())
            .ok_or(CopyProblem::Counts)?;
        if let Some(source) = SOURCE.get() {
            let lease = source(length * size_of::<f32>()).map_err(|_| CopyProblem::Memory)?;
            let block = Self::shared(kind, lease, rows, width).ok_or(CopyProblem::Memory)?;
            coming((length >= LONG).then_some(&block));
            // SAFETY: the caller's promise, and room for as many, as `shared` has checked. Nobody else uses it: its
            // lender lends it once, and a reader that has it already looks at no float before `is_written`.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    values.cast::<u8>(),
                    block.memory.at.as_ptr().cast::<u8>(),
                    length * size_of::<f32>(),
                );
            }
            if let Some(Lease {
                segment, serial, ..
            }) = block.lease()
            {
                segment.written().store(*serial, Ordering::Release);
            }
            return Ok(block);
        }
        coming(None);
        let mut copy = Vec::new();
        copy.try_reserve_exact(length)
            .map_err(|_| CopyProblem::Memory)?;
        // SAFETY: the caller's promise, and room for as many; copied as bytes, since nobody promises
        // how the library aligns them. All bytes are floats.
        unsafe {
            let to: *mut f32 = copy.as_mut_ptr();
            std::ptr::copy_nonoverlapping(
                values.cast::<u8>(),
                to.cast::<u8>(),
                length * size_of::<f32>(),
            );
            copy.set_len(length);
        }
        Ok(Self::new(kind, copy, rows))
    }

    /// Rows in shared memory; `None` if it has no room for as many.
    pub(crate) fn shared(kind: RowsKind, lease: Lease, rows: usize, width: usize) -> Option<Self> {
        let length = rows.checked_mul(width)?;
        if length.checked_mul(size_of::<f32>())? > lease.segment.room() {
            return None;
        }
        Some(Self {
            memory: Arc::new(Memory {
                at: lease.segment.address(),
                length,
                owner: Owner::Shared(lease),
            }),
            kind,
            rows,
            width,
        })
    }

    /// The shared memory that it is in, if it is.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match &self.memory.owner {
            Owner::Heap(_) => None,
            Owner::Shared(lease) => Some(lease),
        }
    }

    /// Whether the rows are there: shared memory may be lent before.
    pub(crate) fn is_written(&self) -> bool {
        self.lease()
            .is_none_or(|lease| lease.segment.written().load(Ordering::Acquire) == lease.serial)
    }

    /// Joins blocks of one width, in their order; `None` if there are none or they do not fit.
    #[must_use]
    pub fn join(mut blocks: Vec<Self>) -> Option<Self> {
        if blocks.len() <= 1 {
            return blocks.pop();
        }
        let (kind, width) = (blocks[0].kind, blocks[0].width);
        if blocks.iter().any(|block| block.width != width) {
            return None;
        }
        let rows = blocks.iter().map(|block| block.rows).sum();
        let mut all = Vec::new();
        all.try_reserve_exact(width.checked_mul(rows)?).ok()?;
        for block in &blocks {
            block.with(|values| all.extend_from_slice(values));
        }
        Some(Self::new(kind, all, rows))
    }

    /// Rows: one for each position of the input.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Floats in a row: the size of the vocabulary, or the model's width.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Where the floats begin; they stay there as long as a clone of this block lives.
    #[must_use]
    pub fn address(&self) -> usize {
        self.memory.at.as_ptr().expose_provenance()
    }

    /// How many floats there are.
    #[must_use]
    pub fn length(&self) -> usize {
        self.memory.length
    }

    /// Looks at the floats. Whoever writes through a view at the same time gets what he asked for.
    pub fn with<T>(&self, look: impl FnOnce(&[f32]) -> T) -> T {
        // SAFETY: the memory holds so many floats as long as `self` lives, and any bytes are floats. Shared
        // memory is another process's to write only until `is_written`, and a block is given to no reader before
        // that or the event that follows it (`client::inbox`). A program that writes through a view of its own
        // while another thread, or a forked child, of its own reads has a race of its own making, as with any
        // array library; nobody else writes.
        look(unsafe { std::slice::from_raw_parts(self.memory.at.as_ptr(), self.memory.length) })
    }
}

impl std::fmt::Debug for FloatBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "FloatBlock({:?}, {}x{})",
            self.kind, self.rows, self.width
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(values: &[f32], rows: i32, width: i32) -> Result<FloatBlock, CopyProblem> {
        // SAFETY: the tests give no more than there is, or counts that are refused unread.
        unsafe { FloatBlock::copy(RowsKind::Logits, values.as_ptr(), rows, width, |_| {}) }
    }

    #[test]
    fn rows_are_copied_and_joined() {
        let first = copy(&[1.0, 2.0, 3.0, 4.0], 2, 2).unwrap();
        let second = copy(&[5.0, 6.0], 1, 2).unwrap();
        let all = FloatBlock::join(vec![first.clone(), second.clone()]).unwrap();
        assert_eq!((all.rows(), all.width()), (3, 2));
        assert_eq!(all.with(<[f32]>::to_vec), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // A single block is handed on as it is.
        let same = FloatBlock::join(vec![first.clone()]).unwrap();
        assert_eq!(same.address(), first.address());
        let other = copy(&[1.0], 1, 1).unwrap();
        assert!(FloatBlock::join(vec![second, other]).is_none());
        assert!(FloatBlock::join(vec![]).is_none());
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        assert_eq!(copy(&[1.0], -1, 1).unwrap_err(), CopyProblem::Counts);
        assert_eq!(copy(&[1.0], 1, -4).unwrap_err(), CopyProblem::Counts);
        if size_of::<usize>() == 4 {
            assert_eq!(
                copy(&[1.0], i32::MAX, i32::MAX).unwrap_err(),
                CopyProblem::Counts
            );
        }
    }
}

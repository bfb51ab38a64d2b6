//! A value that only threads attached to the interpreter look at, for moments.
//!
//! With the stable ABI there is one interpreter lock, and it is the lock of the value, too: a lock of its own costs a
//! token a quarter of its time. Other builds may be for an interpreter without that lock, and have one here.

#![allow(
    unsafe_code,
    reason = "the interpreter's lock is known to the caller only"
)]

use pyo3::prelude::*;

#[cfg(feature = "abi3")]
use std::cell::RefCell;

#[cfg(not(feature = "abi3"))]
use parking_lot::Mutex;

/// The value.
pub(super) struct Attached<T> {
    #[cfg(feature = "abi3")]
    value: RefCell<T>,
    #[cfg(not(feature = "abi3"))]
    value: Mutex<T>,
}

// SAFETY: `with` alone reaches the value, and is called with the proof that this thread is attached. There is no
// stable ABI without the interpreter's lock (PyO3 refuses other builds, and further interpreters), so that no other
// thread is attached then. If one was let in meanwhile, it finds the value borrowed, and panics.
#[cfg(feature = "abi3")]
unsafe impl<T: Send> Sync for Attached<T> {}

impl<T> Attached<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            value: value.into(),
        }
    }

    /// Looks at the value. Not to be called within `look`, which runs none of the program's code and does not wait.
    #[inline]
    pub(super) fn with<R>(&self, _attached: Python<'_>, look: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(feature = "abi3")]
        let mut value = self.value.borrow_mut();
        #[cfg(not(feature = "abi3"))]
        let mut value = self.value.lock();
        look(&mut value)
    }

    /// [`Self::with`], which does not panic but gives `None` where the value is borrowed.
    #[inline]
    #[cfg_attr(
        not(feature = "abi3"),
        expect(clippy::unnecessary_wraps, reason = "a lock is waited for")
    )]
    pub(super) fn try_with<R>(
        &self,
        _attached: Python<'_>,
        look: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        #[cfg(feature = "abi3")]
        let mut value = self.value.try_borrow_mut().ok()?;
        #[cfg(not(feature = "abi3"))]
        let mut value = self.value.lock();
        Some(look(&mut value))
    }
}

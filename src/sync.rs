//! Locks, conditions and flags on which threads meet: the usual ones, or a checker's for `make interleavings`.

#[cfg(feature = "interleavings")]
pub(crate) mod checked;

#[cfg(feature = "interleavings")]
pub(crate) use self::checked::{Condvar, Mutex, MutexGuard, spawn, step};
#[cfg(not(feature = "interleavings"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "interleavings")]
pub(crate) use shuttle::sync::atomic;
#[cfg(feature = "interleavings")]
pub(crate) use shuttle::thread::yield_now;
#[cfg(not(feature = "interleavings"))]
pub(crate) use std::sync::atomic;
#[cfg(not(feature = "interleavings"))]
pub(crate) use std::thread::yield_now;

/// The standard library's own locks, where those are chosen.
pub(crate) mod plain {
    #[cfg(feature = "interleavings")]
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    #[cfg(not(feature = "interleavings"))]
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
}

/// A place between two system calls where another process may do something.
#[cfg(not(feature = "interleavings"))]
#[inline]
pub(crate) fn step() {}

/// Locks and conditions of the whole process. The checker makes them anew for each schedule.
#[cfg(not(feature = "interleavings"))]
macro_rules! statics {
    ($($(#[$doc:meta])* static $name:ident: $kind:ty = $value:expr;)*) => {
        $($(#[$doc])* static $name: $kind = $value;)*
    };
}
#[cfg(feature = "interleavings")]
macro_rules! statics {
    ($($(#[$doc:meta])* static $name:ident: $kind:ty = $value:expr;)*) => {
        shuttle::lazy_static! { $($(#[$doc])* static ref $name: $kind = $value;)* }
    };
}
pub(crate) use statics;

//! Locks, conditions and flags on which threads meet: the usual ones, or a checker's for `make interleavings`.

#[cfg(feature = "interleavings")]
pub(crate) mod checked;

#[cfg(feature = "interleavings")]
use self::checked as chosen;
#[cfg(not(feature = "interleavings"))]
use self::usual as chosen;

pub(crate) use self::chosen::{
    Condvar, Mutex, MutexGuard, atomic, plain, statics, step, yield_now,
};

#[cfg(not(feature = "interleavings"))]
mod usual {
    pub(crate) use std::sync::atomic;
    pub(crate) use std::thread::yield_now;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

    /// The standard library's own locks, where those are chosen.
    pub(crate) mod plain {
        pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    }

    /// A place between two system calls where another process may do something.
    #[inline]
    pub(crate) fn step() {}

    /// Locks and conditions of the whole process. The checker makes them anew for each schedule.
    macro_rules! statics {
        ($($item:item)*) => { $($item)* };
    }
    pub(crate) use statics;
}

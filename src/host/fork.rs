//! Knows whether this process is a forked child of the one that opened something, and whether it has children.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static DEPTH: AtomicU64 = AtomicU64::new(0);
static FORKS: AtomicU64 = AtomicU64::new(0);
static WATCH: Once = Once::new();

extern "C" fn before() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn in_child() {
    DEPTH.fetch_add(1, Ordering::Relaxed);
}

/// From here on forks are counted.
pub(crate) fn watch() {
    // SAFETY: the handlers only touch an atomic, which is allowed between fork and exec; they are
    // functions of a module that is never unloaded.
    WATCH.call_once(|| unsafe {
        libc::pthread_atfork(Some(before), None, Some(in_child));
    });
}

/// How many forks lie between this process and the one that began to count.
///
/// An object remembers this number when it is made; a different one later means that its threads
/// and its library's state were left behind in the parent.
pub(crate) fn depth() -> u64 {
    DEPTH.load(Ordering::Relaxed)
}

/// How often this process has been forked: what it had before, a child may have as well.
pub(crate) fn count() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

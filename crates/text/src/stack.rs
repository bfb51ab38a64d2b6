//! Threads with room for deep recursion.

use std::io;
use std::thread::{Builder, scope};

/// Why work has no outcome.
pub(crate) enum Problem {
    Panicked,
    NoThread(io::Error),
}

/// Runs `work` on a thread of its own with a stack of so many bytes.
pub(crate) fn with_stack<T: Send>(
    name: &str,
    bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Problem> {
    scope(|scope| {
        let thread = Builder::new().name(name.to_owned()).stack_size(bytes);
        let running = thread.spawn_scoped(scope, work);
        let running = running.map_err(Problem::NoThread)?;
        running.join().map_err(|_| Problem::Panicked)
    })
}

//! Room for deep recursion, on stacks beside the thread's own.

use std::sync::Mutex;

use own::Stack;

/// Why work has no outcome.
pub(crate) enum Problem {
    Panicked,
    NoRoom(std::io::Error),
}

/// Runs `work` on a new stack of so many bytes. Only what is used of them is ever taken from the system.
///
/// Whoever calls this drops what `work` could leave in pieces when it panics.
pub(crate) fn with_stack<T: Send>(
    bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Problem> {
    own::on(&mut own::new(bytes)?, work)
}

/// In this thread: to wake one that has a large stack takes longer than to render most templates.
#[cfg(not(target_arch = "arm"))]
mod own {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use corosensei::on_stack;
    pub(super) use corosensei::stack::DefaultStack as Stack;

    use super::Problem;

    pub(super) fn new(bytes: usize) -> Result<Stack, Problem> {
        Stack::new(bytes).map_err(Problem::NoRoom)
    }

    pub(super) fn on<T>(stack: &mut Stack, work: impl FnOnce() -> T) -> Result<T, Problem> {
        let work = AssertUnwindSafe(|| on_stack(stack, work));
        catch_unwind(work).map_err(|_| Problem::Panicked)
    }
}

/// A thread for each: corosensei asks the compiler about 32-bit ARM with a standard library that must be installed,
/// while ours is built along with the package (`scripts/rust.sh`).
#[cfg(target_arch = "arm")]
mod own {
    use std::thread::{Builder, scope};

    use super::Problem;

    /// Its bytes.
    pub(super) struct Stack(usize);

    #[allow(clippy::unnecessary_wraps, reason = "as for other processors")]
    pub(super) fn new(bytes: usize) -> Result<Stack, Problem> {
        Ok(Stack(bytes))
    }

    pub(super) fn on<T: Send>(
        stack: &mut Stack,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, Problem> {
        scope(|scope| {
            let thread = Builder::new().name("rkllm-stack".to_owned());
            let running = thread.stack_size(stack.0).spawn_scoped(scope, work);
            let running = running.map_err(Problem::NoRoom)?;
            running.join().map_err(|_| Problem::Panicked)
        })
    }
}

/// Stacks of one size that are used again: to make one, and to touch it for the first time, takes 15 µs.
pub(crate) struct Stacks {
    bytes: usize,
    most: usize,
    /// Never waited for: whoever held it when the process forked is gone.
    kept: Mutex<Vec<Stack>>,
}

impl Stacks {
    /// Stacks of so many bytes, of which at most so many are kept.
    pub(crate) const fn new(bytes: usize, most: usize) -> Self {
        let kept = Mutex::new(Vec::new());
        Self { bytes, most, kept }
    }

    /// As [`with_stack`].
    pub(crate) fn with<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Problem> {
        let kept = self.kept.try_lock().ok().and_then(|mut kept| kept.pop());
        let mut stack = kept.map_or_else(|| own::new(self.bytes), Ok)?;
        let outcome = own::on(&mut stack, work);
        if let Ok(mut kept) = self.kept.try_lock() {
            if kept.len() < self.most {
                kept.push(stack);
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(left: usize) -> usize {
        let frame = std::hint::black_box([left; 128]);
        if left == 0 {
            0
        } else {
            1 + depth(frame[64] - 1)
        }
    }

    #[test]
    fn work_goes_deeper_than_the_stack_of_its_thread() {
        let small = std::thread::Builder::new().stack_size(256 << 10);
        let deep = small.spawn(|| with_stack(64 << 20, || depth(20_000)).ok());
        assert_eq!(deep.unwrap().join().unwrap(), Some(20_000));
    }

    #[test]
    fn a_panic_and_a_stack_that_there_is_no_room_for_are_told() {
        let panics = with_stack(1 << 20, || panic!("as a test asks for"));
        assert!(matches!(panics, Err::<(), _>(Problem::Panicked)));
        let huge = with_stack(usize::MAX >> 2, || ());
        assert!(matches!(huge, Err(Problem::NoRoom(_))));
    }

    #[test]
    fn stacks_are_used_again_within_each_other_and_after_a_panic() {
        static STACKS: Stacks = Stacks::new(1 << 20, 1);
        for _ in 0..3 {
            assert!(
                STACKS
                    .with(|| panic!("as a test asks for"))
                    .map(|()| 0)
                    .is_err()
            );
            let inner = STACKS
                .with(|| STACKS.with(|| depth(100)).ok())
                .ok()
                .flatten();
            assert_eq!(inner, Some(100));
        }
        assert_eq!(STACKS.kept.lock().unwrap().len(), 1);
    }
}

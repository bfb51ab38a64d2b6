//! `parking_lot`'s lock and condition over the checker's, and how a model is tried.
//!
//! Time does not pass under the checker: a wait with a limit ends by a signal only, so that a wake-up which
//! gets lost leaves a thread asleep for ever, and the checker tells; else the limit would hide it. Only limits
//! below a millisecond pass, after whatever others did meanwhile: they are for what nobody signals.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use shuttle::sync as checker;
pub(crate) use shuttle::sync::atomic;
pub(crate) use shuttle::thread::yield_now;

/// The standard library's own locks, where those are chosen.
pub(crate) mod plain {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
}

/// Locks and conditions of the whole process, made anew for each schedule.
macro_rules! statics {
    ($($(#[$doc:meta])* static $name:ident: $kind:ty = $value:expr;)*) => {
        shuttle::lazy_static! { $($(#[$doc])* static ref $name: $kind = $value;)* }
    };
}
pub(crate) use statics;

const POLL: Duration = Duration::from_millis(1);

/// Starts a thread of the checker's.
#[allow(clippy::unnecessary_wraps, reason = "the system may have none to give")]
pub(crate) fn spawn(_name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    drop(shuttle::thread::spawn(f));
    Ok(())
}

/// A place between two system calls where another process may do something.
pub(crate) fn step() {
    yield_now();
}

/// A lock.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checker::Mutex<T>);

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    lock: &'a checker::Mutex<T>,
    /// None only while it waits.
    held: Option<checker::MutexGuard<'a, T>>,
}

fn take<T>(lock: &checker::Mutex<T>) -> checker::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(checker::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            lock: &self.0,
            held: Some(take(&self.0)),
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> MutexGuard<'_, T> {
    /// Calls `f` while the lock is not held.
    pub(crate) fn unlocked<U>(guard: &mut Self, f: impl FnOnce() -> U) -> U {
        guard.held = None;
        let result = f();
        guard.held = Some(take(guard.lock));
        result
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held")
    }
}

/// How a wait with a limit ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited(bool);

impl Waited {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

/// A condition.
#[derive(Debug, Default)]
pub(crate) struct Condvar(checker::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(checker::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("held");
        let woken = self.0.wait(held);
        guard.held = Some(woken.unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) -> Waited {
        let passes = limit < POLL;
        if passes {
            MutexGuard::unlocked(guard, yield_now);
        } else {
            self.wait(guard);
        }
        Waited(passes)
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> Waited {
        self.wait_for(guard, until.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        limit: Duration,
    ) -> Waited {
        while condition(guard) {
            if self.wait_for(guard, limit).0 {
                return Waited(condition(guard));
            }
        }
        Waited(false)
    }
}

/// Tries schedules of a model until one fails: at random, and such as change seldom, which finds other faults.
///
/// # Panics
/// With what the model finds, and the schedule.
#[cfg(test)]
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};

    let schedules = std::env::var("RKLLM_RS_SCHEDULES");
    let schedules = schedules.map_or(1000, |number| number.parse().expect("a number"));
    let mut config = shuttle::Config::new();
    config.max_steps = shuttle::MaxSteps::FailAfter(100_000);
    config.silence_warnings = true;
    // What a test needs that is not optimised.
    config.stack_size = 0x4_0000;
    let model = std::sync::Arc::new(model);
    let again = std::sync::Arc::clone(&model);
    let random = RandomScheduler::new(schedules);
    shuttle::Runner::new(random, config.clone()).run(move || model());
    let seldom = PctScheduler::new(3, schedules);
    shuttle::Runner::new(seldom, config).run(move || again());
}

/// True or false, as the checker chooses.
#[cfg(test)]
pub(crate) fn perhaps() -> bool {
    use shuttle::rand::Rng as _;

    shuttle::rand::thread_rng().gen_bool(0.5)
}

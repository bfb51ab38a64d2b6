//! Whether a model runs, and whether it has been asked to stop.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
const STOPPING: u8 = 2;

/// One byte that the run, `rkllm_abort` and llama.cpp look at.
///
/// It becomes running as the first thing in `rkllm_run`, so that an abort between that moment and
/// the first decode is not lost, and idle as the last, which forgets an abort that came too late.
#[derive(Debug, Default)]
pub(crate) struct RunFlag {
    state: AtomicU8,
    closing: AtomicBool,
    /// The thread that the callback is called on. Its lock is held wherever a run begins or ends, and
    /// where a run that must not begin is ruled out.
    thread: Mutex<Option<ThreadId>>,
    ended: Condvar,
}

impl RunFlag {
    fn thread(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a run; None if one is active or the model is being destroyed.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Running> {
        let _entering = self.thread();
        if self.closing() || self.running() {
            return None;
        }
        self.state.store(RUNNING, Ordering::Release);
        Some(Running {
            flag: Arc::clone(self),
        })
    }

    /// Asks the run to stop; false if there is none.
    pub(crate) fn stop(&self) -> bool {
        let asked =
            self.state
                .compare_exchange(RUNNING, STOPPING, Ordering::AcqRel, Ordering::Acquire);
        matches!(asked, Ok(_) | Err(STOPPING))
    }

    /// Lets no further run begin, stops the present one and waits until it has ended.
    pub(crate) fn close(&self) {
        let mut thread = self.thread();
        self.closing.store(true, Ordering::Release);
        self.stop();
        while self.running() {
            thread = self
                .ended
                .wait(thread)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the model is being destroyed.
    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn running(&self) -> bool {
        self.state.load(Ordering::Acquire) != IDLE
    }

    /// Whether the present run is on the calling thread: then it cannot be waited for.
    pub(crate) fn on_own_thread(&self) -> bool {
        *self.thread() == Some(std::thread::current().id())
    }

    pub(crate) fn stopping(&self) -> bool {
        self.state.load(Ordering::Relaxed) == STOPPING || self.closing.load(Ordering::Relaxed)
    }
}

/// A run that has been entered; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Running {
    flag: Arc<RunFlag>,
}

impl Running {
    /// Notes the calling thread as the one that runs.
    pub(crate) fn claim(&self) {
        *self.flag.thread() = Some(std::thread::current().id());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut thread = self.flag.thread();
        *thread = None;
        self.flag.state.store(IDLE, Ordering::Release);
        self.flag.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_reaches_this_run_and_no_other() {
        let flag = Arc::new(RunFlag::default());
        assert!(!flag.stop());
        let run = flag.enter().expect("idle");
        assert!(flag.enter().is_none());
        assert!(flag.running() && !flag.stopping());
        assert!(flag.stop() && flag.stop() && flag.stopping());
        drop(run);
        assert!(!flag.running() && !flag.stopping());
        let _run = flag.enter().expect("idle again");
        assert!(!flag.stopping());
    }

    #[test]
    fn closing_lets_nothing_begin() {
        let flag = Arc::new(RunFlag::default());
        flag.close();
        assert!(flag.enter().is_none() && flag.stopping());
    }

    #[test]
    fn closing_waits_for_the_run_though_nothing_was_claimed() {
        let flag = Arc::new(RunFlag::default());
        let run = flag.enter().expect("idle");
        let closer = {
            let flag = Arc::clone(&flag);
            std::thread::spawn(move || {
                flag.close();
                flag.running()
            })
        };
        while !flag.closing() {
            std::thread::yield_now();
        }
        assert!(!closer.is_finished());
        drop(run);
        assert!(!closer.join().expect("closed"));
    }

    #[test]
    fn a_run_that_has_ended_leaves_its_thread() {
        let flag = Arc::new(RunFlag::default());
        let run = flag.enter().expect("idle");
        assert!(!flag.on_own_thread());
        run.claim();
        assert!(flag.on_own_thread());
        drop(run);
        let other = Arc::clone(&flag);
        let run = std::thread::spawn(move || {
            let run = other.enter().expect("idle");
            run.claim();
            run
        })
        .join()
        .expect("entered");
        assert!(flag.running() && !flag.on_own_thread());
        drop(run);
    }
}

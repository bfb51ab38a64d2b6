//! Whether a model runs, and whether it has been asked to stop.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// The thread that the callback is called on.
    thread: Mutex<Option<ThreadId>>,
}

impl RunFlag {
    /// Enters a run; None if one is active or the model is being destroyed.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Running> {
        if self.closing.load(Ordering::Acquire) {
            return None;
        }
        self.state
            .compare_exchange(IDLE, RUNNING, Ordering::AcqRel, Ordering::Acquire)
            .ok()
            .map(|_| Running {
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

    /// Lets no further run begin and stops the present one.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.stop();
    }

    pub(crate) fn running(&self) -> bool {
        self.state.load(Ordering::Acquire) != IDLE
    }

    /// Whether the present run is on the calling thread: then it cannot be waited for.
    pub(crate) fn on_own_thread(&self) -> bool {
        let thread = *self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.running() && thread == Some(std::thread::current().id())
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
        let mut thread = self
            .flag
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *thread = Some(std::thread::current().id());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.flag.state.store(IDLE, Ordering::Release);
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
}

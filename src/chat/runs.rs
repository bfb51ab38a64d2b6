//! The runs of one answer, which any thread may wait for and cancel.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::client::Handle;

/// An answer takes no more runs than this: one that thinks, one that is told to end it, one that answers.
const MOST_RUNS: usize = 3;

/// The runs of one answer, for waiting and cancelling from any thread.
#[derive(Clone)]
pub struct Runs(Arc<Started>);

struct Started {
    handles: [OnceLock<Handle>; MOST_RUNS],
    now: AtomicUsize,
    cancelled: AtomicBool,
}

impl Runs {
    pub(super) fn new(first: Handle) -> Self {
        let started = Started {
            handles: [const { OnceLock::new() }; MOST_RUNS],
            now: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
        };
        started.handles[0].get_or_init(|| first);
        Self(Arc::new(started))
    }

    /// The run that goes on.
    ///
    /// # Panics
    /// Never: there is a first one from the beginning.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        let now = self.0.now.load(Ordering::Acquire);
        self.0.handles[now].get().expect("set before it is counted")
    }

    /// Ends the answer: the run that goes on, and none follows it.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.handle().cancel();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Another run goes on with the answer.
    pub(super) fn add(&self, next: Handle) {
        let at = self.0.now.load(Ordering::Acquire) + 1;
        self.0.handles[at].get_or_init(|| next);
        self.0.now.store(at, Ordering::Release);
        // It may have been cancelled meanwhile, which ended the run before.
        if self.is_cancelled() {
            self.handle().cancel();
        }
    }

    pub(super) fn can_go_on(&self) -> bool {
        self.0.now.load(Ordering::Acquire) + 1 < MOST_RUNS
    }
}

//! Threads that run a region together.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::gate::{Gate, Patience};
use super::in_place;

/// What every thread of a region runs.
pub(super) type Body = unsafe extern "C" fn(*mut c_void);

/// The threads of one region, and where they meet.
#[derive(Debug)]
pub(super) struct Team {
    size: u32,
    arrived: AtomicU32,
    met: Gate,
    patience: Patience,
}

impl Team {
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            arrived: AtomicU32::new(0),
            met: Gate::default(),
            patience: Patience::default(),
        }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Waits until all threads are here.
    pub(super) fn meet(&self) {
        if self.size == 1 {
            return;
        }
        let before = self.met.number();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            self.arrived.store(0, Ordering::Relaxed);
            self.met.open();
        } else {
            self.met.wait(before, &self.patience);
        }
    }
}

/// What the caller and its helpers share.
struct Shared {
    team: Team,
    job: UnsafeCell<Option<(Body, *mut c_void)>>,
    called: Gate,
    patience: Patience,
    over: AtomicBool,
}

// SAFETY: `job` is written by the caller only while all helpers wait for `called`, which it opens
// afterwards; they read it only between that and the meeting that ends the region.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` is only handed on to the body.
unsafe impl Send for Shared {}

/// A caller's helpers for regions of one size.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// Starts the helpers; None if the system has no threads left.
    pub(super) fn new(size: usize) -> Option<Self> {
        let size = u32::try_from(size).ok()?;
        let shared = Arc::new(Shared {
            team: Team::new(size),
            job: UnsafeCell::new(None),
            called: Gate::default(),
            patience: Patience::default(),
            over: AtomicBool::new(false),
        });
        // Dropped on the way out, it sends home those that have started.
        let pool = Self { shared };
        for number in 1..size {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new()
                .name("rkllm-cpu".into())
                .spawn(move || help(&shared, number))
                .ok()?;
        }
        Some(pool)
    }

    pub(super) fn size(&self) -> usize {
        self.shared.team.size as usize
    }

    /// Runs a region; the calling thread is number 0.
    ///
    /// # Safety
    ///
    /// `body` can be called with `data` from all threads at once.
    pub(super) unsafe fn run(&self, body: Body, data: *mut c_void) {
        let shared = &*self.shared;
        // SAFETY: all helpers wait for `called`: they are new, or the meeting below has ended the
        // last region for them.
        unsafe { *shared.job.get() = Some((body, data)) };
        shared.called.open();
        // SAFETY: by this function's contract.
        in_place(&shared.team, 0, || unsafe { body(data) });
        shared.team.meet();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.called.open();
    }
}

fn help(shared: &Shared, number: u32) {
    // The gate starts at 0, and may have been opened before this thread came to look.
    let mut seen = 0;
    loop {
        shared.called.wait(seen, &shared.patience);
        seen = seen.wrapping_add(1);
        if shared.over.load(Ordering::Acquire) {
            return;
        }
        // SAFETY: between the call and the meeting below, nobody writes it.
        if let Some((body, data)) = unsafe { *shared.job.get() } {
            // SAFETY: `Pool::run` demands a body that all threads may run.
            in_place(&shared.team, number, || unsafe { body(data) });
        }
        shared.team.meet();
    }
}

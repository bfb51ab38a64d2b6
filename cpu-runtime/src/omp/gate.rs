//! Waiting for a number to change: a while awake, then asleep.

use std::sync::atomic::{AtomicU32, Ordering};

/// Pauses that a thread spends awake at most; about a tenth of a millisecond.
const MOST: u32 = 4000;
/// And at least, so that better times are noticed.
const LEAST: u32 = 32;

/// A number that goes up, and the threads that wait for that.
#[derive(Debug, Default)]
pub(super) struct Gate {
    number: AtomicU32,
    sleepers: AtomicU32,
}

/// How long to stay awake, learnt from the waits so far.
#[derive(Debug)]
pub(super) struct Patience(AtomicU32);

impl Default for Patience {
    fn default() -> Self {
        Self(AtomicU32::new(MOST / 2))
    }
}

impl Patience {
    fn rewarded(&self, now: u32) {
        self.0
            .store((now + now / 4 + 8).min(MOST), Ordering::Relaxed);
    }

    fn disappointed(&self, now: u32) {
        self.0.store((now / 2).max(LEAST), Ordering::Relaxed);
    }
}

impl Gate {
    pub(super) fn number(&self) -> u32 {
        self.number.load(Ordering::Acquire)
    }

    /// Lets all through that wait.
    pub(super) fn open(&self) {
        // Sequentially consistent on both sides: either this sees the sleeper, or the sleeper sees
        // the new number.
        self.number.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            wake_all(&self.number);
        }
    }

    /// Waits until the number is no longer `old`.
    pub(super) fn wait(&self, old: u32, patience: &Patience) {
        let limit = patience.0.load(Ordering::Relaxed);
        for _ in 0..limit {
            if self.number() != old {
                patience.rewarded(limit);
                return;
            }
            std::hint::spin_loop();
        }
        patience.disappointed(limit);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.number.load(Ordering::SeqCst) == old {
            sleep_while(&self.number, old);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(target_os = "linux")]
fn sleep_while(number: &AtomicU32, old: u32) {
    // SAFETY: the address is that of a living, aligned 32-bit number; no time limit is given.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            number.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            old,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

#[cfg(target_os = "linux")]
fn wake_all(number: &AtomicU32) {
    // SAFETY: the address is that of a living, aligned 32-bit number.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            number.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            i32::MAX,
        );
    }
}

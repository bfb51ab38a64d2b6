//! Teams and their barriers, with threads that come late or are many.

use super::*;
use std::sync::atomic::AtomicUsize;

#[derive(Default)]
struct Tally {
    ran: AtomicUsize,
    numbers: AtomicUsize,
    singles: AtomicUsize,
    early: AtomicUsize,
    rounds: [AtomicUsize; 32],
}

unsafe extern "C" fn body(data: *mut c_void) {
    // SAFETY: the tests below pass a `Tally` that outlives the region.
    let tally = unsafe { &*data.cast::<Tally>() };
    tally.ran.fetch_add(1, Ordering::Relaxed);
    tally
        .numbers
        .fetch_or(1 << thread_number(), Ordering::Relaxed);
    if single_start() {
        tally.singles.fetch_add(1, Ordering::Relaxed);
    }
    for round in &tally.rounds {
        round.fetch_add(1, Ordering::Relaxed);
        barrier();
        if round.load(Ordering::Relaxed) != team_size() as usize {
            tally.early.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn region(threads: u32) -> Tally {
    let mut tally = Tally::default();
    // SAFETY: the tally outlives the region.
    unsafe { parallel(body, (&raw mut tally).cast(), threads, 0) };
    tally
}

fn check(threads: u32) {
    let tally = region(threads);
    assert_eq!(tally.ran.into_inner(), threads as usize);
    assert_eq!(tally.numbers.into_inner(), (1 << threads) - 1);
    assert_eq!(tally.singles.into_inner(), 1);
    assert_eq!(tally.early.into_inner(), 0);
}

#[test]
fn every_thread_runs_once_and_none_leaves_a_barrier_early() {
    for _ in 0..200 {
        for threads in [1, 2, 3, 7] {
            check(threads);
        }
    }
    assert_eq!((thread_number(), team_size()), (0, 1));
}

#[test]
fn several_callers_have_teams_of_their_own() {
    let callers: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(|| (0..200).for_each(|_| check(3))))
        .collect();
    for caller in callers {
        caller.join().expect("no panic");
    }
}

#[test]
fn sleepers_are_woken() {
    for _ in 0..20 {
        check(2);
        // Long enough for the helper to fall asleep.
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
}

#[test]
fn a_loop_is_done_by_one_thread() {
    let (mut first, mut last) = (-1, -1);
    // SAFETY: both bounds are ours.
    assert!(unsafe { loop_start(2, 9, 1, 1, &raw mut first, &raw mut last) });
    assert_eq!((first, last), (2, 9));
    assert!(!loop_next(&raw mut first, &raw mut last));
    atomic_start();
    atomic_end();
}

//! Models of the NPU's lock: its line in a file, over the kernel's own locks with every system call as a step,
//! and what one process does with it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::thread;
use tempfile::TempDir;

use super::line::{Line, Stand};
use super::record::Use;
use super::{Block, Owner, PARTY, Place, RunGate, answering};
use crate::engine::Gate as _;
use crate::protocol::error::ErrorKind;
use crate::sync::checked::{explore, perhaps};

const LONG: Duration = Duration::from_secs(3600);

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("npu.lock");
    std::fs::write(&path, b"").unwrap();
    (folder, path)
}

fn at(path: &Path) -> Place {
    Place::At(path.to_owned())
}

/// Holds the lock for a moment, alone.
fn hold(inside: &AtomicUsize) {
    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have it");
    thread::yield_now();
    inside.fetch_sub(1, Ordering::SeqCst);
}

#[test]
fn processes_have_it_one_at_a_time_in_the_order_of_their_tickets() {
    let (folder, path) = folder();
    explore(move || {
        let _ = &folder;
        let (inside, clock) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..3)
            .map(|number| {
                let (inside, clock) = (Arc::clone(&inside), Arc::clone(&clock));
                let mut line = Line::new(at(&path), Use::Run, false);
                // One of them may die in the line, or give up.
                let leaves = number == 1 && perhaps();
                thread::spawn(move || {
                    let tick = || clock.fetch_add(1, Ordering::SeqCst);
                    let before = tick();
                    let mut after = None;
                    loop {
                        match line.stand().unwrap() {
                            Stand::AtTheDoor => {}
                            Stand::Behind => {
                                after.get_or_insert_with(tick);
                                if leaves {
                                    let gives_up = perhaps();
                                    if gives_up {
                                        line.step_out();
                                    }
                                    return (None, gives_up.then_some(line));
                                }
                            }
                            Stand::First => break,
                        }
                        thread::yield_now();
                    }
                    let after = after.unwrap_or_else(tick);
                    let served = tick();
                    hold(&inside);
                    line.step_out();
                    (Some((before, after, served)), Some(line))
                })
            })
            .collect();
        // Those who live on keep their file open.
        let (served, _lines): (Vec<_>, Vec<_>) =
            all.into_iter().map(|one| one.join().unwrap()).unzip();
        let served: Vec<_> = served.into_iter().flatten().collect();
        for (_, after, first) in &served {
            for (before, _, second) in &served {
                assert!(after > before || first < second, "{served:?}");
            }
        }
    });
}

/// Nobody has the lock, and nothing of those who had it is left.
fn is_free(path: &Path) {
    let mut gate = RunGate::new(at(path));
    assert!(gate.enter(Duration::ZERO, &|| true).unwrap());
    gate.leave();
    let party = PARTY.lock();
    assert!(party.block.is_none() && !party.guest && party.runs == 0 && party.answers == 0);
}

#[test]
fn runs_of_one_process_have_it_in_turn_and_wake_each_other() {
    let (folder, path) = folder();
    explore(move || {
        let _ = &folder;
        let inside = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..3)
            .map(|number| {
                let inside = Arc::clone(&inside);
                let mut gate = RunGate::new(at(&path));
                // One of them may be given up when it has waited once, or not at all.
                let looks = if number == 1 && perhaps() {
                    usize::from(perhaps())
                } else {
                    usize::MAX
                };
                // One of them may have no time.
                let limit = if number == 2 && perhaps() {
                    Duration::ZERO
                } else {
                    LONG
                };
                thread::spawn(move || {
                    let looked = AtomicUsize::new(0);
                    let wanted = || looked.fetch_add(1, Ordering::SeqCst) < looks;
                    match gate.enter(limit, &wanted) {
                        Ok(true) => {
                            hold(&inside);
                            gate.leave();
                        }
                        Ok(false) => assert_ne!(looks, usize::MAX),
                        Err(busy) => {
                            assert_eq!((busy.kind, limit), (ErrorKind::Busy, Duration::ZERO));
                        }
                    }
                    gate
                })
            })
            .collect();
        let _gates: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        is_free(&path);
    });
}

#[test]
fn a_run_is_let_in_while_the_one_that_has_it_waits_for_an_answer() {
    let (folder, path) = folder();
    explore(move || {
        let _ = &folder;
        let inside = Arc::new(AtomicUsize::new(0));
        let mut asking = RunGate::new(at(&path));
        assert!(asking.enter(LONG, &|| true).unwrap());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let inside = Arc::clone(&inside);
                let mut gate = RunGate::new(at(&path));
                thread::spawn(move || {
                    assert!(gate.enter(LONG, &|| true).unwrap());
                    hold(&inside);
                    gate.leave();
                    gate
                })
            })
            .collect();
        if perhaps() {
            thread::yield_now();
        }
        let join = |one: thread::JoinHandle<RunGate>| one.join().unwrap();
        let _gates: Vec<_> = answering(|| others.into_iter().map(join).collect());
        asking.leave();
        is_free(&path);
    });
}

#[test]
fn a_block_lets_its_own_runs_in_and_the_next_block_after_it() {
    let (folder, path) = folder();
    explore(move || {
        let _ = &folder;
        let (blocks, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (1..=2)
            .map(|number| {
                let (blocks, runs) = (Arc::clone(&blocks), Arc::clone(&runs));
                let path = path.clone();
                let gives_up = number == 2 && perhaps();
                thread::spawn(move || {
                    let owner = Owner {
                        thread: number,
                        task: None,
                    };
                    let block = Block::begin(at(&path), owner, None, true).unwrap();
                    if gives_up {
                        block.leave();
                        return None;
                    }
                    block.wait(LONG).expect("no limit").unwrap();
                    assert_eq!(blocks.fetch_add(1, Ordering::SeqCst), 0, "two blocks");
                    let mut gate = RunGate::new(at(&path));
                    assert!(gate.enter(LONG, &|| true).unwrap());
                    hold(&runs);
                    gate.leave();
                    blocks.fetch_sub(1, Ordering::SeqCst);
                    block.leave();
                    Some(gate)
                })
            })
            .collect();
        let outside = thread::spawn({
            let (path, runs) = (path.clone(), Arc::clone(&runs));
            move || {
                let mut gate = RunGate::new(at(&path));
                assert!(gate.enter(LONG, &|| true).unwrap());
                hold(&runs);
                gate.leave();
                gate
            }
        });
        let _gates: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        let _outside = outside.join().unwrap();
        let mut gate = RunGate::new(at(&path));
        assert!(gate.enter(LONG, &|| true).unwrap());
        gate.leave();
    });
}

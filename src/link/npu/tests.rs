//! The line, seen from several places in one process: each has an open file of its own, as processes have.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::line::{Line, Stand};
use super::place::Place;
use super::record::Use;
use super::{RunGate, look};
use crate::engine::Gate as _;
use crate::host::byte_locks;
use crate::protocol::error::ErrorKind;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("npu.lock");
    (folder, path)
}

fn at(path: &Path) -> Line {
    Line::new(Place::At(path.to_owned()), Use::Run, true)
}

#[test]
fn who_comes_first_is_served_first_and_the_line_begins_anew() {
    let (_folder, path) = folder();
    let mut lines: Vec<Line> = (0..4).map(|_| at(&path)).collect();
    for round in 0..3 {
        let stands: Vec<Stand> = lines.iter_mut().map(|line| line.stand().unwrap()).collect();
        assert_eq!(stands[0], Stand::First, "round {round}");
        assert!(stands[1..].iter().all(|stand| *stand == Stand::Behind));
        // One in the middle gives up, and comes again behind all.
        lines[1].step_out();
        assert_eq!(lines[1].stand().unwrap(), Stand::Behind);
        lines[0].step_out();
        let mut waiting = vec![2, 3, 1];
        while !waiting.is_empty() {
            for one in &waiting {
                let stand = lines[*one].stand().unwrap();
                assert_eq!(
                    stand == Stand::First,
                    *one == waiting[0],
                    "{one} of {waiting:?}"
                );
            }
            lines[waiting.remove(0)].step_out();
        }
        assert!(look(&Place::At(path.clone())).line.is_empty());
    }
    assert!(fs::metadata(&path).unwrap().len() < 4096);
}

#[test]
fn at_most_one_has_it_however_they_come() {
    let (_folder, path) = folder();
    let (inside, had) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|threads| {
        for number in 0..4 {
            let (path, inside, had) = (&path, &inside, &had);
            threads.spawn(move || {
                let mut line = at(path);
                for round in 0..200 {
                    while line.stand().unwrap() != Stand::First {
                        std::thread::yield_now();
                    }
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    // Some are found by the next one, others have gone before it comes.
                    if (round + number) % 3 == 0 {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    had.fetch_add(1, Ordering::SeqCst);
                    line.step_out();
                }
            });
        }
    });
    assert_eq!(had.into_inner(), 800);
    assert!(look(&Place::At(path)).line.is_empty());
}

#[test]
fn the_death_of_any_one_takes_him_out_of_the_line() {
    let (_folder, path) = folder();
    let mut lines: Vec<Line> = (0..4).map(|_| at(&path)).collect();
    for line in &mut lines {
        line.stand().unwrap();
    }
    // What the kernel does at the end of a process: its open files are closed.
    drop(lines.remove(1));
    drop(lines.remove(0));
    assert_eq!(lines[0].stand().unwrap(), Stand::First);
    assert_eq!(lines[1].stand().unwrap(), Stand::Behind);
    let now = look(&Place::At(path));
    assert_eq!(now.line.len(), 2);
    let pids = now.line.iter().flatten().map(|record| record.pid);
    assert!(pids.eq([std::process::id(); 2]));
}

#[test]
fn a_file_of_others_is_locked_and_left_as_it_is() {
    let (_folder, path) = folder();
    let text = "notes of somebody\n".repeat(100);
    fs::write(&path, &text).unwrap();
    let (mut first, mut second) = (at(&path), at(&path));
    assert_eq!(first.stand().unwrap(), Stand::First);
    assert_eq!(second.stand().unwrap(), Stand::Behind);
    assert_eq!(look(&Place::At(path.clone())).line, [None, None]);
    first.step_out();
    assert_eq!(second.stand().unwrap(), Stand::First);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn what_stands_in_the_file_moves_nobody() {
    let (_folder, path) = folder();
    let (mut first, mut second, mut third) = (at(&path), at(&path), at(&path));
    assert_eq!(first.stand().unwrap(), Stand::First);
    assert_eq!(second.stand().unwrap(), Stand::Behind);
    // Cut off, then rubbish where the records were.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(64).unwrap();
    file.set_len(700).unwrap();
    assert_eq!(look(&Place::At(path.clone())).line, [None, None]);
    assert_eq!(third.stand().unwrap(), Stand::Behind);
    first.step_out();
    assert_eq!(second.stand().unwrap(), Stand::First);
    assert_eq!(third.stand().unwrap(), Stand::Behind);
}

#[test]
fn a_file_that_was_taken_away_is_left_for_the_new_one() {
    let (_folder, path) = folder();
    let (mut old, mut new) = (at(&path), at(&path));
    assert_eq!(old.stand().unwrap(), Stand::First);
    fs::remove_file(&path).unwrap();
    assert_eq!(new.stand().unwrap(), Stand::First);
    old.step_out();
    assert_eq!(old.stand().unwrap(), Stand::Behind);
}

#[test]
fn a_new_file_is_everybodys_and_nothing_else_is_left() {
    let (folder, path) = folder();
    at(&path).stand().unwrap();
    let made = fs::metadata(&path).unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o666);
    assert_eq!(made.nlink(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn all_meet_at_the_first_usual_file_that_exists() {
    let (_folder, first) = folder();
    let second = first.with_file_name("other.lock");
    let missing = first.with_file_name("no").join("npu.lock");
    let usual = |paths: &[&PathBuf]| {
        let place = Place::Usual(paths.iter().map(|path| (*path).clone()).collect());
        Line::new(place, Use::Run, true)
    };
    // The first cannot be made there.
    let mut early = usual(&[&missing, &second]);
    assert_eq!(early.stand().unwrap(), Stand::First);
    assert!(second.exists());
    // Who could make the first one takes the one that is there.
    let mut late = usual(&[&first, &second]);
    assert_eq!(late.stand().unwrap(), Stand::Behind);
    assert!(!first.exists());
    // Once there is a first one, all go there.
    fs::write(&first, "").unwrap();
    early.step_out();
    assert_eq!(late.stand().unwrap(), Stand::First);
    assert!(fs::metadata(&first).unwrap().len() > 0);
}

#[test]
fn what_cannot_serve_is_told() {
    let (folder, path) = folder();
    let fifo = path.with_file_name("fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
    )
    .unwrap();
    let link = path.with_file_name("link");
    symlink("/etc/hostname", &link).unwrap();
    let missing = folder.path().join("no/npu.lock");
    for (path, word) in [
        (folder.path(), "folder"),
        (&fifo, "pipe"),
        (&link, "link"),
        (Path::new("/dev/null"), "device"),
        (&missing, "No such file"),
        (Path::new("/dev/null/x"), "Not a directory"),
    ] {
        let failure = at(path).stand().unwrap_err();
        assert_eq!(failure.kind, ErrorKind::InvalidArgument);
        assert!(failure.text.contains(word), "{failure}");
        // Found by itself, it is a warning, and the models of this process take turns all the same.
        let place = Place::Usual(vec![path.to_owned()]);
        assert!(
            place
                .warning()
                .unwrap()
                .is_some_and(|text| text.contains(word))
        );
        let (mut first, mut second) = (
            Line::new(place.clone(), Use::Run, true),
            Line::new(place.clone(), Use::Run, true),
        );
        assert_eq!(first.stand().unwrap(), Stand::First);
        assert_eq!(second.stand().unwrap(), Stand::Behind);
        // A program's own block is not to be mistaken.
        let failure = Line::new(place, Use::NpuLock, false).stand().unwrap_err();
        assert_eq!(failure.kind, ErrorKind::UnsupportedFeature);
    }
}

#[test]
fn a_run_is_not_had_in_time_or_not_wanted_any_more() {
    let (_folder, path) = folder();
    let mut holder = at(&path);
    holder.stand().unwrap();
    let mut gate = RunGate::new(Place::At(path.clone()));
    let failure = gate.enter(Duration::from_millis(30), &|| true).unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Busy);
    assert!(
        failure.text.contains(&std::process::id().to_string()),
        "{failure}"
    );
    assert!(!gate.enter(Duration::MAX, &|| false).unwrap());
    assert_eq!(look(&Place::At(path.clone())).line.len(), 1);
    holder.step_out();
    assert!(gate.enter(Duration::ZERO, &|| true).unwrap());
    assert_eq!(holder.stand().unwrap(), Stand::Behind);
    gate.leave();
    assert_eq!(holder.stand().unwrap(), Stand::First);
}

#[test]
fn somebody_at_the_door_or_locks_up_to_the_end_hold_nobody_for_ever() {
    let (_folder, path) = folder();
    at(&path).stand().unwrap();
    for byte in [0, byte_locks::END - 2, byte_locks::END - 1] {
        let hostile = fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert!(byte_locks::try_lock(hostile.as_fd(), byte..byte + 1).unwrap());
        let mut gate = RunGate::new(Place::At(path.clone()));
        assert!(gate.enter(Duration::from_millis(1), &|| true).is_err());
        drop(hostile);
        assert!(gate.enter(Duration::from_secs(60), &|| true).unwrap());
    }
}

#[test]
fn off_is_off() {
    let mut lines = [0, 1].map(|_| Line::new(Place::Off, Use::Run, true));
    for line in &mut lines {
        assert_eq!(line.stand().unwrap(), Stand::First);
    }
    assert_eq!(look(&Place::Off).path, None);
}

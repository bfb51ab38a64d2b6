//! What the lock file tells of who holds the lock and who waits. Nobody's turn depends on it.
//!
//! A line that says what the file is, then records of 256 bytes, one for each ticket, modulo their number:
//! JSON, with a NUL at its end. A record counts if the byte of its ticket is locked.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};

const HEADER: &[u8; 64] = b"rkllm_rs NPU lock; `rkllm-rs ps` tells who holds it. Keep it.\n\0\0";
const SIZE: usize = 256;
const COUNT: u64 = 256;
/// Ticket and times, which have at most 20, 18 and 18 digits.
const REST: usize = 96;

/// What the NPU is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// A run of a model.
    Run,
    /// A block of the program's own.
    NpuLock,
}

/// One who holds the lock, or waits for it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Record {
    ticket: u64,
    /// Its number where it runs, which may be in a container.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its name, without arguments.
    pub program: String,
    /// What for.
    pub what: Use,
    /// Since when it waits, in seconds since 1970.
    asked: f64,
    /// Since when it holds the lock.
    had: Option<f64>,
}

impl Record {
    /// Since when it is as it is, in seconds since 1970.
    #[must_use]
    pub fn since(&self) -> f64 {
        self.had.unwrap_or(self.asked)
    }

    /// The record of a ticket that is taken.
    pub(super) fn read(file: &OwnedFd, ticket: u64) -> Option<Self> {
        let mut bytes = [0; SIZE];
        let count = pread(file, &mut bytes, place(ticket)).ok()?;
        Self::told(&bytes[..count], ticket)
    }

    /// What is written of a ticket.
    fn told(bytes: &[u8], ticket: u64) -> Option<Self> {
        let text = bytes.split(|byte| *byte == 0).next()?;
        let mut record: Self = serde_json::from_slice(text).ok()?;
        // Everybody may write to the file.
        record.program.retain(|letter| !letter.is_control());
        (record.ticket == ticket && record.asked.is_finite()).then_some(record)
    }
}

/// Reads each ticket's record of a file of these bytes.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_all(bytes: &[u8]) {
    for (ticket, bytes) in bytes.chunks(SIZE).enumerate() {
        if let Some(record) = Record::told(bytes, ticket as u64) {
            assert!(!record.program.contains(char::is_control));
            assert!(record.since().is_finite());
        }
    }
}

/// What one who stands in the line writes of himself. A run begins after it, so it is made in advance as far as
/// can be.
pub(super) struct Note {
    /// What is always the same, without the bracket at its end.
    who: String,
    text: String,
    asked: Option<Duration>,
    /// Whether the file is one of these: nothing is ever written to another one.
    is_ours: bool,
}

impl Note {
    pub(super) fn new(what: Use) -> Self {
        Self {
            who: who(program(), what),
            text: String::with_capacity(SIZE),
            asked: None,
            is_ours: false,
        }
    }

    /// Whoever it is of asks anew.
    pub(super) fn ask(&mut self) {
        self.asked = None;
    }

    /// Looks whether the file is one of these, and begins it if it is empty.
    pub(super) fn look(&mut self, file: &OwnedFd) {
        let mut bytes = [0; HEADER.len()];
        self.is_ours = match pread(file, &mut bytes, 0) {
            Ok(0) => begin(file),
            Ok(count) => bytes[..count] == HEADER[..],
            Err(_) => false,
        };
    }

    /// Notes that he waits with this ticket, or holds the lock from now on. Where that cannot be written, the
    /// lock is as good, and nobody is told.
    pub(super) fn write(&mut self, file: &OwnedFd, ticket: u64, has: bool) {
        if !self.is_ours {
            return;
        }
        let now = now();
        let asked = *self.asked.get_or_insert(now);
        self.text.clear();
        let _ = write!(self.text, "{},\"ticket\":{ticket}", self.who);
        for (name, time) in [("asked", Some(asked)), ("had", has.then_some(now))] {
            if let Some(time) = time {
                let (seconds, rest) = (time.as_secs(), time.subsec_micros());
                let _ = write!(self.text, ",\"{name}\":{seconds}.{rest:06}");
            }
        }
        self.text.push_str("}\0");
        let _ = pwrite(file, self.text.as_bytes(), place(ticket));
    }
}

/// What a note begins with: a name that leaves no room for the rest is cut off.
fn who(mut program: String, what: Use) -> String {
    loop {
        let pid = std::process::id();
        let uid = rustix::process::getuid().as_raw();
        let who = serde_json::json!({ "pid": pid, "uid": uid, "program": program, "what": what });
        let mut who = who.to_string();
        if who.len() <= SIZE - REST || program.pop().is_none() {
            who.pop();
            return who;
        }
    }
}

fn place(ticket: u64) -> u64 {
    HEADER.len() as u64 + ticket % COUNT * SIZE as u64
}

/// Begins an empty file.
pub(super) fn begin(file: &OwnedFd) -> bool {
    pwrite(file, HEADER, 0).is_ok_and(|count| count == HEADER.len())
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The program in few words, without its arguments, which may hold secrets.
fn program() -> String {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    let words = || {
        let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        named(line.split_terminator('\0'))
    };
    PROGRAM.get_or_init(words).clone()
}

fn named<'a>(mut words: impl Iterator<Item = &'a str>) -> String {
    let short = |word: &str| -> String {
        let name = word.rsplit('/').next().unwrap_or(word);
        name.chars()
            .take(60)
            .filter(|letter| !letter.is_control())
            .collect()
    };
    let Some(mut name) = words.next().map(short) else {
        return String::new();
    };
    if !name.starts_with("python") {
        return name;
    }
    while let Some(word) = words.next() {
        let of = match word {
            "-c" => "-c".to_owned(),
            "-m" => format!("-m {}", short(words.next().unwrap_or_default())),
            // Options with a value.
            "-W" | "-X" => {
                words.next();
                continue;
            }
            _ if word.starts_with('-') && word != "-" => continue,
            script => short(script),
        };
        name.push(' ');
        name.push_str(&of);
        break;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_without_their_arguments() {
        for (line, name) in [
            (
                "/usr/bin/python3 -u /srv/serve.py --api-key K",
                "python3 serve.py",
            ),
            (
                "python3 -W ignore -m rkllm_rs serve --api-key K",
                "python3 -m rkllm_rs",
            ),
            ("/v/bin/python3.12 -c pass", "python3.12 -c"),
            ("python3", "python3"),
            ("/opt/vision/encode --token K", "encode"),
            ("", ""),
        ] {
            assert_eq!(named(line.split_whitespace()), name);
        }
    }

    #[test]
    fn a_record_says_who_and_since_when_however_long_the_name_is() {
        for name in ["python3 serve.py".to_owned(), "\u{1f600}\"".repeat(70)] {
            let file = OwnedFd::from(tempfile::tempfile().unwrap());
            let mut note = Note::new(Use::NpuLock);
            note.who = who(name.clone(), Use::NpuLock);
            note.look(&file);
            let before = now().as_secs_f64();
            for ticket in [u64::MAX - COUNT, u64::MAX - COUNT + 1] {
                note.write(&file, ticket, false);
            }
            let waits = Record::read(&file, u64::MAX - COUNT).unwrap();
            assert_eq!((waits.pid, waits.what), (std::process::id(), Use::NpuLock));
            assert!(!waits.program.is_empty() && name.starts_with(&waits.program));
            assert!(waits.had.is_none() && (before - waits.asked).abs() < 60.0);
            note.write(&file, u64::MAX - COUNT, true);
            let has = Record::read(&file, u64::MAX - COUNT).unwrap();
            assert!(has.had.is_some() && has.asked <= has.since());
            assert_eq!(has.asked.to_bits(), waits.asked.to_bits());
            // The one behind it is left as it was.
            assert!(Record::read(&file, u64::MAX - COUNT + 1).is_some());
        }
    }
}

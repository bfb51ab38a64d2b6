//! What the lock file tells of who holds the lock and who waits. Nobody's turn depends on it.
//!
//! A line that says what the file is, then records of 256 bytes, one for each ticket, modulo their number:
//! JSON, filled up with NULs. A record counts if the byte of its ticket is locked.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};

const HEADER: &[u8; 64] = b"rkllm_rs NPU lock; `rkllm-rs ps` tells who holds it. Keep it.\n\0\0";
const SIZE: usize = 256;
const COUNT: u64 = 256;

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    pub(super) fn new(what: Use) -> Self {
        Self {
            ticket: 0,
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            program: program(),
            what,
            asked: now(),
            had: None,
        }
    }

    /// Since when it is as it is, in seconds since 1970.
    #[must_use]
    pub fn since(&self) -> f64 {
        self.had.unwrap_or(self.asked)
    }

    /// Notes that it waits with this ticket, or holds the lock. Where that cannot be written, the lock is as
    /// good, and nobody is told.
    pub(super) fn write(&mut self, file: &OwnedFd, ticket: u64, has: bool) {
        if !is_ours(file) {
            return;
        }
        if ticket != self.ticket {
            (self.ticket, self.had) = (ticket, None);
        }
        self.had = has.then(now);
        let mut bytes = [0; SIZE];
        if serde_json::to_writer(&mut bytes[..], self).is_ok() {
            let _ = pwrite(file, &bytes, place(ticket));
        }
    }

    /// The record of a ticket that is taken.
    pub(super) fn read(file: &OwnedFd, ticket: u64) -> Option<Self> {
        let mut bytes = [0; SIZE];
        let count = pread(file, &mut bytes, place(ticket)).ok()?;
        let text = bytes[..count].split(|byte| *byte == 0).next()?;
        let mut record: Self = serde_json::from_slice(text).ok()?;
        // Everybody may write to the file.
        record.program.retain(|letter| !letter.is_control());
        (record.ticket == ticket && record.asked.is_finite()).then_some(record)
    }

    /// That it begins anew.
    pub(super) fn ask(&mut self) {
        self.asked = now();
    }
}

fn place(ticket: u64) -> u64 {
    HEADER.len() as u64 + ticket % COUNT * SIZE as u64
}

/// Begins an empty file.
pub(super) fn begin(file: &OwnedFd) -> bool {
    pwrite(file, HEADER, 0).is_ok_and(|count| count == HEADER.len())
}

/// Whether the file is one of these: nothing is ever written to another one.
fn is_ours(file: &OwnedFd) -> bool {
    let mut bytes = [0; HEADER.len()];
    match pread(file, &mut bytes, 0) {
        Ok(0) => begin(file),
        Ok(count) => bytes[..count] == HEADER[..],
        Err(_) => false,
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
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
}

//! The library's lines: their form, and the last of them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many lines are kept.
pub(super) const RING: usize = 512;
/// How many lines are kept while some of them have not been passed on to the program's logger.
const MOST: usize = 65_536;
/// How much of a line is kept.
const LINE: usize = 4096;
/// How much of a line is printed.
const LONGEST: usize = 64 * 1024;

/// Severity of a vendor log line, by its first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LogLevel {
    /// `E`
    Error,
    /// `W`
    Warning,
    /// `I`
    Info,
    /// `D`
    Debug,
    /// A line of another form.
    Other,
}

/// Where the library wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that the vendor library printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts the lines of the process.
    pub number: u64,
    /// Its severity.
    pub level: LogLevel,
    /// Where it was written.
    pub stream: LogStream,
    /// The line without its end; bytes that are no UTF-8 are replaced.
    pub text: String,
}

impl LogLevel {
    /// The letter with which such lines begin; "" for lines of another form.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Error => "E",
            Self::Warning => "W",
            Self::Info => "I",
            Self::Debug => "D",
            Self::Other => "",
        }
    }

    /// Reads the letter of `E rkllm: …`, `W RKNN: …` and the like.
    pub(crate) fn of(line: &str) -> Self {
        let mut bytes = line.bytes();
        let level = match bytes.next() {
            Some(b'E') => Self::Error,
            Some(b'W') => Self::Warning,
            Some(b'I') => Self::Info,
            Some(b'D') => Self::Debug,
            _ => return Self::Other,
        };
        // A tag and a colon must follow, or any sentence that begins with "I" would count.
        let rest = line.get(1..).unwrap_or_default();
        match rest.strip_prefix(' ').and_then(|rest| rest.split_once(':')) {
            Some((tag, _)) if !tag.is_empty() && !tag.contains(' ') => level,
            _ => Self::Other,
        }
    }
}

/// The last lines of the process.
#[derive(Default)]
pub(super) struct Kept {
    lines: VecDeque<LogLine>,
    pub(super) next: u64,
    /// Lines below this number need not be kept for a logger.
    passed_on: u64,
    /// Whether there is such a logger.
    awaited: bool,
}

/// What has come of the next lines of one library's output.
#[derive(Default)]
pub(super) struct Partial([Vec<u8>; 2]);

impl Kept {
    /// Takes bytes as they come; `done` gets each line that they end, and its bytes.
    pub(super) fn add(
        &mut self,
        partial: &mut Partial,
        stream: LogStream,
        mut bytes: &[u8],
        done: &mut impl FnMut(&LogLine, Vec<u8>),
    ) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            partial.append(stream, &bytes[..end]);
            self.finish(partial, stream, done);
            bytes = &bytes[end + 1..];
        }
        partial.append(stream, bytes);
    }

    fn finish(
        &mut self,
        partial: &mut Partial,
        stream: LogStream,
        done: &mut impl FnMut(&LogLine, Vec<u8>),
    ) {
        let mut bytes = std::mem::take(&mut partial.0[stream as usize]);
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LINE)])
            .trim_end_matches('\r')
            .to_owned();
        let line = LogLine {
            number: self.next,
            level: LogLevel::of(&text),
            stream,
            text,
        };
        bytes.push(b'\n');
        done(&line, bytes);
        let needed = |line: &LogLine| self.awaited && line.number >= self.passed_on;
        while self.lines.len() >= RING
            && (self.lines.len() >= MOST || !self.lines.front().is_some_and(needed))
        {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        self.next += 1;
    }

    /// Takes unfinished lines for whole: the call that printed them has returned, and what the next
    /// one prints is another line.
    pub(super) fn finish_all(
        &mut self,
        partial: &mut Partial,
        done: &mut impl FnMut(&LogLine, Vec<u8>),
    ) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if !partial.0[stream as usize].is_empty() {
                self.finish(partial, stream, done);
            }
        }
    }

    pub(super) fn since(&self, mark: u64) -> Vec<LogLine> {
        let lines = self.lines.iter().filter(|line| line.number >= mark);
        lines.cloned().collect()
    }

    /// Lines below `number` have been passed on; `awaited` tells whether later ones will be.
    pub(super) fn pass_on(&mut self, number: u64, awaited: bool) {
        self.passed_on = self.passed_on.max(number);
        self.awaited = awaited;
    }
}

impl Partial {
    fn append(&mut self, stream: LogStream, bytes: &[u8]) {
        let partial = &mut self.0[stream as usize];
        let room = LONGEST.saturating_sub(partial.len());
        partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_need_letter_tag_and_colon() {
        assert_eq!(LogLevel::of("E rkllm: bad"), LogLevel::Error);
        assert_eq!(LogLevel::of("W RKNN: hm"), LogLevel::Warning);
        assert_eq!(LogLevel::of("I rkllm: fine"), LogLevel::Info);
        assert_eq!(LogLevel::of("I think: so"), LogLevel::Info);
        assert_eq!(LogLevel::of("I do not think: so"), LogLevel::Other);
        assert_eq!(LogLevel::of("Error: no"), LogLevel::Other);
        assert_eq!(LogLevel::of(""), LogLevel::Other);
        assert_eq!(LogLevel::of("É rkllm: x"), LogLevel::Other);
    }

    #[test]
    fn lines_are_joined_over_reads_and_bounded() {
        let mut kept = Kept::default();
        let partial = &mut Partial::default();
        let mut whole = Vec::new();
        let done = &mut |_: &LogLine, bytes: Vec<u8>| whole.push(bytes.len());
        kept.add(partial, LogStream::Stderr, b"E rkl", done);
        kept.add(partial, LogStream::Stdout, b"other\n", done);
        kept.add(
            partial,
            LogStream::Stderr,
            b"lm: one\nW rkllm: two\nrest",
            done,
        );
        let texts: Vec<_> = kept.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["other", "E rkllm: one", "W rkllm: two"]);
        kept.add(partial, LogStream::Stderr, &vec![b'x'; 3 * LINE], done);
        kept.add(partial, LogStream::Stderr, b"\n", done);
        assert_eq!(kept.lines.back().map(|line| line.text.len()), Some(LINE));
        for _ in 0..2 * RING {
            kept.add(partial, LogStream::Stdout, b"more\n", done);
        }
        assert_eq!(kept.lines.len(), RING);
        kept.pass_on(kept.next, true);
        for _ in 0..2 * RING {
            kept.add(partial, LogStream::Stdout, b"more\n", done);
        }
        assert_eq!(kept.since(kept.passed_on).len(), 2 * RING);
        assert_eq!(whole[3], 3 * LINE + "rest".len() + 1);
    }
}

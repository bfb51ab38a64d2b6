//! What one worker prints, with the marks that it sets between the lines.
//!
//! A mark is written to both streams before a call of the library, so that its lines can be told from those
//! before, whenever they are read.

use std::collections::VecDeque;

use super::lines::{LogLevel, LogLine, LogStream, Partial, RING};

/// How a mark begins; no line of text has that in it.
const BEGIN: &[u8] = b"\0rkllm_rs mark ";
/// The length of a mark.
const LENGTH: usize = BEGIN.len() + 17;

/// The mark of that number.
pub(super) fn mark(number: u64) -> Vec<u8> {
    let mut mark = BEGIN.to_vec();
    mark.extend_from_slice(format!("{number:016x}\n").as_bytes());
    mark
}

/// What stands where a mark may begin.
enum Found {
    Mark(u64),
    /// It may become one.
    Unfinished,
    Nothing,
}

fn look(bytes: &[u8]) -> Found {
    let shown = bytes.len().min(BEGIN.len());
    if bytes[..shown] != BEGIN[..shown] {
        return Found::Nothing;
    }
    let Some(number) = bytes.get(BEGIN.len()..LENGTH) else {
        return Found::Unfinished;
    };
    let digits = std::str::from_utf8(&number[..16]).ok();
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.map_or(Found::Nothing, Found::Mark)
}

/// What one worker prints.
#[derive(Default)]
pub(crate) struct LogOfWorker {
    partial: Partial,
    /// What may be the beginning of a mark.
    pending: [Vec<u8>; 2],
    /// The last mark of each stream.
    marks: [u64; 2],
    /// The last lines, each with the mark before it.
    kept: VecDeque<(u64, LogLine)>,
}

impl LogOfWorker {
    /// How many lines are told of a death.
    const LAST: usize = 20;

    /// Takes what it has printed.
    pub(crate) fn take(&mut self, stream: LogStream, bytes: &[u8]) {
        let joined;
        let mut rest = bytes;
        if !self.pending[stream as usize].is_empty() {
            let mut pending = std::mem::take(&mut self.pending[stream as usize]);
            pending.extend_from_slice(bytes);
            joined = pending;
            rest = &joined;
        }
        while !rest.is_empty() {
            // From the second byte on, if the first has been found to be none.
            let at = memchr::memchr(0, rest).unwrap_or(rest.len());
            self.text(stream, &rest[..at]);
            rest = &rest[at..];
            if rest.is_empty() {
                return;
            }
            match look(rest) {
                Found::Mark(number) => {
                    self.finish();
                    self.marks[stream as usize] = number;
                    rest = &rest[LENGTH..];
                }
                Found::Unfinished => {
                    self.pending[stream as usize] = rest.to_vec();
                    return;
                }
                Found::Nothing => {
                    self.text(stream, &rest[..1]);
                    rest = &rest[1..];
                }
            }
        }
    }

    fn text(&mut self, stream: LogStream, bytes: &[u8]) {
        let Self {
            partial,
            kept,
            marks,
            ..
        } = self;
        if let Some(log) = super::log() {
            log.take(partial, stream, bytes, &mut |line| keep(kept, *marks, line));
        }
    }

    /// Takes unfinished lines for whole.
    pub(crate) fn finish(&mut self) {
        let Self {
            partial,
            kept,
            marks,
            ..
        } = self;
        if let Some(log) = super::log() {
            log.finish(partial, &mut |line| keep(kept, *marks, line));
        }
    }

    /// Its lines after a mark.
    pub(crate) fn since(&self, mark: u64) -> Vec<LogLine> {
        let kept = self.kept.iter().filter(|(before, _)| *before >= mark);
        kept.map(|(_, line)| line.clone()).collect()
    }

    /// The last of them that may explain its death.
    pub(crate) fn last_words(&self) -> Vec<String> {
        let mut lines = self.since(self.marks[0].max(self.marks[1]));
        lines.retain(|line| !matches!(line.level, LogLevel::Info | LogLevel::Debug));
        let begin = lines.len().saturating_sub(Self::LAST);
        lines.drain(begin..).map(|line| line.text).collect()
    }
}

fn keep(kept: &mut VecDeque<(u64, LogLine)>, marks: [u64; 2], line: &LogLine) {
    if kept.len() == RING {
        kept.pop_front();
    }
    kept.push_back((marks[line.stream as usize], line.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_part_the_lines_however_they_are_read() {
        crate::host::keep_log().unwrap();
        let mut bytes = b"I before: 1\nunfinished".to_vec();
        bytes.extend_from_slice(&mark(7));
        bytes.extend_from_slice(b"E after: \0 2\nW after: 3\n");
        for size in [1, 5, bytes.len()] {
            let mut log = LogOfWorker::default();
            for part in bytes.chunks(size) {
                log.take(LogStream::Stderr, part);
            }
            let texts = |mark| -> Vec<String> {
                let lines = log.since(mark);
                lines.into_iter().map(|line| line.text).collect()
            };
            assert_eq!(texts(7), ["E after: \0 2", "W after: 3"]);
            assert_eq!(texts(0).len(), 4);
            assert_eq!(log.last_words(), texts(7));
        }
    }
}

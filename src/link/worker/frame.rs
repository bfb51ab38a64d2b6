//! What a program and its worker say to each other, as bytes.
//!
//! A frame is its length in four bytes, little-endian, and a message as postcard writes it. Lengths are
//! checked, and memory grows with what has come, never with what was announced.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::host::LogLine;
use crate::protocol::config::ModelConfig;
use crate::protocol::error::Failure;
use crate::protocol::message::{Command, Event};
use crate::protocol::output::RowsKind;
use crate::runtime::{LoadOptions, Told};

/// The first word of a worker: the protocol, and the release that speaks it.
pub(super) const HELLO: &str = concat!("rkllm_rs worker ", env!("CARGO_PKG_VERSION"));

/// The longest frame that is accepted.
const LONGEST: usize = 1 << 30;
/// The length of a frame's length.
const PREFIX: usize = size_of::<u32>();

/// What the program says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Down {
    /// Find a model and load the library for it.
    Load(Box<Load>),
    /// Open it.
    Open(Box<ModelConfig>),
    /// What an engine is told.
    Tell(Command),
    /// Rows in the memory of that number have been read.
    Back(u32),
    /// The answer to [`Up::Enter`].
    Entered(super::gate::Entered),
    /// The answer to [`Up::Lines`].
    Lines(Vec<LogLine>),
    /// As [`Self::Back`], of memory that must not be used again.
    Drop(u32),
}

/// The models to choose from, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) models: Vec<Bytes>,
    pub(super) options: LoadOptions,
}

/// A path in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Bytes(#[serde(with = "crate::protocol::paths")] pub(super) PathBuf);

/// What the worker says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Up<'a> {
    /// See [`HELLO`].
    Hello(#[serde(borrow)] &'a str),
    /// The library is loaded, or not.
    Loaded(Result<Box<Loaded>, Box<Failure>>),
    /// An event that belongs to no run.
    Event(#[serde(borrow)] Event<'a>),
    /// An event of a lane of a run.
    Lane {
        run: u64,
        lane: usize,
        #[serde(borrow)]
        event: Event<'a>,
    },
    /// New shared memory; its file comes with this frame.
    Memory { number: u32, size: usize },
    /// Which lines came after that mark?
    Lines(u64),
    /// Shared memory that will not be used any more.
    Forget(u32),
    /// Shared memory for rows of a lane, under that number there, lent until [`Down::Back`]. They are in it when
    /// it says that it has been written for the `serial`th time, and at the latest when their event comes.
    Lend {
        run: u64,
        lane: usize,
        number: u32,
        block: u64,
        serial: u32,
        kind: RowsKind,
        rows: usize,
        width: usize,
    },
    /// A run wants the NPU, and waits for it so long.
    Enter(std::time::Duration),
    /// That run waits no longer.
    NotWanted,
    /// That run is over.
    Leave,
}

/// What was found and loaded.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Loaded {
    #[serde(with = "crate::protocol::paths")]
    pub(super) model: PathBuf,
    pub(super) told: Told,
    pub(super) warnings: Vec<String>,
    pub(super) fallback: Option<String>,
}

/// Why no further frame can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("it announced {0} bytes in one message")]
    Length(usize),
    #[error("it sent a message that cannot be read")]
    Garbage,
}

/// Appends a message.
///
/// # Errors
/// When it is longer than a frame may be.
pub(super) fn write(message: &impl Serialize, to: &mut Vec<u8>) -> Result<(), Problem> {
    let begin = to.len();
    to.extend_from_slice(&[0; PREFIX]);
    let mut bytes = std::mem::take(to);
    bytes = postcard::to_extend(message, bytes).map_err(|_| Problem::Garbage)?;
    *to = bytes;
    let length = to.len() - begin - PREFIX;
    let Some(prefix) = u32::try_from(length).ok().filter(|_| length <= LONGEST) else {
        to.truncate(begin);
        return Err(Problem::Length(length));
    };
    to[begin..begin + PREFIX].copy_from_slice(&prefix.to_le_bytes());
    Ok(())
}

/// Bytes that have come, and have not been read as frames.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
    /// How many bytes are there.
    end: usize,
}

/// How much is received at once, at least.
const ROOM: usize = 64 * 1024;

impl Frames {
    /// Room for bytes that come; [`Self::came`] tells how many have.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.at > 0 {
            self.bytes.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            self.at = 0;
        }
        if self.bytes.len() - self.end < ROOM {
            let grown = self.bytes.len().max(ROOM) * 2;
            self.bytes.resize(grown, 0);
        } else if self.end == 0 && self.bytes.len() > 64 * ROOM {
            // A long frame has passed.
            self.bytes = vec![0; 2 * ROOM];
        }
        &mut self.bytes[self.end..]
    }

    pub(super) fn came(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Whether a frame has begun and is not whole.
    pub(super) fn is_cut(&self) -> bool {
        self.at < self.end
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// When what has come is none.
    pub(super) fn next<'a, T: Deserialize<'a>>(&'a mut self) -> Result<Option<T>, Problem> {
        let there = &self.bytes[self.at..self.end];
        let Some((prefix, rest)) = there.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > LONGEST {
            return Err(Problem::Length(length));
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(None);
        };
        self.at += PREFIX + length;
        match postcard::take_from_bytes(frame) {
            Ok((message, [])) => Ok(Some(message)),
            _ => Err(Problem::Garbage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(frames: &mut Frames, bytes: &[u8]) {
        for part in bytes.chunks(ROOM) {
            frames.room()[..part.len()].copy_from_slice(part);
            frames.came(part.len());
        }
    }

    #[test]
    fn frames_come_in_pieces_and_together() {
        let mut bytes = Vec::new();
        write(&Down::Back(7), &mut bytes).unwrap();
        let long = Down::Tell(Command::Answer {
            number: 1,
            response: crate::protocol::question::Response::Tokens(vec![5; 400_000]),
        });
        write(&long, &mut bytes).unwrap();
        let mut frames = Frames::default();
        fill(&mut frames, &bytes[..3]);
        assert_eq!(frames.next::<Down>(), Ok(None));
        assert!(frames.is_cut());
        fill(&mut frames, &bytes[3..100]);
        assert_eq!(frames.next(), Ok(Some(Down::Back(7))));
        assert_eq!(frames.next::<Down>(), Ok(None));
        fill(&mut frames, &bytes[100..]);
        assert_eq!(frames.next(), Ok(Some(long)));
        assert!(!frames.is_cut());
    }

    #[test]
    fn what_is_no_frame_is_refused_without_room_for_it() {
        let mut frames = Frames::default();
        fill(&mut frames, &u32::MAX.to_le_bytes());
        assert_eq!(
            frames.next::<Down>(),
            Err(Problem::Length(u32::MAX as usize))
        );
        assert!(frames.bytes.len() < 1 << 20);
        let mut frames = Frames::default();
        fill(&mut frames, &[2, 0, 0, 0, 0xFF, 0xFF]);
        assert_eq!(frames.next::<Up<'_>>(), Err(Problem::Garbage));
        // A list that says to be longer than its frame.
        let mut frames = Frames::default();
        fill(&mut frames, &[7, 0, 0, 0, 2, 4, 1, 0, 0xFF, 0xFF, 0x7F]);
        assert_eq!(frames.next::<Down>(), Err(Problem::Garbage));
        // More than one message in a frame.
        let mut frames = Frames::default();
        fill(&mut frames, &[3, 0, 0, 0, 3, 1, 1]);
        assert_eq!(frames.next::<Down>(), Err(Problem::Garbage));
    }
}

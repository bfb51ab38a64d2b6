//! What a run has brought and nobody has read.

use std::collections::VecDeque;
use std::time::Instant;

use crate::host::FloatBlock;
use crate::host::wake::WakePair;
use crate::protocol::output::{Ending, FinishReason, LibraryPerf};
use rkllm_text::stop::{Found, StopState, StopStrings};
use rkllm_text::utf8::Utf8Joiner;

/// What one token call brought. Small, since a run that nobody reads keeps one for each token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// How much of the text, in bytes; nothing where a character was not whole yet.
    length: u32,
    pub(crate) id: i32,
}

impl Piece {
    pub(super) fn new(length: usize, id: i32) -> Self {
        let Ok(length) = u32::try_from(length) else {
            // Becomes an error of the run, as every panic under the callback.
            panic!("a token of {length} bytes")
        };
        Self { length, id }
    }

    pub(crate) fn length(self) -> usize {
        self.length as usize
    }
}

/// Text and tokens that have come and not been read.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// All pieces, one behind the other.
    pub(crate) text: String,
    /// One for each token call.
    pub(crate) pieces: Vec<Piece>,
    /// Text behind the pieces that came with no call: what was left of an unfinished character.
    pub(crate) rest: Option<Piece>,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.pieces.clear();
        self.rest = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_none()
    }

    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + size_of_val(self.pieces.as_slice())
    }

    /// Adds a copy of what came next.
    pub(crate) fn append(&mut self, next: &Self) {
        self.text.push_str(&next.text);
        self.pieces.extend_from_slice(&next.pieces);
        self.rest = next.rest;
    }
}

/// How the library's last call of a run went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LastCall {
    Finish(Option<LibraryPerf>),
    Error,
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is set by another side")]
pub(super) struct Inner {
    pub(super) pending: Batch,
    pub(super) joiner: Utf8Joiner,
    pub(super) last_token: i32,
    pub(super) last_call: Option<LastCall>,
    /// Counts calls, so that the actor can see whether any still come.
    pub(super) calls: u64,
    pub(super) tokens: usize,
    pub(super) limit_reached: bool,
    pub(super) panicked: bool,
    pub(super) started: Option<Instant>,
    pub(super) first_token: Option<Instant>,
    pub(super) ending: Option<Ending>,
    /// Where the text is with regard to the stop strings, and what might begin one.
    pub(super) stop_state: StopState,
    pub(super) held: String,
    /// Rows that have come and not been read.
    pub(super) blocks: VecDeque<FloatBlock>,
    /// Width of the rows that came, for what is known of the model.
    pub(super) width: Option<usize>,
    /// The library was told to pause in this run.
    pub(super) pausing: bool,
    /// The run is paused, and waits for what it is to go on with.
    pub(super) resting: bool,
    /// The library asks something.
    pub(super) poked: bool,
    /// Its reader takes one token at a time, each only when the library has paused after it.
    pub(super) stepping: bool,
    /// The reader was cancelled while it waited, and has not come back since; which time that was.
    pub(super) left: Option<u64>,
    pub(super) times_left: u64,
    pub(super) loop_waits: bool,
    pub(super) wake: Option<WakePair>,
}

impl Inner {
    /// Appends all characters that are whole after `bytes`, and returns how long they are.
    #[inline]
    pub(super) fn join(&mut self, bytes: &[u8]) -> usize {
        let before = self.pending.text.len();
        self.joiner.push(bytes, &mut self.pending.text);
        self.pending.text.len() - before
    }

    /// [`Self::join`], less what might begin a stop string; true when one is complete.
    pub(super) fn join_until(&mut self, bytes: &[u8], stop: &StopStrings) -> (usize, bool) {
        let before = self.held.len();
        self.joiner.push(bytes, &mut self.held);
        let (free, stopped) = match stop.read(&mut self.stop_state, &self.held[before..]) {
            Found::Held(held) => (self.held.len() - held, false),
            Found::Stop { end, length } => (before + end - length, true),
        };
        self.pending.text.push_str(&self.held[..free]);
        if stopped {
            self.held.clear();
            self.joiner = Utf8Joiner::default();
        } else {
            self.held.drain(..free);
        }
        (free, stopped)
    }

    /// Why a run ended that the library has ended.
    pub(super) fn reason(&self) -> FinishReason {
        if self.limit_reached {
            FinishReason::Length
        } else {
            FinishReason::Stop
        }
    }

    /// Whether there is something for the reader.
    pub(super) fn ready(&self) -> bool {
        self.ending.is_some()
            || self.resting
            || self.poked
            || !self.stepping && (!self.pending.text.is_empty() || !self.blocks.is_empty())
    }

    /// Whether what has come may be taken: of steps only when the library has paused.
    pub(super) fn may_take(&self) -> bool {
        !self.stepping || self.resting || self.ending.is_some()
    }
}

//! Text and tokens, as a reader takes them: all that has come, at once.

use crate::protocol::output::TokenLogprob;

/// What one token call brought. Small, since a run that nobody reads keeps one for each token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// How much of the text, in bytes; nothing where a character was not whole yet.
    length: u32,
    pub(crate) id: i32,
}

impl Piece {
    #[inline(always)]
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
pub(crate) struct TextBatch {
    /// All pieces, one behind the other.
    pub(crate) text: String,
    /// One for each token call.
    pub(crate) pieces: Vec<Piece>,
    /// Text behind the pieces that came with no call: what was left of an unfinished character.
    pub(crate) rest: Option<Piece>,
    /// How likely the tokens are, where that is told: one for each, in their order.
    pub(crate) likely: Vec<TokenLogprob>,
}

impl TextBatch {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.pieces.clear();
        self.rest = None;
        self.likely.clear();
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

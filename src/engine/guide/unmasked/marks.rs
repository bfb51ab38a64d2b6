//! Markers in an answer that are tokens of their own.

use rkllm_text::constraint::{Part, Refusal};

use super::super::tokens::Piece;
use super::{Looked, Phase, Seen, Unmasked};

impl Unmasked {
    /// A token of a marker in the answer.
    pub(super) fn mark(&mut self, id: i32, stands: &[u8], all: usize) -> Result<Looked, Refusal> {
        if self.follower.take(stands)? == stands.len() {
            self.phase = Phase::Answer;
            return Ok(Looked::at(self.after(), 0..all));
        }
        if self.phase == Phase::Answer && self.follower.may_end() {
            return Ok(Looked::untold(Seen::Behind));
        }
        Ok(self.refuse(id, &[], 0, 0))
    }

    /// The tokens that spell a text that is followed.
    pub(super) fn spell(&self, text: &[u8]) -> Option<Vec<Piece>> {
        let marks = self.follower.marks();
        let mut pieces = Vec::new();
        for part in marks.split(text) {
            match part {
                Part::Text(text) => pieces.extend(self.tokens.spell(text)?),
                Part::Mark(id, shown) => pieces.push((id, shown.to_vec())),
            }
        }
        Some(pieces)
    }
}

//! Tokens of the answer: whether each fits, and what follows from that.

use rkllm_text::constraint::Refusal;

use super::{Looked, Pause, Phase, Seen, Unmasked, whole_characters};
use crate::protocol::constraint::Way;

/// The least number of forced tokens that the library is paused for: one it chooses as fast by itself.
const FORCED: usize = 2;

impl Unmasked {
    /// A token of the answer.
    #[inline]
    pub(super) fn answer(&mut self, id: i32, text: &[u8]) -> Result<Looked, Refusal> {
        let all = text.len();
        if all == 0 {
            // A part of a character, or an end that the library does not show.
            if !self.tokens.is_marker(id) {
                return Ok(Looked::untold(Seen::Fits));
            }
            if self.follower.may_end() {
                return Ok(Looked::untold(Seen::Behind));
            }
            return Ok(self.refuse(id, text, 0, 0));
        }
        let took = self.follower.take(text)?;
        if took == all {
            self.phase = Phase::Answer;
            return Ok(Looked::at(self.after(), 0..all));
        }
        if took == 0 && self.phase == Phase::Answer && self.follower.may_end() {
            return Ok(Looked::untold(Seen::Behind));
        }
        if self.holds_back() {
            // What models like to put around an answer is left out.
            let from = text.len() - text.trim_ascii_start().len();
            let is_first = self.phase != Phase::Answer || self.ids.is_empty();
            if took == 0 && from > 0 && is_first {
                if from == all {
                    return Ok(Looked::untold(Seen::Ignored));
                }
                if self.follower.take(&text[from..])? == all - from {
                    self.phase = Phase::Answer;
                    return Ok(Looked::at(self.after(), from..all));
                }
            }
            if took > 0 && self.ends_with(&text[..took])? {
                return Ok(Looked::at(Seen::FitsAtEnd, 0..took));
            }
        }
        Ok(self.refuse(id, text, 0, took))
    }

    /// Whether the answer may end behind this text; then it is taken.
    fn ends_with(&mut self, text: &[u8]) -> Result<bool, Refusal> {
        let mut ahead = self.follower.clone();
        ahead.take(text)?;
        let ends = ahead.may_end();
        if ends {
            self.follower = ahead;
            self.phase = Phase::Answer;
        }
        Ok(ends)
    }

    /// A token that is no part of the answer. Of its text, the first `before` bytes come before the answer, and the
    /// first `fits` would have fitted.
    pub(super) fn refuse(&mut self, id: i32, text: &[u8], before: usize, fits: usize) -> Looked {
        if !self.holds_back() {
            self.pause = Some(Pause::Refused {
                id,
                text: text.to_vec(),
                before,
                fits,
            });
        }
        Looked::untold(Seen::Refused)
    }

    /// What a token is behind which the answer is here.
    #[inline]
    pub(super) fn after(&mut self) -> Seen {
        self.again = 0;
        if self.follower.is_over() {
            return Seen::FitsAtEnd;
        }
        if self.way == Way::Guided {
            let forced = self.follower.forced();
            let forced = forced[..whole_characters(forced)].to_vec();
            let spelled = || self.spell(&forced);
            if !forced.is_empty() && spelled().is_some_and(|all| all.len() >= FORCED) {
                self.pause = Some(Pause::Forced);
                return Seen::FitsForced;
            }
        }
        Seen::Fits
    }
}

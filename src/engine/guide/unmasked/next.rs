//! How an answer goes on where the library has paused, or has ended the run.

use rkllm_text::constraint::Refusal;

use super::super::tokens::Piece;
use super::{Next, Pause, Phase, Unmasked, first_phase, whole_characters};
use crate::protocol::constraint::{Constraint, Way};
use crate::protocol::error::Failure;

/// How often the library chooses again in one place, and in one answer.
const AGAIN: (usize, usize) = (2, 16);
/// After so many replaced tokens an answer is brought to its end.
const REPLACED: usize = 64;
/// The longest ending, in bytes.
const ENDING: usize = 4096;
/// How often an answer that does not fit is asked for again.
const TRIES: usize = 4;

impl Unmasked {
    /// The text that is forced here, in whole characters.
    fn forced(&mut self) -> Vec<u8> {
        let forced = self.follower.forced();
        forced[..whole_characters(forced)].to_vec()
    }

    fn take_forced(&mut self) -> Result<Vec<u8>, Refusal> {
        let forced = self.forced();
        self.follower.take(&forced)?;
        Ok(forced)
    }

    /// What is forced before the first token, if that is at most `room` tokens.
    pub(in crate::engine) fn beginning(&mut self, room: usize) -> Option<Vec<Piece>> {
        if self.way != Way::Guided || self.phase != Phase::Answer {
            return None;
        }
        let forced = self.forced();
        let pieces = self.spell(&forced)?;
        if pieces.is_empty() || pieces.len() > room {
            return None;
        }
        self.follower.take(&forced).ok()?;
        Some(self.noted(pieces))
    }

    fn noted(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        for (id, text) in &pieces {
            self.note(*id, text);
        }
        pieces
    }

    /// How the answer goes on where the library has paused, or where it has ended the run (`ended`).
    /// `may_choose`: it may choose otherwise. `behind` is the prompt's last token, if it is known.
    pub(in crate::engine) fn next(
        &mut self,
        ended: bool,
        may_choose: bool,
        behind: Option<i32>,
    ) -> Result<Next, Failure> {
        let is_thinking = matches!(self.phase, Phase::Thinking(_) | Phase::Gap(_));
        if ended && is_thinking && self.pause.is_none() && self.ends_with_thinking {
            return Ok(Next::Ends);
        }
        if self.holds_back() {
            return Ok(self.next_try(may_choose));
        }
        let last = self.ids.last().copied();
        let argument = self.argument;
        let refused = |refusal: Refusal| Constraint::refused_as(argument, &refusal);
        // What comes before the answer, what of the answer was meant, and the token that meant it.
        let (mut text, mut meant, mut meant_by) = (Vec::new(), Vec::new(), None);
        let mut before = None;
        // The thinking whose end the library has left out.
        let mut unclosed = None;
        match self.pause.take() {
            Some(Pause::Forced) => {
                self.forced += 1;
                before = last;
            }
            Some(Pause::Tag(rest)) => {
                self.phase = Phase::Thinking(String::new());
                self.replaced += 1;
                let pieces = self.spelled(rest.as_bytes(), None)?;
                return Ok(Next::Pieces { before, pieces });
            }
            Some(Pause::Refused {
                id,
                text: all,
                before: at,
                fits,
            }) => {
                let trimmed = all[at..].trim_ascii_start();
                if fits > at {
                    meant = all[at..fits].to_vec();
                    meant_by = Some(id);
                } else if self.clone_takes(trimmed) {
                    meant = trimmed.to_vec();
                } else if at == 0 && self.forced().is_empty() {
                    let last = last.or(behind).filter(|_| may_choose && !ended);
                    let is_new = self.again < AGAIN.0 && self.retries < AGAIN.1;
                    if let Some(last) = last.filter(|_| is_new) {
                        self.again += 1;
                        self.retries += 1;
                        return Ok(Next::Again(last));
                    }
                }
                text = all[..at].to_vec();
                self.replaced += 1;
            }
            None if !ended || self.is_whole() || self.phase == Phase::Left => {
                return Ok(Next::Ends);
            }
            // The library has ended an answer that is not whole.
            None => {
                if let Phase::Thinking(_) = self.phase {
                    unclosed = self.thinking.clone();
                }
                self.replaced += 1;
            }
        }
        self.again = 0;
        self.phase = Phase::Answer;
        self.follower.take(&meant).map_err(refused)?;
        meant.extend(self.take_forced().map_err(refused)?);
        if (meant.is_empty() || self.is_stuck()) && !self.follower.may_end() {
            meant.extend(self.take_step().map_err(refused)?);
        }
        text.extend_from_slice(&meant);
        if text.is_empty() && unclosed.is_none() {
            // Nothing leads to an end.
            return Ok(if self.is_whole() {
                Next::Ends
            } else {
                Next::Fails
            });
        }
        let mut pieces = match (&unclosed, self.tags[1]) {
            (Some(thinking), Some(id)) => {
                self.noted(vec![(id, thinking.close.as_bytes().to_vec())])
            }
            (Some(thinking), None) => self.spelled(thinking.close.as_bytes(), None)?,
            (None, _) => Vec::new(),
        };
        pieces.extend(self.spelled(&text, meant_by)?);
        Ok(Next::Pieces { before, pieces })
    }

    /// So much was replaced that the answer is brought to its end.
    fn is_stuck(&self) -> bool {
        self.replaced > REPLACED
    }

    /// Takes a step that the library did not mean: a character towards the answer's end, or all of the way to it if
    /// the answer is stuck; and what is forced behind it.
    fn take_step(&mut self) -> Result<Vec<u8>, Refusal> {
        let is_stuck = self.is_stuck();
        let is_looked_for = is_stuck || !self.is_far;
        let (mut step, ends) = if is_looked_for {
            self.follower.toward_end(ENDING)
        } else {
            (Vec::new(), false)
        };
        self.is_far = !ends;
        if is_stuck {
            step.truncate(whole_characters(&step));
        } else {
            // Too far from its end to see it, it comes nearer.
            if !ends {
                step = self.follower.step();
            }
            step.truncate(first_character(&step));
        }
        self.follower.take(&step)?;
        step.extend(self.take_forced()?);
        Ok(step)
    }

    /// What brings the answer to its end without the library, or to its limit of so many tokens.
    pub(in crate::engine) fn ending(&mut self, left: usize) -> Result<Vec<Piece>, Failure> {
        let refused = |argument, refusal: &Refusal| Constraint::refused_as(argument, refusal);
        let Some(ending) = self.follower.ending(ENDING) else {
            let mut pieces = Vec::new();
            while pieces.len() < left.min(ENDING) {
                let step = self.follower.step();
                let taken = self.follower.take(&step);
                if taken.map_err(|refusal| refused(self.argument, &refusal))? == 0 {
                    break;
                }
                pieces.extend(self.spelled(&step, None)?);
            }
            if pieces.len() >= left {
                return Ok(pieces);
            }
            let text = format!(
                "the answer cannot be brought to an end that fits {}",
                self.argument
            );
            return Err(Failure::of_run(&text));
        };
        let taken = self.follower.take(&ending);
        taken.map_err(|refusal| refused(self.argument, &refusal))?;
        self.spelled(&ending, None)
    }

    /// Whether nothing more may come.
    pub(in crate::engine) fn is_over(&mut self) -> bool {
        self.phase == Phase::Answer && self.follower.is_over()
    }

    pub(super) fn clone_takes(&self, text: &[u8]) -> bool {
        let taken = self.follower.clone().take(text);
        !text.is_empty() && taken.is_ok_and(|taken| taken == text.len())
    }

    /// The tokens of a text, which are now part of the answer. A token that meant it can stand for it.
    fn spelled(&mut self, text: &[u8], meant_by: Option<i32>) -> Result<Vec<Piece>, Failure> {
        let spelled = self.spell(text);
        let alone = || Some(vec![(meant_by?, text.to_vec())]);
        let pieces = spelled.or_else(alone);
        let pieces = pieces.ok_or_else(|| {
            let shown = self.follower.marks().shown(text);
            self.tokens.missing(self.argument, &shown)
        })?;
        Ok(self.noted(pieces))
    }

    /// What becomes of a try that has come to its end.
    fn next_try(&mut self, may_choose: bool) -> Next {
        if self.is_whole() {
            return Next::Ends;
        }
        let same = self.retries > 0 && self.ids == self.last_try;
        if same || !may_choose || self.retries + 1 >= TRIES {
            return Next::Fails;
        }
        self.retries += 1;
        self.last_try = std::mem::take(&mut self.ids);
        self.said.clear();
        self.lengths.clear();
        self.partial.clear();
        self.follower = self.fresh.clone();
        self.phase = first_phase(self.thinking.as_deref());
        Next::Retry
    }
}

/// The length of a text's first character.
fn first_character(text: &[u8]) -> usize {
    let all = 1..=text.len().min(4);
    let mut whole = all.filter(|length| std::str::from_utf8(&text[..*length]).is_ok());
    whole.next().unwrap_or(text.len())
}

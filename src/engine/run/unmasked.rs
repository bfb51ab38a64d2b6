//! The part of a lane that keeps its answer to a grammar while the library chooses the tokens.

use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

use super::super::guide::{Guide, Next, Piece, Seen, Unmasked};
use super::{Inner, RunLane};
use crate::host::wake::Side;
use crate::native::{Lane as _, Verdict};
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::output::FinishReason;

/// What the library is given next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum Onward {
    /// Nothing: the answer has ended, or the run has ended it.
    Nothing,
    /// It has paused, and these take the place of the token that it gave last.
    Tokens(Vec<i32>),
    /// It has paused, and chooses again behind this token.
    Again(i32),
    /// It has ended the run: the prompt, and behind it these tokens, or their text.
    Answer(Vec<i32>, Vec<u8>),
    /// The prompt.
    Prompt,
}

/// What is known of the library where it has paused, or has ended a run.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Standing {
    /// It has ended the run.
    pub(in crate::engine) ended: bool,
    /// It can choose again, and may choose otherwise.
    pub(in crate::engine) may_choose: bool,
    /// The prompt's last token, if it is known.
    pub(in crate::engine) behind: Option<i32>,
    /// How many tokens of an answer it can be given behind the prompt.
    pub(in crate::engine) room: usize,
}

impl RunLane {
    /// Whether the library chooses the tokens of an answer that is kept to a grammar.
    pub(in crate::engine) fn is_unmasked(&self) -> bool {
        matches!(self.inner.lock().guide, Some(Guide::Unmasked(_)))
    }

    /// A token that the library has chosen.
    #[inline]
    pub(super) fn unmasked_token(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        bytes: &[u8],
        id: i32,
    ) -> Verdict {
        let Some(Guide::Unmasked(guide)) = &mut inner.guide else {
            return Verdict::Continue;
        };
        let holds_back = guide.holds_back();
        let (seen, text) = match guide.look(id, bytes) {
            Ok(looked) => looked,
            Err(refusal) => return self.lost(inner, &refusal),
        };
        match seen {
            Seen::Ignored => return Verdict::Continue,
            Seen::Behind => return self.stop_at(inner, FinishReason::Stop),
            Seen::Refused if holds_back => {
                inner.count(id);
                self.want_abort();
                return Verdict::Continue;
            }
            Seen::Refused => {
                inner.pausing = true;
                return Verdict::Pause;
            }
            Seen::Fits | Seen::FitsForced | Seen::FitsAtEnd => {}
        }
        inner.count(id);
        let stopped = !holds_back && self.hand_on(&mut inner, &text, id);
        if stopped || seen == Seen::FitsAtEnd {
            return self.stop_at(inner, FinishReason::Stop);
        }
        if inner.tokens >= self.plan.limit.tokens {
            inner.limit_reached = true;
            if !self.plan.limit.by_library {
                return self.stop_at(inner, FinishReason::Length);
            }
        } else if seen == Seen::FitsForced {
            inner.pausing = true;
            return Verdict::Pause;
        }
        Verdict::Continue
    }

    /// Hands on what was held back until the end, which may be another one then.
    pub(super) fn with_held(
        &self,
        inner: &mut Inner,
        outcome: Result<FinishReason, Failure>,
        side: Side,
    ) -> Result<FinishReason, Failure> {
        let held = match &mut inner.guide {
            // Others than the engine end a run whose tokens nobody waits for.
            Some(Guide::Unmasked(guide)) if side == Side::Vendor => guide.held(),
            _ => return outcome,
        };
        if self.hand_on_all(inner, &held) && outcome.is_ok() {
            return Ok(FinishReason::Stop);
        }
        outcome
    }

    /// Hands tokens on; true when a stop string is complete.
    fn hand_on_all(&self, inner: &mut Inner, pieces: &[Piece]) -> bool {
        pieces
            .iter()
            .any(|(id, text)| self.hand_on(inner, text, *id))
    }

    /// What is forced before the first token, if that is at most `room` tokens: they are handed on, and go to
    /// the library behind the prompt.
    pub(in crate::engine) fn beginning(&self, room: usize) -> Vec<i32> {
        let mut inner = self.inner.lock();
        let Some(Guide::Unmasked(guide)) = &mut inner.guide else {
            return Vec::new();
        };
        let Some(pieces) = guide.beginning(room) else {
            return Vec::new();
        };
        let ids = pieces.iter().map(|(id, _)| *id).collect();
        self.given(inner, &pieces);
        ids
    }

    /// Tokens that were not chosen by the library are part of the answer. Whether it goes on.
    fn given(&self, mut inner: MutexGuard<'_, Inner>, pieces: &[Piece]) -> bool {
        let left = self.plan.limit.tokens.saturating_sub(inner.tokens);
        for (id, _) in pieces.iter().take(left) {
            inner.count(*id);
        }
        let stopped = self.hand_on_all(&mut inner, &pieces[..pieces.len().min(left)]);
        let is_cut = pieces.len() > left;
        let is_over = match &mut inner.guide {
            Some(Guide::Unmasked(guide)) if is_cut => {
                guide.cut();
                false
            }
            Some(Guide::Unmasked(guide)) => guide.is_over(),
            _ => false,
        };
        let reason = if stopped || is_over {
            FinishReason::Stop
        } else if pieces.len() >= left {
            FinishReason::Length
        } else {
            return true;
        };
        self.finish(inner, Ok(reason), Side::Vendor);
        false
    }

    /// How the answer goes on where the library has paused, or where it has ended the run.
    pub(in crate::engine) fn onward(&self, standing: Standing) -> Result<Onward, Failure> {
        let mut inner = self.inner.lock();
        let limit_reached = inner.limit_reached;
        let left = self.plan.limit.tokens.saturating_sub(inner.tokens);
        let guide = match &mut inner.guide {
            Some(Guide::Unmasked(guide)) if !self.has_ended() && !limit_reached => guide,
            _ => return Ok(Onward::Nothing),
        };
        let Standing {
            ended,
            may_choose,
            behind,
            room,
        } = standing;
        match guide.next(ended, may_choose, behind)? {
            Next::Ends if ended => Ok(Onward::Nothing),
            Next::Ends => {
                self.finish(inner, Ok(FinishReason::Stop), Side::Vendor);
                Ok(Onward::Nothing)
            }
            Next::Again(token) => Ok(Onward::Again(token)),
            Next::Retry => {
                inner.tokens = 0;
                self.abort_wanted.store(false, Ordering::Release);
                Ok(Onward::Prompt)
            }
            Next::Fails => {
                let failure = unfit(guide);
                self.finish(inner, Err(failure), Side::Vendor);
                Ok(Onward::Nothing)
            }
            Next::Pieces { before, mut pieces } => {
                let needed = guide.so_far().0.len() + 1;
                if ended && needed > room {
                    pieces.extend(guide.ending(left)?);
                }
                if !self.given(inner, &pieces) {
                    return Ok(Onward::Nothing);
                }
                if !ended {
                    let ids = pieces.into_iter().map(|(id, _)| id);
                    return Ok(Onward::Tokens(before.into_iter().chain(ids).collect()));
                }
                let mut inner = self.inner.lock();
                let Some(Guide::Unmasked(guide)) = &mut inner.guide else {
                    return Ok(Onward::Nothing);
                };
                if needed > room {
                    self.finish(inner, Ok(FinishReason::Stop), Side::Vendor);
                    return Ok(Onward::Nothing);
                }
                let (ids, said) = guide.so_far();
                Ok(Onward::Answer(ids.to_vec(), said.to_vec()))
            }
        }
    }

    /// How many tokens may still come.
    pub(in crate::engine) fn left(&self) -> usize {
        let tokens = self.inner.lock().tokens;
        self.plan.limit.tokens.saturating_sub(tokens)
    }

    /// How many tokens the prompt takes, if that is known.
    pub(in crate::engine) fn prompt_tokens(&self) -> Option<usize> {
        self.inner.lock().prompt?.all
    }
}

#[cold]
fn unfit(guide: &mut Unmasked) -> Failure {
    let tries = guide.kept().retries + 1;
    let times = if tries == 1 {
        "once".to_owned()
    } else {
        format!("{tries} times")
    };
    let text = format!(
        "the answer does not fit {}: the model was asked {times}",
        guide.argument()
    );
    Failure::new(ErrorKind::Generation, text).with_hint(
        "Describe the form in the prompt, with an example, or make it simpler. The error's partial has the last answer.",
    )
}

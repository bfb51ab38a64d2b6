//! Keeps an answer to its grammar while the library chooses its tokens: looks at each, and says what is to come
//! in the place of one that does not fit.

mod before;
mod marks;
mod next;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use rkllm_text::constraint::{Follower, Refusal};

use super::tokens::{Piece, Tokens};
use crate::protocol::constraint::{Constraint, Kept, Thinking, Way};

/// The least number of forced tokens that the library is paused for: one it chooses as fast by itself.
const FORCED: usize = 2;
/// The most tokens of white space between thinking and answer.
const GAP: usize = 4;

/// Where an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Nothing has come: it may think first.
    Start,
    /// So much of the tag that begins its thinking has come.
    Opening(String),
    /// It thinks, which is free. The end of its text is kept, to find the tag in.
    Thinking(String),
    /// The thinking has ended, and the answer has not begun; so many tokens have come between.
    Gap(usize),
    /// It is in the grammar.
    Answer,
    /// It is cut, or does not fit.
    Left,
}

/// What a token is to the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Seen {
    /// It is part of it.
    Fits,
    /// It is part of it, and what follows is forced.
    FitsForced,
    /// It is part of it, and the answer is whole.
    FitsAtEnd,
    /// The answer was whole before it.
    Behind,
    /// It is no part of it.
    Refused,
    /// It is nothing.
    Ignored,
}

/// Why the library was paused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pause {
    /// What is next is forced.
    Forced,
    /// The tag that begins the thinking was left; this is missing of it.
    Tag(String),
    /// A token of this text was refused, of which the first bytes fit; the first of them are before the answer.
    Refused {
        id: i32,
        text: Vec<u8>,
        before: usize,
        fits: usize,
    },
}

/// How an answer goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Next {
    /// With these tokens. Where the library has paused, it is given the token before them too, if that is
    /// not computed yet.
    Pieces {
        before: Option<i32>,
        pieces: Vec<Piece>,
    },
    /// The library chooses again behind this token.
    Again(i32),
    /// It is asked for again.
    Retry,
    /// It is as it is.
    Ends,
    /// It did not fit in all its tries.
    Fails,
}

/// An answer on its way through a grammar.
pub(in crate::engine) struct Free {
    way: Way,
    argument: &'static str,
    thinking: Option<Arc<Thinking>>,
    /// The tokens that begin and end the thinking, where they are tokens of their own.
    tags: [Option<i32>; 2],
    start: Follower,
    follower: Follower,
    phase: Phase,
    tokens: Arc<Tokens>,
    pause: Option<Pause>,
    /// The tokens of the answer, and its bytes.
    ids: Vec<i32>,
    said: Vec<u8>,
    /// Of a try: the length of each token's text in what is said.
    lengths: Vec<usize>,
    /// The tokens of the try before, if it did not fit.
    before: Vec<i32>,
    /// Bytes of a character that is not whole, of which the library has shown no text.
    partial: Vec<u8>,
    /// The library ends a run where the thinking ends, and another goes on from there.
    ends_with_thinking: bool,
    replaced: usize,
    /// Stretches that were forced, for which the library was paused.
    forced: usize,
    /// The answer's end is too far to be seen.
    is_far: bool,
    /// How often the library has chosen again in this place.
    again: usize,
    retries: usize,
}

impl Free {
    pub(super) fn new(
        constraint: &Constraint,
        way: Way,
        tokens: Arc<Tokens>,
        ends_with_thinking: bool,
    ) -> Result<Self, Refusal> {
        let follower = match tokens.vocabulary() {
            Some(vocabulary) => Follower::of_tokens(&constraint.grammar, vocabulary)?,
            None => Follower::new(&constraint.grammar)?,
        };
        Ok(Self {
            way,
            argument: constraint.grammar.argument(),
            phase: start(constraint.thinking.as_ref()),
            thinking: constraint.thinking.clone().map(Arc::new),
            tags: constraint.thinking.as_ref().map_or([None; 2], |thinking| {
                let find = |tag: &str| tokens.find(tag);
                [
                    thinking.open.as_deref().and_then(find),
                    find(&thinking.close),
                ]
            }),
            start: follower.clone(),
            follower,
            tokens,
            pause: None,
            ids: Vec::new(),
            said: Vec::new(),
            lengths: Vec::new(),
            before: Vec::new(),
            partial: Vec::new(),
            ends_with_thinking,
            replaced: 0,
            forced: 0,
            is_far: false,
            again: 0,
            retries: 0,
        })
    }

    /// Whether nothing of it is told before it is whole.
    pub(in crate::engine) fn holds_back(&self) -> bool {
        self.way == Way::Retry
    }

    /// The argument that it is given by.
    pub(in crate::engine) fn argument(&self) -> &'static str {
        self.argument
    }

    /// Looks at a token, and gives its text as far as it is part of the answer.
    #[inline]
    pub(in crate::engine) fn look<'a>(
        &mut self,
        id: i32,
        text: &'a [u8],
    ) -> Result<(Seen, Cow<'a, [u8]>), Refusal> {
        let mut text = match self.unshown_tag(id, text) {
            Some(tag) => Cow::Owned(tag),
            None => self.whole_text(id, text),
        };
        let may_mark = matches!(self.phase, Phase::Start | Phase::Gap(_) | Phase::Answer);
        let mark = self.follower.marks().token(id).filter(|_| may_mark);
        let mark = mark.map(|(stands, shown)| (stands, shown.to_vec()));
        let (seen, from, to) = match (mark, &self.phase) {
            (Some((stands, shown)), _) => {
                text = Cow::Owned(shown);
                self.mark(id, &stands, text.len())?
            }
            (None, Phase::Answer) => self.answer(id, &text)?,
            (None, Phase::Left) => (Seen::Ignored, 0, 0),
            (None, _) => self.before_answer(id, &text)?,
        };
        // A token that a try is left at is part of what is told of it.
        let is_left = seen == Seen::Refused && self.holds_back();
        let (from, to) = if is_left { (0, text.len()) } else { (from, to) };
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[from..to]),
            Cow::Owned(text) => Cow::Owned(text[from..to].to_vec()),
        };
        if is_left {
            self.phase = Phase::Left;
        }
        if is_left || matches!(seen, Seen::Fits | Seen::FitsForced | Seen::FitsAtEnd) {
            self.note(id, &text);
        }
        Ok((seen, text))
    }

    fn note(&mut self, id: i32, text: &[u8]) {
        self.ids.push(id);
        self.said.extend_from_slice(text);
        if self.holds_back() {
            self.lengths.push(text.len());
        }
    }

    /// A token's text: where the library shows none until a character is whole, it is known from the vocabulary.
    #[inline]
    fn whole_text<'a>(&mut self, id: i32, text: &'a [u8]) -> Cow<'a, [u8]> {
        if !text.is_empty() && self.partial.is_empty() {
            self.tokens.learn(id, text);
            return Cow::Borrowed(text);
        }
        let Some(own) = self.tokens.text(id) else {
            self.partial.clear();
            return Cow::Borrowed(text);
        };
        self.partial.extend_from_slice(own);
        let whole = whole_characters(&self.partial);
        self.partial.drain(..whole);
        Cow::Owned(own.to_vec())
    }

    /// A token of the answer: what it is, and the part of its text that is told.
    #[inline]
    fn answer(&mut self, id: i32, text: &[u8]) -> Result<(Seen, usize, usize), Refusal> {
        let all = text.len();
        if all == 0 {
            // A part of a character, or an end that the library does not show.
            if !self.tokens.is_marker(id) {
                return Ok((Seen::Fits, 0, 0));
            }
            if self.follower.may_end() {
                return Ok((Seen::Behind, 0, 0));
            }
            return Ok(self.refuse(id, text, 0, 0));
        }
        let took = self.follower.take(text)?;
        if took == all {
            self.phase = Phase::Answer;
            return Ok((self.after(), 0, all));
        }
        if took == 0 && self.phase == Phase::Answer && self.follower.may_end() {
            return Ok((Seen::Behind, 0, 0));
        }
        if self.holds_back() {
            // What models like to put around an answer is left out.
            let from = text.len() - text.trim_ascii_start().len();
            let is_first = self.phase != Phase::Answer || self.ids.is_empty();
            if took == 0 && from > 0 && is_first {
                if from == all {
                    return Ok((Seen::Ignored, 0, 0));
                }
                if self.follower.take(&text[from..])? == all - from {
                    self.phase = Phase::Answer;
                    return Ok((self.after(), from, all));
                }
            }
            if took > 0 && self.ends_with(&text[..took])? {
                return Ok((Seen::FitsAtEnd, 0, took));
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

    fn refuse(&mut self, id: i32, text: &[u8], before: usize, fits: usize) -> (Seen, usize, usize) {
        if !self.holds_back() {
            self.pause = Some(Pause::Refused {
                id,
                text: text.to_vec(),
                before,
                fits,
            });
        }
        (Seen::Refused, 0, 0)
    }

    /// What a token is behind which the answer is here.
    #[inline]
    fn after(&mut self) -> Seen {
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

    /// The answer is cut where it is.
    pub(in crate::engine) fn cut(&mut self) {
        self.phase = Phase::Left;
    }

    /// What has come of it: its tokens, and its text.
    pub(in crate::engine) fn so_far(&self) -> (&[i32], &[u8]) {
        (&self.ids, &self.said)
    }

    /// The tokens that were held back.
    pub(in crate::engine) fn held(&mut self) -> Vec<Piece> {
        let mut rest = &self.said[..];
        let lengths = std::mem::take(&mut self.lengths);
        let pieces = self.ids.iter().zip(lengths).map(|(id, length)| {
            let (text, behind) = rest.split_at(length);
            rest = behind;
            (*id, text.to_vec())
        });
        pieces.collect()
    }

    /// How the answer was kept to its grammar, if it ends here.
    pub(in crate::engine) fn kept(&mut self) -> Kept {
        Kept {
            way: self.way,
            replaced: self.replaced,
            forced: self.forced,
            retries: self.retries,
            calls: 0,
            complete: self.is_whole(),
        }
    }

    /// Whether the answer may end here.
    fn is_whole(&mut self) -> bool {
        self.phase == Phase::Answer && self.follower.may_end()
    }
}

fn start(thinking: Option<&Thinking>) -> Phase {
    match thinking.map(|thinking| &thinking.open) {
        None => Phase::Answer,
        Some(None) => Phase::Thinking(String::new()),
        Some(Some(_)) => Phase::Start,
    }
}

/// The length of what is whole characters; bytes that can be none count as such.
fn whole_characters(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => text.len(),
    }
}

fn blanks(text: &[u8]) -> usize {
    text.len() - text.trim_ascii_start().len()
}

/// Keeps as much of a text's end as a tag of this length may begin in.
fn keep_end(text: &mut String, tag: usize) {
    if text.len() > 4 * tag + 64 {
        let mut from = text.len() - 2 * tag;
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.drain(..from);
    }
}

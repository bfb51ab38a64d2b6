//! Keeps an answer to its grammar while the library chooses its tokens, which no mask can reach: looks at each, and
//! says what is to come in the place of one that does not fit.
//!
//! Two ways, `Way::Guided` and `Way::Retry`. The first pauses the library at a token that does not fit, and where
//! text is forced. The second holds the answer back (`holds_back`), and asks for all of it again.
//!
//! [`Unmasked::look`] is called for each token, [`Unmasked::next`] where the library has paused or ended the run.

mod answer;
mod before;
mod marks;
mod next;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rkllm_text::constraint::{Follower, Refusal};

use super::keep_end;
use super::tokens::{Piece, Tokens};
use crate::protocol::constraint::{Constraint, Kept, Thinking, Way};

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

/// What was seen of a token, and which bytes of its text are part of the answer.
struct Looked {
    seen: Seen,
    told: Range<usize>,
}

impl Looked {
    fn at(seen: Seen, told: Range<usize>) -> Self {
        Self { seen, told }
    }

    /// Nothing of the token is told.
    fn untold(seen: Seen) -> Self {
        Self::at(seen, 0..0)
    }
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
pub(in crate::engine) struct Unmasked {
    way: Way,
    argument: &'static str,
    thinking: Option<Arc<Thinking>>,
    /// The tokens that begin and end the thinking, where they are tokens of their own.
    tags: [Option<i32>; 2],
    /// The grammar before any token, for another try; and as far as the answer is.
    fresh: Follower,
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
    last_try: Vec<i32>,
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

impl Unmasked {
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
            phase: first_phase(constraint.thinking.as_ref()),
            thinking: constraint.thinking.clone().map(Arc::new),
            tags: constraint.thinking.as_ref().map_or([None; 2], |thinking| {
                let find = |tag: &str| tokens.find(tag);
                [
                    thinking.open.as_deref().and_then(find),
                    find(&thinking.close),
                ]
            }),
            fresh: follower.clone(),
            follower,
            tokens,
            pause: None,
            ids: Vec::new(),
            said: Vec::new(),
            lengths: Vec::new(),
            last_try: Vec::new(),
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
        let Looked { seen, told } = match (mark, &self.phase) {
            (Some((stands, shown)), _) => {
                text = Cow::Owned(shown);
                self.mark(id, &stands, text.len())?
            }
            (None, Phase::Answer) => self.answer(id, &text)?,
            (None, Phase::Left) => Looked::untold(Seen::Ignored),
            (None, _) => self.before_answer(id, &text)?,
        };
        // A token that a try is left at is part of what is told of it.
        let is_left = seen == Seen::Refused && self.holds_back();
        let told = if is_left { 0..text.len() } else { told };
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[told]),
            Cow::Owned(text) => Cow::Owned(text[told].to_vec()),
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

/// Where an answer is before its first token.
fn first_phase(thinking: Option<&Thinking>) -> Phase {
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

/// How much white space a text begins with.
fn blanks(text: &[u8]) -> usize {
    text.len() - text.trim_ascii_start().len()
}

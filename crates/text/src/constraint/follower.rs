//! Follows an answer through its grammar byte by byte, whatever its tokens are.

use std::sync::Arc;
use std::time::Instant;

use llguidance::earley::{Parser, ParserRecognizer};
use llguidance::toktrie::Recognizer as _;

use super::{Grammar, Marks, Refusal, Spelling, Spent, Vocabulary, plain};

/// No token of the vocabulary of single bytes has more than one: its bytes stand for themselves.
const NO_TOKEN: u32 = u32::MAX;

/// How many bytes are tried at most before they are applied.
const TRIED: usize = 64;

/// Bytes of which two may often come where there is a choice: within texts, between parts, in numbers.
const CHOICE: &[u8] = b"ae \n01";

/// Where an answer is in its grammar.
///
/// It needs no vocabulary. It tells what may come only when that is asked for, so that a text that fits costs
/// little more than its bytes.
#[derive(Clone)]
pub struct Follower {
    parser: Parser,
    /// What has been tried of the answer's end and fits, and is not applied yet: all of it at once costs less. There is
    /// a choice behind it.
    tried: Vec<u8>,
    /// Whether that may be: some grammars count tokens.
    pub(super) may_wait: bool,
    /// Two bytes that could come where there was a choice last.
    choice: (u8, u8),
    /// Both may come here.
    has_choice: bool,
    /// What ends a text that may go on with all else.
    closings: Arc<[String]>,
    marks: Marks,
    spent: Spent,
}

impl Follower {
    /// One at the start of an answer.
    ///
    /// # Errors
    /// What is wrong with the grammar.
    pub fn new(grammar: &Grammar) -> Result<Self, Refusal> {
        Self::spelled(grammar, Spelling::Text, Marks::default())
    }

    /// One for a model of this vocabulary: what is a token in it has a character of its own, as [`Self::marks`] says.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_tokens(grammar: &Grammar, vocabulary: &Vocabulary) -> Result<Self, Refusal> {
        let marks = Marks::of(grammar, vocabulary);
        let spelling = Spelling::Marks(vocabulary, &marks);
        Self::spelled(grammar, spelling, marks.clone())
    }

    fn spelled(grammar: &Grammar, spelling: Spelling<'_>, marks: Marks) -> Result<Self, Refusal> {
        let parser = grammar.parser(plain()?, spelling)?.parser;
        let mut made = Self {
            may_wait: !parser.grammar().lexer_spec().has_max_tokens,
            parser,
            tried: Vec::new(),
            choice: (CHOICE[0], CHOICE[1]),
            has_choice: false,
            closings: grammar.closings(spelling).into(),
            marks,
            spent: Spent::default(),
        };
        if made.forced().is_empty() && made.next().is_empty() && !made.may_end() {
            return Err(Refusal::invalid("allows no text at all"));
        }
        Ok(made)
    }

    /// The tokens that stand in the text as one character each.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Goes on over a text, if all of it fits; else nothing changes. How many of its bytes fit.
    ///
    /// # Errors
    /// The grammar is too complex to go on.
    pub fn take(&mut self, text: &[u8]) -> Result<usize, Refusal> {
        if self.has_choice && self.may_wait && self.goes_on(text) {
            if self.tried.len() >= TRIED {
                self.settle()?;
            }
            return Ok(text.len());
        }
        let began = Instant::now();
        let fits = self.take_now(text)?;
        self.spent.token(began)?;
        Ok(fits)
    }

    /// The same, whatever has been put off.
    fn take_now(&mut self, text: &[u8]) -> Result<usize, Refusal> {
        self.settle()?;
        let (fits, has_choice) = self.fits(text);
        if fits < text.len() {
            let error = self.parser.get_error();
            return error.map_or(Ok(fits), |error| Err(Refusal::of(&error.message())));
        }
        if fits > 0 {
            let taken = self.parser.apply_token(text, NO_TOKEN);
            taken.map_err(|error| Refusal::of(&error.to_string()))?;
            self.has_choice = has_choice;
        }
        Ok(fits)
    }

    /// Goes on over a text by trying it alone, if all of it fits and there is the same choice behind it.
    fn goes_on(&mut self, text: &[u8]) -> bool {
        if text.is_empty() {
            return false;
        }
        let (choice, is_first) = (self.choice, self.tried.is_empty());
        let fits = self.parser.with_recognizer(|tries| {
            if is_first {
                tries.trie_started("follower");
            }
            let bytes = text.iter();
            let count = bytes.take_while(|byte| tries.try_push_byte(**byte)).count();
            let all = count == text.len() && may_come(tries, choice.0) && may_come(tries, choice.1);
            if !all {
                tries.pop_bytes(count);
                if is_first {
                    tries.trie_finished();
                }
            }
            all
        });
        if fits {
            self.tried.extend_from_slice(text);
        }
        fits
    }

    /// Applies what was only tried.
    fn settle(&mut self) -> Result<(), Refusal> {
        if self.tried.is_empty() {
            return Ok(());
        }
        self.parser.with_recognizer(|tries| tries.trie_finished());
        let taken = self.parser.apply_token(&self.tried, NO_TOKEN);
        self.tried.clear();
        taken
            .map(drop)
            .map_err(|error| Refusal::of(&error.to_string()))
    }

    /// How many bytes of a text fit; and if all do, whether there is a choice behind them for certain.
    fn fits(&mut self, text: &[u8]) -> (usize, bool) {
        let forced = self.parser.currently_forced_bytes();
        let known = text.iter().zip(forced).take_while(|(a, b)| a == b).count();
        if known < forced.len() {
            return (known, false);
        }
        let choice = self.choice;
        self.tries(|tries| {
            let rest = text[known..].iter();
            let fits = known + rest.take_while(|byte| tries.try_push_byte(**byte)).count();
            let mut may = |byte| may_come(tries, byte);
            (fits, fits == text.len() && may(choice.0) && may(choice.1))
        })
    }

    /// Goes on for a while, and back again.
    fn tries<T>(&mut self, f: impl FnOnce(&mut ParserRecognizer<'_>) -> T) -> T {
        self.parser.with_recognizer(|tries| {
            tries.trie_started("follower");
            let result = f(tries);
            tries.trie_finished();
            result
        })
    }

    /// Whether there is a choice of what comes next, as far as that is soon found.
    fn looks_free(&mut self) -> bool {
        if !self.has_choice && self.parser.currently_forced_bytes().is_empty() {
            let mut found = self.tries(|tries| {
                let all = CHOICE.iter().copied();
                let may: Vec<u8> = all.filter(|byte| may_come(tries, *byte)).take(2).collect();
                may.into_iter()
            });
            if let (Some(one), Some(other)) = (found.next(), found.next()) {
                self.choice = (one, other);
                self.has_choice = true;
            }
        }
        self.has_choice
    }

    /// The text that must come next, as far as there is no choice.
    pub fn forced(&mut self) -> &[u8] {
        if self.looks_free() {
            return &[];
        }
        self.parser.force_bytes()
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.settle().is_ok()
            && self.parser.currently_forced_bytes().is_empty()
            && self.parser.is_accepting()
    }

    /// Whether nothing more may come.
    pub fn is_over(&mut self) -> bool {
        !self.looks_free() && !self.parser.can_advance() && self.may_end()
    }

    /// The bytes that may come next.
    pub(super) fn next(&mut self) -> Vec<u8> {
        if self.settle().is_err() {
            return Vec::new();
        }
        if let Some(first) = self.parser.currently_forced_bytes().first() {
            return vec![*first];
        }
        self.tries(|tries| {
            // 0xFF stands for special tokens.
            let all = 0..u8::MAX;
            all.filter(|byte| may_come(tries, *byte)).collect()
        })
    }

    /// What closes the text that is open here.
    fn closing(&mut self) -> Option<Vec<u8>> {
        self.settle().ok()?;
        let all = Arc::clone(&self.closings);
        let mut closes = all.iter().map(String::as_bytes);
        // Within a string it may come any number of times.
        let found = closes.find(|closing| {
            let fits = self.fits(&closing.repeat(2)).0;
            (closing.len()..2 * closing.len()).contains(&fits)
        });
        found.map(<[u8]>::to_vec)
    }

    /// What comes next on the way to the end.
    fn nearer(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let forced = self.forced();
        if !forced.is_empty() {
            return Some(forced.to_vec());
        }
        if let Some(closing) = self.closing() {
            return Some(closing);
        }
        Some(vec![best(&self.next(), text)?])
    }

    /// A character that brings the answer nearer to its end; nothing if none may come.
    #[must_use]
    pub fn step(&self) -> Vec<u8> {
        let mut ahead = self.clone();
        let mut text = Vec::new();
        while text.is_empty() || std::str::from_utf8(&text).is_err() && text.len() < 4 {
            let next = ahead.nearer(&text);
            let Some(next) = next.filter(|next| ahead.take(next).is_ok_and(|n| n == next.len()))
            else {
                break;
            };
            text.extend(next);
        }
        text
    }

    /// A short text of at most so many bytes that goes on from here and ends the answer. Where there is a choice,
    /// it takes what closes: a text, then an object or a list, then what is short.
    #[must_use]
    pub fn ending(&self, most: usize) -> Option<Vec<u8>> {
        let (text, ends) = self.toward_end(most);
        ends.then_some(text)
    }

    /// The [`ending`](Self::ending) and true, or so many bytes of the way there at most.
    #[must_use]
    pub fn toward_end(&self, most: usize) -> (Vec<u8>, bool) {
        // Other clones share what the engine has worked out, and its bounds, which it can meet on the way.
        let mut ahead = Self {
            parser: self.parser.deep_clone(),
            ..self.clone()
        };
        let mut text = Vec::new();
        while !ahead.may_end() {
            let next = ahead.nearer(&text).filter(|next| {
                text.len() + next.len() <= most
                    && ahead.take(next).is_ok_and(|taken| taken == next.len())
            });
            let Some(next) = next else {
                return (text, false);
            };
            text.extend(next);
        }
        (text, true)
    }
}

fn may_come(tries: &mut ParserRecognizer<'_>, byte: u8) -> bool {
    let may = tries.try_push_byte(byte);
    if may {
        tries.pop_bytes(1);
    }
    may
}

/// What closes first.
const CLOSING: &[u8] = b"\"}]:,@01tfn-{[ae";
/// How often a byte may come in a row before another is taken: what repeats closes nothing.
const OFTEN: usize = 3;
/// Among how many of the last bytes letters and digits are counted.
const LAST: usize = 8;

fn best(next: &[u8], text: &[u8]) -> Option<u8> {
    let cost = |byte: &u8| {
        let last = text.iter().rev();
        // Digits that come in turns end no number: what may come behind them is to have its turn.
        let again = if byte.is_ascii_alphanumeric() {
            last.take(LAST).filter(|one| *one == byte).count()
        } else {
            last.take_while(|one| *one == byte).count()
        } / OFTEN;
        let place = CLOSING.iter().position(|one| one == byte);
        let plain = usize::from(!byte.is_ascii_alphanumeric());
        // White space and control characters close nothing, nor do parts of other characters.
        let late = !byte.is_ascii_graphic();
        (again, late, place.unwrap_or(CLOSING.len() + plain))
    };
    next.iter().min_by_key(|byte| cost(byte)).copied()
}

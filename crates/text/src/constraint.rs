//! What an answer may be: a grammar, and which tokens keep to it.
//!
//! llguidance does the work. What is ours: sizes that bound its time and memory, white space that a model cannot
//! lose itself in, and errors that name the place in the schema.

mod blame;
mod calls;
mod ends;
mod follower;
mod lark;
mod marks;
mod references;
mod refusal;
mod schema;
mod spent;
mod together;
mod tokenizer_json;
mod vocabulary;
mod words;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv};
use llguidance::{Matcher as Engine, ParserFactory, TokenParser};
use serde::{Deserialize, Serialize};

use crate::stack::{Problem, with_stack};
use calls::Spelling;
pub use calls::{Calls, CallsProblem};
pub use follower::Follower;
pub use marks::{Marks, Part};
pub use refusal::Refusal;
use spent::Spent;
pub use vocabulary::{Kind, Vocabulary};
pub use words::Words;

/// The longest grammar, in bytes of its text; what it may unfold to is limited besides.
pub const LONGEST: usize = 256 * 1024;

/// The longest pattern, in bytes: the engine's time and memory grow with the square of it.
const LONGEST_PATTERN: usize = 8 * 1024;

/// How many expressions a pattern may make at once: a bound of the time that it takes.
const EXPRESSIONS: usize = 200_000;
/// How many steps patterns may take to prepare.
const FUEL: usize = 500_000;
/// How many states they may have.
const STATES: usize = 50_000;
/// How many symbols a grammar may have.
const SYMBOLS: usize = 200_000;
/// How many of its rules may apply in one place. Each of the most properties of an object takes four.
const ITEMS: usize = 5_000;
/// And to the next token, whichever it is.
const CHANCES: usize = 50_000;

/// The stack of the thread that compiles: memory is used only as far as it is reached.
const COMPILING: usize = 128 << 20;

/// What an answer may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grammar {
    /// A JSON value that fits this JSON schema.
    JsonSchema(String),
    /// Text that matches this regular expression as a whole.
    Regex(String),
    /// One of these texts.
    Choices(Vec<String>),
    /// A grammar in llguidance's form of Lark.
    Lark(String),
    /// Calls of tools.
    Calls(Calls),
}

impl Grammar {
    /// The argument that it is given by.
    #[must_use]
    pub fn argument(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "json_schema",
            Self::Regex(_) => "regex",
            Self::Choices(_) => "choices",
            Self::Lark(_) => "grammar",
            Self::Calls(_) => "tool_choice",
        }
    }

    /// Texts in it that may be tokens of their own.
    #[must_use]
    pub fn markers(&self) -> Vec<&str> {
        match self {
            Self::Calls(calls) => calls.markers().iter().map(String::as_str).collect(),
            Self::Lark(text) => lark::names(text),
            _ => Vec::new(),
        }
    }

    /// The texts that it is written with.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (one, many): (Option<&str>, &[String]) = match self {
            Self::JsonSchema(text) | Self::Regex(text) | Self::Lark(text) => (Some(text), &[]),
            Self::Choices(all) => (None, all),
            Self::Calls(calls) => (Some(calls.text()), calls.markers()),
        };
        one.into_iter().chain(many.iter().map(String::as_str))
    }

    /// What ends the texts in it that would not end by themselves.
    fn closings(&self, spelling: Spelling<'_>) -> Vec<String> {
        match self {
            Self::Calls(calls) => calls.closings(spelling),
            _ => Vec::new(),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::JsonSchema(text) | Self::Regex(text) | Self::Lark(text) => text.len(),
            Self::Choices(all) => all.iter().map(String::len).sum(),
            Self::Calls(calls) => calls.len(),
        }
    }

    fn compiled(&self, spelling: Spelling<'_>) -> Result<TopLevelGrammar, Refusal> {
        if self.length() > LONGEST {
            return Err(Refusal::too_long(LONGEST, "", self.length()));
        }
        match self {
            Self::JsonSchema(text) => Ok(TopLevelGrammar::from_json_schema(schema::bounded(
                schema::parsed(text)?,
            ))),
            Self::Regex(text) if text.is_empty() => Err(Refusal::invalid("must not be empty")),
            Self::Regex(text) if text.len() > LONGEST_PATTERN => {
                Err(Refusal::too_long(LONGEST_PATTERN, "", text.len()))
            }
            Self::Regex(text) => Ok(TopLevelGrammar::from_regex(text)),
            Self::Choices(all) => choices(all),
            Self::Lark(text) if text.trim().is_empty() => {
                Err(Refusal::invalid("must not be empty"))
            }
            Self::Lark(text) => Ok(TopLevelGrammar::from_lark(lark::spelled(text, spelling)?)),
            Self::Calls(calls) => Ok(TopLevelGrammar::from_lark(calls.lark(spelling))),
        }
    }

    /// Whether it can be served at all, by a vocabulary of single bytes: all that can be known without a model.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn check(&self) -> Result<(), Refusal> {
        self.parser(plain()?, Spelling::Unknown).map(drop)
    }

    /// A parser at the start of an answer. It is made on a stack of its own: what names another thing is compiled
    /// within it.
    fn parser(
        &self,
        factory: &ParserFactory,
        spelling: Spelling<'_>,
    ) -> Result<TokenParser, Refusal> {
        let work = || {
            let made = factory.create_parser(self.compiled(spelling)?);
            made.map_err(|error| self.refused(&error))
        };
        with_stack(COMPILING, work).unwrap_or_else(|problem| {
            Err(match problem {
                Problem::Panicked => Refusal::invalid("has met an error inside the engine"),
                Problem::NoRoom(error) => Refusal::too_large(format!(
                    "cannot be compiled: no memory for its stack: {error}"
                )),
            })
        })
    }

    fn refused(&self, error: &impl std::fmt::Display) -> Refusal {
        let refusal = Refusal::of(&error.to_string());
        match self {
            Self::JsonSchema(text) => schema::placed(text, refusal),
            Self::Lark(text) => lark::refused_schema(text).unwrap_or(refusal),
            // The engine shows the grammar that it has made of it.
            Self::Regex(_) => refusal.of_pattern(),
            _ => refusal,
        }
    }
}

fn choices(all: &[String]) -> Result<TopLevelGrammar, Refusal> {
    if all.is_empty() {
        return Err(Refusal {
            hint: r#"Pass a list of texts, such as ["yes", "no"]."#,
            ..Refusal::invalid("must not be empty")
        });
    }
    if let Some(at) = all.iter().position(String::is_empty) {
        return Err(Refusal::invalid(format!(
            "must not contain an empty text, got one as [{at}]"
        )));
    }
    let quoted: Vec<String> = all
        .iter()
        .map(|choice| serde_json::Value::from(choice.as_str()).to_string())
        .collect();
    Ok(TopLevelGrammar::from_lark(format!(
        "start: CHOICE\nCHOICE: {}",
        quoted.join(" | ")
    )))
}

/// Compiles grammars without a model; made once.
fn plain() -> Result<&'static ParserFactory, Refusal> {
    static PLAIN: OnceLock<Result<ParserFactory, Refusal>> = OnceLock::new();
    let plain = PLAIN.get_or_init(|| factory(&ApproximateTokEnv::single_byte_env(), &[]));
    plain.as_ref().map_err(Clone::clone)
}

fn factory(tokens: &TokEnv, slices: &[String]) -> Result<ParserFactory, Refusal> {
    let made = ParserFactory::new(tokens, InferenceCapabilities::default(), slices);
    let mut factory = made.map_err(|error| Refusal::invalid(error.to_string()))?;
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        initial_lexer_fuel: FUEL as u64,
        step_lexer_fuel: EXPRESSIONS as u64,
        max_lexer_states: STATES,
        max_grammar_size: SYMBOLS,
        max_items_in_row: ITEMS,
        step_max_items: CHANCES,
        verbose_errors: false,
        ..ParserLimits::default()
    };
    Ok(factory)
}

/// A model's vocabulary, ready for grammars: made once for a model, which takes up to a second.
pub struct Constraints {
    factory: ParserFactory,
    vocabulary: Arc<Vocabulary>,
}

impl Constraints {
    /// Gets a vocabulary ready.
    ///
    /// # Errors
    /// It has no token, or none that ends an answer.
    pub fn new(vocabulary: impl Into<Arc<Vocabulary>>) -> Result<Self, Refusal> {
        let vocabulary = vocabulary.into();
        let tokens = vocabulary.environment()?;
        let slices = SlicedBiasComputer::general_slices();
        Ok(Self {
            factory: factory(&tokens, &slices)?,
            vocabulary,
        })
    }

    /// The model's tokens.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// A matcher at the start of an answer.
    ///
    /// # Errors
    /// What is wrong with the grammar; or no token of this vocabulary can begin it.
    pub fn matcher(&self, grammar: &Grammar) -> Result<Matcher, Refusal> {
        let parser = grammar.parser(&self.factory, Spelling::Tokens(&self.vocabulary))?;
        let mut engine = Engine::new(Ok(parser));
        let first = engine.compute_mask_or_eos();
        let first = first.map_err(|error| grammar.refused(&error))?;
        if first.is_zero() {
            return Err(Refusal::unbegun());
        }
        Ok(Matcher {
            engine,
            first: Some(first),
            ends: match grammar {
                Grammar::Lark(text) if lark::has_ids(text) => self
                    .vocabulary
                    .ends()
                    .filter_map(|id| usize::try_from(id).ok())
                    .collect(),
                _ => Vec::new(),
            },
            spent: Spent::default(),
        })
    }
}

/// Where an answer is in its grammar.
pub struct Matcher {
    engine: Engine,
    /// The mask of the first token, which was computed to see whether there is one.
    first: Option<SimpleVob>,
    /// The tokens that end an answer, where a grammar may name them by their ids: it ends only where it may.
    ends: Vec<usize>,
    spent: Spent,
}

impl Matcher {
    /// Takes the tokens that the grammar does not allow here out of a row of logits.
    ///
    /// # Errors
    /// The grammar is too complex to go on.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), Refusal> {
        let began = Instant::now();
        let mask = match self.first.take() {
            Some(mask) => mask,
            None => self
                .engine
                .compute_mask_or_eos()
                .map_err(|error| Refusal::of(&error.to_string()))?,
        };
        for (words, logits) in mask.as_slice().iter().zip(logits.chunks_mut(32)) {
            match *words {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                bits => {
                    let mut out = !bits;
                    while let Some(logit) = logits.get_mut(out.trailing_zeros() as usize) {
                        *logit = f32::NEG_INFINITY;
                        out &= out - 1;
                    }
                }
            }
        }
        // Rows of some models are longer than their vocabulary.
        let known = mask.len();
        if let Some(rest) = logits.get_mut(known..) {
            rest.fill(f32::NEG_INFINITY);
        }
        if !self.ends.is_empty() && !self.may_end() {
            for at in &self.ends {
                if let Some(logit) = logits.get_mut(*at) {
                    *logit = f32::NEG_INFINITY;
                }
            }
            if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
                return Err(Refusal::invalid(
                    "allows only a token here that ends the answer, and more must come",
                ));
            }
        }
        self.spent.token(began)
    }

    /// Goes on over a token; false, and nothing changes, if the grammar does not allow it here.
    ///
    /// # Errors
    /// The grammar is too complex to go on.
    pub fn push(&mut self, token: i32) -> Result<bool, Refusal> {
        self.first = None;
        let Ok(token) = u32::try_from(token) else {
            return Ok(false);
        };
        let began = Instant::now();
        let count = self
            .engine
            .try_consume_tokens(&[token])
            .map_err(|error| Refusal::of(&error.to_string()))?;
        self.spent.add(began);
        Ok(count == 1)
    }

    /// Whether the answer may end here.
    pub fn may_end(&mut self) -> bool {
        self.is_over() || self.engine.is_accepting().unwrap_or(false)
    }

    /// Whether nothing more may come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.engine.is_stopped()
    }
}

#[cfg(test)]
mod blame_tests;
#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod tests;

//! What an answer is kept to.

use serde::{Deserialize, Serialize};

use rkllm_text::constraint::Refusal;

use super::error::{ErrorKind, Failure};

pub use rkllm_text::constraint::Grammar;

/// What an answer is kept to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// What it may be.
    pub grammar: Grammar,
    /// The thinking before it, which is free; none where there cannot be any.
    pub thinking: Option<Thinking>,
    /// How it is kept to that; none for the best that the library lets be done.
    pub way: Option<Way>,
}

/// Thinking before an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thinking {
    /// What begins it; none if the prompt has begun it already.
    pub open: Option<String>,
    /// What ends it.
    pub close: String,
}

impl Constraint {
    /// An answer without thinking before it.
    #[must_use]
    pub fn new(grammar: Grammar) -> Self {
        Self {
            grammar,
            thinking: None,
            way: None,
        }
    }

    /// Whether nothing changes what the library chooses but a pause, or another try.
    pub(crate) fn lets_choose(&self) -> bool {
        matches!(self.way, Some(Way::Guided | Way::Retry))
    }

    /// Checks what can be known without a model.
    ///
    /// # Errors
    /// `ErrorKind::Schema` for a schema or for tools, with the keyword and its place; for the others
    /// `ErrorKind::InvalidArgument` for what is wrong, and `ErrorKind::UnsupportedFeature` for what is too much.
    pub fn check(&self) -> Result<(), Failure> {
        self.grammar
            .check()
            .map_err(|refusal| self.refused(&refusal))
    }

    pub(crate) fn refused(&self, refusal: &Refusal) -> Failure {
        Self::refused_as(self.grammar.argument(), refusal)
    }

    /// The error for what is given by this argument.
    pub(crate) fn refused_as(argument: &'static str, refusal: &Refusal) -> Failure {
        let kind = match argument {
            "json_schema" | "tool_choice" => Some(ErrorKind::Schema),
            _ => refusal.unsupported.then_some(ErrorKind::UnsupportedFeature),
        };
        if let Some(kind) = kind {
            let text = format!("{argument} {}", refusal.reason);
            return Failure::new(kind, text).with_hint(refusal.hint);
        }
        Failure::invalid_with_hint(argument, refusal.reason.clone(), refusal.hint)
    }
}

/// How an answer was kept to its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kept {
    /// By which way.
    pub way: Way,
    /// Tokens of the model's that were replaced by legal ones.
    pub replaced: usize,
    /// Stretches that had to come, for which the library was paused.
    pub forced: usize,
    /// How often the model was asked again.
    pub retries: usize,
    /// How often the library was called.
    pub calls: usize,
    /// Whether the answer is one as a whole: false if it was cut.
    pub complete: bool,
}

/// A way to keep an answer to a grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Way {
    /// Illegal tokens are taken out before one is chosen.
    Mask,
    /// The library is paused where it has chosen an illegal token, and given a legal one.
    Guided,
    /// An answer that does not fit is asked for again.
    Retry,
}

impl Way {
    /// "mask", "guided" or "retry".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::Guided => "guided",
            Self::Retry => "retry",
        }
    }

    /// The way of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Mask, Self::Guided, Self::Retry];
        all.into_iter().find(|way| way.as_str() == name)
    }
}

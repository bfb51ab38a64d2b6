//! Why a grammar is not served.

use std::fmt::Display;

use thiserror::Error;

use super::{CHANCES, EXPRESSIONS, FUEL, ITEMS, STATES, SYMBOLS};

/// The longest line of the engine's words that is told as it is: some show all of a pattern.
const LINE: usize = 400;
/// The engine's own bounds for schemas.
const PARTS: usize = 50_000;
const JOINED: usize = 128;
const EMPTY: usize = 10_000;

/// Words of the engine's for its bounds, each with what it counts. Some have no figure, or name its switches.
const BOUNDS: &[(&str, usize, &str)] = &[
    (
        "unable to determine if regex is empty",
        EMPTY,
        "steps are needed to see whether a text fits all its patterns",
    ),
    (
        "too many expressions",
        EXPRESSIONS,
        "expressions are needed at once for its patterns",
    ),
    (
        "too many states",
        STATES,
        "states are needed for its patterns",
    ),
    (
        "lexer configuration",
        FUEL,
        "steps are needed to read its patterns",
    ),
    (
        "precomputation failed",
        FUEL,
        "steps are needed to prepare its patterns",
    ),
    (
        "relevance",
        FUEL,
        "steps are needed to see what its patterns allow",
    ),
    (
        "number of symbols",
        SYMBOLS,
        "symbols are needed for its rules",
    ),
    ("items; max is", ITEMS, "rules could apply in one place"),
    (
        "too many items",
        CHANCES,
        "rules could apply to the next token",
    ),
    (
        "schema too large",
        PARTS,
        "parts are needed, with those that its references repeat",
    ),
    (
        "intersection stack level",
        JOINED,
        "schemas within each other must hold together",
    ),
];

/// Why a grammar is not served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What is wrong, to stand behind the argument's name.
    pub reason: String,
    /// What to do about it.
    pub hint: &'static str,
    /// It is right, but beyond what can be served.
    pub unsupported: bool,
}

const SIMPLER: &str = "Make it smaller, or describe less of the answer by it.";

impl Refusal {
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self {
            reason: shortened(&reason.into()),
            hint: "Correct what the message names.",
            unsupported: false,
        }
    }

    pub(super) fn too_large(reason: impl Into<String>) -> Self {
        Self {
            reason: shortened(&reason.into()),
            hint: SIMPLER,
            unsupported: true,
        }
    }

    /// It has more bytes than `most`; `of` says which are counted.
    #[must_use]
    pub fn too_long(most: usize, of: &str, got: impl Display) -> Self {
        Self::too_large(format!("must have at most {most} bytes{of}, got {got}"))
    }

    /// What is wrong with a pattern, without the grammar that was made of it.
    pub(super) fn of_pattern(self) -> Self {
        let told = self.reason.split_once("\nerror: ");
        let Some(what) = told.and_then(|(_, rest)| rest.lines().next()) else {
            return self;
        };
        Self {
            reason: format!("cannot be used: {what}"),
            ..self
        }
    }

    pub(super) fn unbegun() -> Self {
        Self::invalid("allows nothing that a token of this model's vocabulary can begin")
    }

    /// What llguidance said.
    pub(super) fn of(said: &str) -> Self {
        // Its own state follows in some errors, or that it is left out.
        let end = ["\n<state>", "\n<non-verbose/>"].map(|mark| said.find(mark));
        let end = end.into_iter().flatten().min().unwrap_or(said.len());
        let said = said[..end].trim();
        let said = &shortened(said.trim_end_matches('.'));
        let keywords = said.strip_prefix("Unimplemented keys: ");
        if let Some(keywords) = keywords {
            let keywords = keywords.trim_matches(['[', ']']).replace('"', "");
            return Self {
                reason: format!("has keywords that cannot be enforced: {keywords}"),
                hint: "Take them out of the schema, and check the answer for them.",
                unsupported: true,
            };
        }
        if said.contains("NoExtensionBias") {
            return Self::unbegun();
        }
        // These name switches of the engine, which nobody can reach.
        if said.starts_with("oneOf constraints are not supported") {
            return Self {
                reason: "cannot be used: several options of its oneOf could fit one value"
                    .to_owned(),
                hint: "Use anyOf, or give the options of oneOf different types or constants.",
                unsupported: true,
            };
        }
        if let Some((_, to)) = said.split_once("without 'referencing' feature; ref ") {
            return Self::invalid(format!(
                "cannot be used: its $ref must lead to a part of itself, such as #/$defs/a, got {to}"
            ));
        }
        let lower = said.to_lowercase();
        if let Some((_, bound, counted)) = BOUNDS.iter().find(|(words, ..)| lower.contains(words)) {
            return Self::too_large(format!("is too complex: more than {bound} {counted}"));
        }
        let beyond = [
            "too large",
            "too complex",
            "fuel",
            "too many",
            "exceeds",
            "exceeded",
        ];
        if beyond.iter().any(|word| lower.contains(word)) && !lower.contains("token range") {
            return Self::too_large(format!("is too complex: {said}"));
        }
        let unsupported = [
            "not supported",
            "only supported",
            "unsupported",
            "unknown format",
        ];
        Self {
            unsupported: unsupported.iter().any(|word| lower.contains(word)),
            ..Self::invalid(format!("cannot be used: {said}"))
        }
    }
}

/// Without the middle of a long line. Of several lines with a long one among them, which show a place, the first.
pub(super) fn shortened(said: &str) -> String {
    let is_short = |line: &str| line.chars().count() <= LINE;
    if said.lines().all(is_short) {
        return said.to_owned();
    }
    let first = said.lines().next().unwrap_or_default();
    if is_short(first) {
        return first.to_owned();
    }
    let cut = first.chars().count() - LINE / 2;
    let head: String = first.chars().take(LINE / 2).collect();
    let tail: String = first.chars().skip(cut).collect();
    format!("{head} ... {tail}")
}

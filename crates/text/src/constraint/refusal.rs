//! Why a grammar is not served.

use thiserror::Error;

use super::EXPRESSIONS;

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
            reason: reason.into(),
            hint: "Correct what the message names.",
            unsupported: false,
        }
    }

    pub(super) fn too_large(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: SIMPLER,
            unsupported: true,
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
        let said = said.trim_end_matches('.');
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
        if said.contains("too many expressions") {
            return Self::too_large(format!(
                "is too complex: a pattern in it makes more than {EXPRESSIONS} expressions at once"
            ));
        }
        let lower = said.to_lowercase();
        let beyond = [
            "too large",
            "too complex",
            "fuel",
            "too many",
            "limit",
            "exceeded",
            "; max is",
        ];
        if beyond.iter().any(|word| lower.contains(word)) {
            return Self::too_large(format!("is too complex: {said}"));
        }
        if said.starts_with("Failed to generate regex for") {
            return Self::too_large("is too complex: its minimum or maximum has too many digits");
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

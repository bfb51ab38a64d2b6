//! Why a grammar is not served.

use thiserror::Error;

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
        // Its own state follows in some errors.
        let said = said.split("\n<state>").next().unwrap_or(said).trim();
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

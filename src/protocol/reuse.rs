//! What a run may take from the KV cache in place of computing it.

use serde::{Deserialize, Serialize};

/// What a run may take from the KV cache in place of computing it. Runs with `keep_history` go on from all
/// of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reuse {
    /// What is held of the prompt. On the CPU runtime a run that is greedy or has a seed takes only what
    /// cannot change its answer. The vendor's library decides by itself what it takes, from 1.2.0 on.
    #[default]
    Auto,
    /// All that is held of the prompt, tokens of answers included.
    Fast,
    /// Nothing: the prompt is computed as a whole, and with `keep_history` a new conversation begins.
    Off,
}

impl Reuse {
    /// "auto", "fast" or "off".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fast => "fast",
            Self::Off => "off",
        }
    }
}

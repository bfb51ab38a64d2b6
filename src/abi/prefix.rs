//! Which release comes by the start of a prompt in what way.

use super::{AbiVersion, Capabilities};
use crate::protocol::Reuse;
use crate::protocol::error::Failure;

/// How prompts come by what the library holds of them. Nobody has seen it on a board yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrefixWay {
    /// Not at all.
    Whole,
    /// The library finds what a prompt has in common with what it holds.
    Matched,
    /// The library can find it too, but loses memory in each run without history (hazard M1): it is told to
    /// keep what it has, and gets the rest.
    Appended,
}

impl Capabilities {
    /// How prompts come by what the library holds of them.
    pub(crate) fn prefix_way(&self) -> PrefixWay {
        let counts = ["clear_kv_cache", "kv_cache_size"]
            .iter()
            .all(|name| self.has(name));
        if !self.has("prefix_reuse") {
            PrefixWay::Whole
        } else if self.abi >= AbiVersion::V1_3_0 && !self.is_cpu_runtime() && counts {
            PrefixWay::Appended
        } else {
            PrefixWay::Matched
        }
    }

    fn is_cpu_runtime(&self) -> bool {
        self.has("seed")
    }

    /// Demands what a run needs that may take so much from the KV cache.
    ///
    /// # Errors
    ///
    /// `ErrorKind::UnsupportedFeature`.
    pub(crate) fn require_reuse(&self, reuse: Reuse) -> Result<(), Failure> {
        match reuse {
            Reuse::Fast => self.require("prefix_reuse"),
            Reuse::Off if self.has("prefix_reuse") && !self.is_cpu_runtime() => {
                self.require("clear_kv_cache")
            }
            Reuse::Auto | Reuse::Off => Ok(()),
        }
    }
}

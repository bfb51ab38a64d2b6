//! What is known of a model that is open.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::output::RowsKind;

/// Where a fact about a model is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A line that the library printed while it loaded the model.
    Log,
    /// The CPU runtime's private table.
    CpuRuntime,
    /// Rows that the library gave.
    Results,
}

impl Source {
    /// "log", "cpu runtime" or "results".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::CpuRuntime => "cpu runtime",
            Self::Results => "results",
        }
    }
}

/// A fact with its source; `None` where nobody has told.
pub type Known<T> = Option<(T, Source)>;

/// What is known of a model. The C API tells nothing of it: with the vendor's library it comes from
/// log lines and results, with the CPU runtime from a table of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Longest context that the model was converted or trained for, in tokens.
    pub context_limit: Known<usize>,
    /// Size of the vocabulary.
    pub vocab_size: Known<usize>,
    /// Width of embeddings and hidden states.
    pub hidden_size: Known<usize>,
    /// The chip that it was converted for, such as `RK3588`.
    pub platform: Known<String>,
    /// NPU cores that it was converted for.
    pub npu_cores: Known<usize>,
    /// Version of the toolkit that converted it.
    pub toolkit_version: Known<String>,
    /// How its weights are quantised, such as `W8A8`.
    pub dtype: Known<String>,
    /// Version of the NPU's kernel driver that the library found.
    pub driver_version: Known<String>,
    /// Why the model's own chat template is not used, where it has one that cannot be.
    pub template_problem: Known<String>,
    /// Settings that the program left open and for which a value of ours was taken in place of the
    /// library's, by their names.
    pub chosen: BTreeMap<String, i32>,
}

impl ModelInfo {
    /// What the CPU runtime's table tells; numbers that are not positive mean that it does not know.
    pub(crate) fn tell(&mut self, vocab: i32, width: i32, limit: i32) {
        let known = |number: i32| {
            let number = usize::try_from(number).ok().filter(|n| *n > 0)?;
            Some((number, Source::CpuRuntime))
        };
        self.vocab_size = known(vocab);
        self.hidden_size = known(width);
        self.context_limit = known(limit);
    }

    /// What rows of `width` floats tell, where nobody has told before.
    pub(crate) fn learn(&mut self, kind: RowsKind, width: usize) {
        let known = match kind {
            RowsKind::Logits => &mut self.vocab_size,
            RowsKind::HiddenStates => &mut self.hidden_size,
        };
        known.get_or_insert((width, Source::Results));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_tell_where_nobody_has() {
        let mut info = ModelInfo::default();
        info.learn(RowsKind::Logits, 32000);
        info.learn(RowsKind::Logits, 7);
        assert_eq!(info.vocab_size, Some((32000, Source::Results)));
        info.tell(0, 2048, -1);
        assert_eq!(info.hidden_size, Some((2048, Source::CpuRuntime)));
    }
}

//! What is known of a model that is open.

use crate::host::LogLine;
use crate::protocol::output::RowsKind;

/// Where a fact about a model is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
}

/// The value behind `key` in a line of `key: value` parts.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let lower = line.to_ascii_lowercase();
    let at = lower.find(key)? + key.len();
    let rest = line[at..].trim_start().strip_prefix(':')?;
    let value = rest.split([',', ';']).next()?.trim();
    let unknown = ["", "unknown", "none"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word));
    (!unknown).then_some(value)
}

impl ModelInfo {
    /// From the lines that the library printed while it loaded the model.
    pub(crate) fn from_log(lines: &[LogLine]) -> Self {
        let mut info = Self::default();
        for line in lines {
            let text = |key| value(&line.text, key).map(|value| (value.to_owned(), Source::Log));
            let number = |key| {
                let digits = value(&line.text, key)?;
                Some((digits.parse().ok()?, Source::Log))
            };
            info.toolkit_version = text("rkllm-toolkit version").or(info.toolkit_version);
            info.context_limit = number("max_context_limit").or(info.context_limit);
            info.npu_cores = number("npu_core_num").or(info.npu_cores);
            info.platform = text("target_platform").or(info.platform);
            info.dtype = text("model_dtype").or(info.dtype);
            info.driver_version = text("rknpu driver version").or(info.driver_version);
        }
        info
    }

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
    use crate::host::{LogLevel, LogStream};

    fn info(lines: &[&str]) -> ModelInfo {
        let lines: Vec<LogLine> = lines
            .iter()
            .map(|text| LogLine {
                number: 0,
                level: LogLevel::Info,
                stream: LogStream::Stdout,
                text: (*text).to_owned(),
            })
            .collect();
        ModelInfo::from_log(&lines)
    }

    #[test]
    fn the_loading_lines_tell() {
        let info = info(&[
            "I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: 0.9.8, platform: RK3588",
            "I rkllm: rkllm-toolkit version: 1.2.3, max_context_limit: 4096, npu_core_num: 3, target_platform: RK3588, model_dtype: W8A8",
        ]);
        assert_eq!(info.context_limit, Some((4096, Source::Log)));
        assert_eq!(info.npu_cores, Some((3, Source::Log)));
        assert_eq!(info.platform, Some(("RK3588".to_owned(), Source::Log)));
        assert_eq!(
            info.toolkit_version,
            Some(("1.2.3".to_owned(), Source::Log))
        );
        assert_eq!(info.dtype, Some(("W8A8".to_owned(), Source::Log)));
        assert_eq!(info.driver_version, Some(("0.9.8".to_owned(), Source::Log)));
        assert_eq!((info.vocab_size, info.hidden_size), (None, None));
    }

    #[test]
    fn what_nobody_tells_is_unknown() {
        let unsure = info(&["I rkllm: rkllm-toolkit version: unknown, max_context_limit: many"]);
        assert_eq!(unsure, ModelInfo::default());
    }

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

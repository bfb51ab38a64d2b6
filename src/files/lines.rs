//! What the library's lines tell of the model that it loads.

use crate::host::LogLine;
use crate::protocol::info::{ModelInfo, Source};

/// Stands in the line of a library that cannot read the model's chat template.
const TEMPLATE_FAILED: &str = "chat template auto-parsing failed";

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

/// From the lines that the library printed while it loaded the model.
pub(crate) fn info_from_log(lines: &[LogLine]) -> ModelInfo {
    let mut info = ModelInfo::default();
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
        if line.text.to_lowercase().contains(TEMPLATE_FAILED) {
            info.template_problem = Some((line.text.trim().to_owned(), Source::Log));
        }
    }
    info
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
        info_from_log(&lines)
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
    fn a_template_that_cannot_be_read_is_told() {
        let line =
            "Chat template auto-parsing failed: please configure it via rkllm_set_chat_template";
        let told = info(&[line]).template_problem;
        assert_eq!(told, Some((line.to_owned(), Source::Log)));
    }

    #[test]
    fn what_nobody_tells_is_unknown() {
        let unsure = info(&["I rkllm: rkllm-toolkit version: unknown, max_context_limit: many"]);
        assert_eq!(unsure, ModelInfo::default());
    }
}

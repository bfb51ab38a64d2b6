//! The library's lines and what they mean, as data: `data/vendor-lines.json`.
//!
//! A pattern is the line's fixed text behind letter, tag and time; `…` stands for what varies. One that begins
//! with `…` is found anywhere, but only in lines that the library marks as errors.

use std::sync::LazyLock;

use serde_json::Value;

use crate::host::{LogLevel, LogLine};
use crate::protocol::error::ErrorKind;

static TABLE: LazyLock<Vec<Value>> = LazyLock::new(|| {
    // The table is part of the source and a test reads it, so the empty one is never seen.
    serde_json::from_str(include_str!("../../data/vendor-lines.json")).unwrap_or_default()
});

/// How much a row tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// The cause of a failure.
    Cause,
    /// A cause in general words, where no line says more.
    General,
    /// Something that may be the cause of a failure that nothing else explains.
    Warning,
}

/// What one line means.
#[derive(Clone, Copy)]
pub(super) struct KnownLine(&'static Value);

impl KnownLine {
    fn text(self, key: &str) -> Option<&'static str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// The class of the error; none for lines that are no cause.
    pub(super) fn kind(self) -> Option<ErrorKind> {
        Some(match self.text("error")? {
            "DriverError" => ErrorKind::Driver,
            "NpuMemoryError" => ErrorKind::NpuMemory,
            "ModelPlatformError" => ErrorKind::ModelPlatform,
            "ModelVersionError" => ErrorKind::ModelVersion,
            "ModelFormatError" => ErrorKind::ModelFormat,
            "FileMissingError" => ErrorKind::FileMissing,
            "ContextLengthError" => ErrorKind::ContextLength,
            "InvalidArgumentError" => ErrorKind::InvalidArgument,
            "PromptCacheError" => ErrorKind::PromptCache,
            "TemplateError" => ErrorKind::Template,
            "UnsupportedFeatureError" => ErrorKind::UnsupportedFeature,
            "GenerationError" => ErrorKind::Generation,
            // Of a process that has ended; one that still lives has another cause.
            _ => return None,
        })
    }

    pub(super) fn rank(self) -> Rank {
        match self.text("rank") {
            Some("warning") => Rank::Warning,
            Some(_) => Rank::General,
            None => Rank::Cause,
        }
    }

    /// Whether such a line fails that call ("open" or "run"), whatever the library returned.
    pub(super) fn fails(self, call: &str) -> bool {
        self.text("fails") == Some(call)
    }

    /// What to do, with the numbers of the line in it.
    pub(super) fn fix(self, line: &str) -> Option<String> {
        let fix = self.text("fix")?;
        Some(match self.tokens(line) {
            Some((needed, limit)) => fix
                .replace("{needed}", &needed.to_string())
                .replace("{limit}", &limit.to_string()),
            None => fix
                .replace("{needed}", "it is")
                .replace("{limit}", "the limit"),
        })
    }

    /// How many tokens there were and how many fit, where the line has both.
    pub(super) fn tokens(self, line: &str) -> Option<(usize, usize)> {
        self.0.get("tokens")?;
        let mut numbers = message(line)
            .split(|one: char| !one.is_ascii_digit())
            .filter(|digits| !digits.is_empty())
            .map(str::parse);
        match (numbers.next()?, numbers.next()?) {
            (Ok(needed), Ok(limit)) => Some((needed, limit)),
            _ => None,
        }
    }

    fn fits(self, level: LogLevel, message: &str) -> bool {
        let patterns = self.0.get("lines").and_then(Value::as_array);
        patterns.is_some_and(|all| {
            all.iter().filter_map(Value::as_str).any(|pattern| {
                let anywhere = pattern.starts_with('…');
                (!anywhere || level == LogLevel::Error) && matches(pattern, message)
            })
        })
    }
}

/// Whether a message, in lower case, has a pattern's fixed parts in their order, the first one at its beginning.
fn matches(pattern: &str, message: &str) -> bool {
    let pattern = pattern.to_lowercase();
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| message.strip_prefix(first)) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

/// A line without its letter and tag, its time, and the word "error" or "warning".
fn message(line: &str) -> &str {
    let mut rest = line.trim();
    if let (Some(b'E' | b'W' | b'D'), Some((_, behind))) =
        (rest.bytes().next(), rest.split_once(": "))
    {
        let tag = &rest[1..rest.len() - behind.len() - 2];
        if tag.starts_with(' ') && !tag.trim().contains(' ') {
            rest = behind.trim_start();
        }
    }
    let time = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((time, behind)) = time {
        let digits = |one: char| one.is_ascii_digit() || matches!(one, ':' | '.');
        if time.chars().all(digits) {
            rest = behind.trim_start();
        }
    }
    while let Some(behind) = ["error:", "warning:"].into_iter().find_map(|word| {
        let begin = rest.get(..word.len())?;
        begin
            .eq_ignore_ascii_case(word)
            .then(|| rest[word.len()..].trim_start())
    }) {
        rest = behind;
    }
    rest
}

/// What a line means, if it may be a cause.
pub(super) fn meaning(line: &LogLine) -> Option<KnownLine> {
    if line.level == LogLevel::Info {
        return None;
    }
    let message = message(&line.text).to_lowercase();
    let row = TABLE
        .iter()
        .map(KnownLine)
        .find(|row| row.fits(line.level, &message))?;
    row.kind().map(|_| row)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::LogStream;

    pub(in crate::files) fn line(text: &str) -> LogLine {
        LogLine {
            number: 0,
            level: LogLevel::of(text),
            stream: LogStream::Stderr,
            text: text.to_owned(),
        }
    }

    fn kind(text: &str) -> Option<ErrorKind> {
        meaning(&line(text)).and_then(KnownLine::kind)
    }

    #[test]
    fn the_table_reads() {
        let numbers: Vec<u64> = TABLE.iter().filter_map(|row| row["no"].as_u64()).collect();
        assert!(numbers.is_sorted());
        for number in 1..=55 {
            assert!(numbers.contains(&number), "{number}");
        }
        for row in TABLE.iter().map(KnownLine) {
            let none = row.0["error"].is_null() || row.0["error"] == "WorkerCrashed";
            assert_eq!(row.kind().is_none(), none, "{}", row.0);
            let general = row.rank() == Rank::General;
            assert!(general || none || row.text("fix").is_some(), "{}", row.0);
        }
    }

    #[test]
    fn letters_times_and_case_do_not_matter() {
        for text in [
            "E RKNN: [12:34:56.789] failed to open rknn device!",
            "failed to open rknn device!",
            "  Error: Failed to open RKNN device!",
            "W rkllm: failed to open rknn device",
        ] {
            assert_eq!(kind(text), Some(ErrorKind::Driver), "{text}");
        }
    }

    #[test]
    fn harmless_lines_are_no_cause() {
        for text in [
            "",
            "…",
            "I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: 0.9.8, platform: RK3588",
            "I rkllm: rkllm-toolkit version: 1.2.3, max_context_limit: 4096, npu_core_num: 3, target_platform: RK3588",
            "rkllm-toolkit version: 1.2.3, max_context_limit: 4096, target_platform: RK3588",
            "I rkllm: Enabled cpus: [4, 5, 6, 7]",
            "Enabled cpus: [4, 5, 6, 7]",
            "I rkllm: Using mrope",
            "I rkllm: context to be full[10 + 5], delete the kv cache in [4, 9), total: 15",
            "I rkllm: match same image, so keep the image_embed cache, total 1",
            "W rkllm: Calling rkllm_set_chat_template will disable the internal automatic chat template parsing",
            "W rkllm: out of memory soon",
            "I rkllm: matmul(w8a8) run failed",
            "user: what does matmul(w8a8) run failed mean?",
            "the driver version is fine, no failed to submit! here",
            "Failed to find and initialize Opencl library",
            "rkllm init failed",
            "tf32 not Support Argb Mode, Fallback to CPU Normalize",
            "tokens: out of memory",
            "RKNPU: job timeout",
        ] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_told() {
        let of = |text: &str| meaning(&line(text)).and_then(|row| row.tokens(text));
        assert_eq!(
            of(
                "E rkllm: the length of prompt is greater than max context (prompt: 1299 tokens, max context: 1020)"
            ),
            Some((1299, 1020))
        );
        assert_eq!(
            of("E rkllm: max_context[16384] must be less than the model's max_context_limit[4096]"),
            Some((16384, 4096))
        );
        assert_eq!(of("E rkllm: prompt gather than max context"), None);
        let huge = "prompt gather than max context (prompt: 99999999999999999999999 tokens, max context: 1)";
        assert_eq!(of(huge), None);
    }
}

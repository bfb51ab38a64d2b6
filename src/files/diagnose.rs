//! Makes a class of error out of what the vendor library printed.
//!
//! The library returns −1 for everything and tells the reason in its log, so the words are all there
//! is. They come from its text and from reports; what matches nothing keeps the general class.

use super::vendor_lines::{KnownLine, Rank, meaning};
use crate::abi::GET_CPU_RUNTIME;
use crate::host::{LogLevel, LogLine};
use crate::protocol::error::{ErrorKind, Failure};

/// Stands before the build in the CPU runtime's lines.
const LLAMA: &str = "llama.cpp ";

/// What the lines of a failed call tell.
pub(crate) struct Diagnosis {
    /// The class of its error.
    pub(crate) kind: ErrorKind,
    hint: Option<String>,
    /// The lines that go into the error. Others can hold the prompt's text.
    pub(crate) log: Vec<String>,
    tokens: Option<(usize, usize)>,
}

impl Diagnosis {
    /// The error of the C function, with all that the lines tell.
    pub(crate) fn into_failure(self, text: String, function: &str) -> Failure {
        let mut failure = Failure::new(self.kind, text).with_log(function, self.log);
        failure.hint = self.hint;
        failure.fields.tokens = self.tokens;
        failure
    }
}

/// Finds the cause in the lines of a call that failed: the first one that tells it; else one that tells it in
/// general words; else a warning that explains it, also one from `before`. Lines that tell nothing leave the class
/// as `general`.
pub(crate) fn diagnose(before: &[LogLine], lines: &[LogLine], general: ErrorKind) -> Diagnosis {
    let told: Vec<(&LogLine, Option<KnownLine>)> =
        lines.iter().map(|line| (line, meaning(line))).collect();
    let mut log: Vec<String> = told
        .iter()
        .filter(|(line, row)| {
            row.is_some() || matches!(line.level, LogLevel::Error | LogLevel::Warning)
        })
        .map(|(line, _)| line.text.clone())
        .collect();
    let first = |rank: Rank| {
        let of_rank = |(line, row): &(&LogLine, Option<KnownLine>)| {
            Some((line.text.clone(), row.filter(|row| row.rank() == rank)?))
        };
        told.iter().find_map(of_rank)
    };
    let ranks = [Rank::Cause, Rank::General, Rank::Warning];
    let found = ranks.into_iter().find_map(first).or_else(|| {
        let (line, row) = before
            .iter()
            .find_map(|line| Some((line, meaning(line)?)))?;
        log.insert(0, line.text.clone());
        Some((line.text.clone(), row))
    });
    let kind = found
        .as_ref()
        .and_then(|(_, row)| row.kind())
        .unwrap_or(general);
    let fix = found.as_ref().and_then(|(line, row)| row.fix(line));
    let fix = fix.filter(|_| !(kind == ErrorKind::ModelVersion && has_llama(&log)));
    Diagnosis {
        kind,
        hint: fix.or_else(|| hint(kind, &log)),
        tokens: found.as_ref().and_then(|(line, row)| row.tokens(line)),
        log,
    }
}

/// Whether a line says that a call ("open" or "run") failed, whatever it returned.
pub(crate) fn has_failed(lines: &[LogLine], call: &str) -> bool {
    let fails = |line: &LogLine| meaning(line).is_some_and(|row| row.fails(call));
    lines.iter().any(fails)
}

/// The lines that may explain a later failure: what the library warned of when it opened the model.
pub(crate) fn kept_warnings(lines: Vec<LogLine>) -> Vec<LogLine> {
    let explains = |line: &LogLine| {
        meaning(line).is_some_and(|row| {
            row.rank() == Rank::Warning && row.kind() != Some(ErrorKind::Template)
        })
    };
    lines.into_iter().filter(explains).collect()
}

fn has_llama(log: &[String]) -> bool {
    log.iter().any(|line| line.contains(LLAMA))
}

/// What to try, for classes that a log line decided.
fn hint(kind: ErrorKind, lines: &[String]) -> Option<String> {
    let text = match kind {
        ErrorKind::NpuMemory => {
            "Close other models, lower max_context_len, or use a smaller model or quantisation. Each IOMMU \
             domain has about 4 GB: with several models, give each its own base_domain_id."
        }
        ErrorKind::ModelPlatform => {
            "Download the file for this board's chip, or convert the model with target_platform set to \
             that chip: this file was made for another one."
        }
        ErrorKind::ModelVersion if has_llama(lines) => {
            let build = lines.iter().find_map(|line| line.split_once(LLAMA));
            let build = build.and_then(|(_, rest)| rest.split([' ', ')', ',']).next());
            return Some(format!(
                "Use an older model, or a newer CPU runtime: the model is newer than the runtime's llama.cpp \
                 ({}). To get the newest CPU runtime, {GET_CPU_RUNTIME}.",
                build.unwrap_or("unknown build")
            ));
        }
        ErrorKind::ModelVersion => {
            "Install the RKLLM release that the model was converted with, or a newer one (`rkllm-rs runtime \
             list`, `rkllm-rs runtime install VERSION`), or convert the model again: the runtime must not be \
             older than the toolkit."
        }
        ErrorKind::ModelFormat => {
            "Download or convert the model again: the file is damaged or is not a model of this kind."
        }
        ErrorKind::ContextLength => {
            "Shorten the input, or open the model with a larger max_context_len."
        }
        ErrorKind::Model | ErrorKind::Generation
            if lines.iter().any(|line| line.starts_with('E')) =>
        {
            "The lines above are the library's own. Set RKLLM_LOG_LEVEL=2 before the program starts to get more."
        }
        ErrorKind::Model | ErrorKind::Generation => {
            "Set RKLLM_LOG_LEVEL=2 and vendor_log=\"all\" before the model is opened, and read the library's lines."
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::vendor_lines::tests::line;

    fn of(lines: &[&str], general: ErrorKind) -> Diagnosis {
        let lines: Vec<LogLine> = lines.iter().map(|text| line(text)).collect();
        diagnose(&[], &lines, general)
    }

    #[test]
    fn the_first_cause_wins() {
        let full = "E RKNN: [01:02:03.456] failed to allocate handle, ret: -1, errno: 22, errstr: Invalid argument";
        let follows = "E RKNN: [01:02:03.456] failed to malloc npu memory, size: 1, flags: 0x2";
        let old = "W rkllm: Warning: Your rknpu driver version is too low, please upgrade to 0.9.7";
        let general = "E rkllm: please update something";
        let device = "failed to open rknn device!";
        for (lines, expected) in [
            (&[full, follows][..], ErrorKind::Driver),
            (&[follows, full], ErrorKind::NpuMemory),
            (&[old, follows], ErrorKind::NpuMemory),
            (&[general, device], ErrorKind::Driver),
            (&[old, general], ErrorKind::ModelVersion),
            (&[old, "E rkllm: something else"], ErrorKind::Driver),
            (&["E rkllm: something else"], ErrorKind::Model),
            (&["W rkllm: out of memory soon"], ErrorKind::Model),
        ] {
            assert_eq!(of(lines, ErrorKind::Model).kind, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_warning_of_the_opening_explains_what_nothing_else_does() {
        let old = [line(
            "W rkllm: Warning: Your rknpu driver version is too low, please upgrade to 0.9.7",
        )];
        let of = |text: &str| diagnose(&old, &[line(text)], ErrorKind::Generation);
        let unknown = of("E rkllm: something else");
        assert_eq!((unknown.kind, unknown.log.len()), (ErrorKind::Driver, 2));
        let known = of("E rkllm: the context is not enough! history_s: 1");
        assert_eq!((known.kind, known.log.len()), (ErrorKind::ContextLength, 1));
    }

    #[test]
    fn the_error_shows_the_lines_that_tell() {
        let lines = [
            "I rkllm: secret",
            "Query platform error!",
            "noise",
            "W rkllm: hm",
        ];
        let found = of(&lines, ErrorKind::Model);
        assert_eq!(found.log, ["Query platform error!", "W rkllm: hm"]);
        assert!(found.hint.is_some());
    }

    #[test]
    fn the_cpu_runtime_is_understood() {
        for what in ["model architecture: 'new'", "pre-tokenizer type: 'new'"] {
            let lines = [format!("E rkllm: unknown {what} (llama.cpp 1.2.3)")];
            let found = of(&[&lines[0]], ErrorKind::Model);
            assert_eq!(found.kind, ErrorKind::ModelVersion);
            assert!(found.hint.unwrap().contains("1.2.3"));
        }
        let line = "E rkllm: max_context_len (9) must be less than or equal to the model's max_context_limit (8)";
        let found = of(&[line], ErrorKind::Model);
        assert_eq!(
            (found.kind, found.tokens),
            (ErrorKind::ContextLength, Some((9, 8)))
        );
        assert!(found.hint.unwrap().contains(" 8,"));
        let line = "E rkllm: prompt is too long: 9 tokens exceed max_context_len 8";
        let found = of(&[line], ErrorKind::Generation);
        assert_eq!(
            (found.kind, found.tokens),
            (ErrorKind::ContextLength, Some((9, 8)))
        );
    }

    #[test]
    fn a_failed_computation_is_seen() {
        let fails = |text: &str, call: &str| has_failed(&[line(text)], call);
        assert!(fails("E rkllm: matmul(w8a8) run failed", "run"));
        assert!(fails("rknn_init fail! ret=-1", "open"));
        assert!(!fails("rknn_init fail! ret=-1", "run"));
        assert!(!fails("E rkllm: something else", "run"));
    }
}

//! Makes a class of error out of what the vendor library printed.
//!
//! The library returns −1 for everything and tells the reason in its log, so the words are all there
//! is. They come from its text and from reports; what matches nothing keeps the general class.

use crate::abi::GET_CPU_RUNTIME;
use crate::host::{LogLevel, LogLine};
use crate::protocol::error::ErrorKind;

/// The lines that go into an error: errors and warnings. Others can hold the prompt's text.
pub(crate) fn reportable(lines: &[LogLine]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| matches!(line.level, LogLevel::Error | LogLevel::Warning))
        .map(|line| line.text.clone())
        .collect()
}

/// What each class's lines contain, in lower case; the first that fits decides.
const PATTERNS: &[(ErrorKind, &[&str])] = &[
    (
        ErrorKind::ContextLength,
        &[
            "exceed max_context_len",
            "prompt is too long",
            "exceeds the context",
        ],
    ),
    (
        ErrorKind::NpuMemory,
        &[
            "failed to allocate",
            "malloc failed",
            "out of memory",
            "cannot allocate memory",
            "failed to malloc npu memory",
            "no enough memory",
            "not enough memory",
        ],
    ),
    (
        ErrorKind::ModelPlatform,
        &[
            "target_platform",
            "target platform",
            "platform mismatch",
            "not match the platform",
            "unknown platform",
        ],
    ),
    (
        ErrorKind::ModelVersion,
        &[
            // llama.cpp's words for what is newer than it.
            "unknown model architecture",
            "unknown pre-tokenizer",
            "toolkit version",
            "toolkit_version",
            "runtime version",
            "please update",
            "version mismatch",
            "re-convert",
            "reconvert",
        ],
    ),
    (
        ErrorKind::ModelFormat,
        &[
            "invalid rkllm model",
            "invalid magic",
            "model magic",
            "not a gguf",
            "failed to load model",
        ],
    ),
];

/// Stands before the build in the CPU runtime's lines.
const LLAMA: &str = "llama.cpp ";

/// The class that the error lines tell, or `general`.
pub(crate) fn classify(lines: &[String], general: ErrorKind) -> ErrorKind {
    let text: Vec<String> = lines
        .iter()
        .filter(|line| line.starts_with('E'))
        .map(|line| line.to_lowercase())
        .collect();
    PATTERNS
        .iter()
        .find(|(_, words)| {
            text.iter()
                .any(|line| words.iter().any(|word| line.contains(word)))
        })
        .map_or(general, |(kind, _)| *kind)
}

/// What to try, for classes that a log line decided.
pub(crate) fn hint(kind: ErrorKind, lines: &[String]) -> Option<String> {
    let text = match kind {
        ErrorKind::NpuMemory => {
            "Close other models, lower max_context_len, or use a smaller model or quantisation. Each IOMMU \
             domain has about 4 GB: with several models, give each its own base_domain_id."
        }
        ErrorKind::ModelPlatform => {
            "Download the file for this board's chip, or convert the model with target_platform set to \
             that chip: this file was made for another one."
        }
        ErrorKind::ModelVersion if lines.iter().any(|line| line.contains(LLAMA)) => {
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
        ErrorKind::Model if limit(lines).is_some() => {
            return limit(lines).map(|limit| {
                format!("Pass max_context_len={limit} or less, or omit it for a size that fits the model.")
            });
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

/// The largest context window that the library says the model can have.
fn limit(lines: &[String]) -> Option<u32> {
    let (_, rest) = lines.iter().find_map(|line| {
        line.split_once("max_context_limit (")
            .filter(|_| line.starts_with('E'))
    })?;
    rest.split(')').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_decide_the_class() {
        let of = |line: &str| classify(&[line.to_owned()], ErrorKind::Model);
        assert_eq!(of("E rkllm: invalid rkllm model!"), ErrorKind::ModelFormat);
        assert_eq!(
            of("E rkllm: failed to malloc npu memory"),
            ErrorKind::NpuMemory
        );
        assert_eq!(
            of("E rkllm: prompt is too long: 9 tokens exceed max_context_len 8"),
            ErrorKind::ContextLength
        );
        for what in ["model architecture: 'new'", "pre-tokenizer type: 'new'"] {
            assert_eq!(
                of(&format!("E rkllm: unknown {what}")),
                ErrorKind::ModelVersion
            );
        }
        let lines = ["E rkllm: failed to load the model x.gguf (llama.cpp 1.2.3)".to_owned()];
        assert!(hint(ErrorKind::ModelVersion, &lines).is_some_and(|text| text.contains("1.2.3")));
        let lines = ["E rkllm: max_context_len (9) must be ... max_context_limit (8)".to_owned()];
        assert!(hint(ErrorKind::Model, &lines).is_some_and(|text| text.contains("=8 ")));
        assert_eq!(of("E rkllm: something else"), ErrorKind::Model);
        assert_eq!(of("W rkllm: out of memory soon"), ErrorKind::Model);
    }
}

//! What is known of a model and its files before a library looks at them, and what a library's lines
//! tell of a failure.

pub(crate) mod context;
pub(crate) mod diagnose;
mod directory;
mod file;
mod gguf;
pub mod inspect;
mod lines;
pub(crate) mod name;
pub(crate) mod plan;
mod problem;
pub(crate) mod prompt_cache;
pub(crate) mod prompt_store;
pub mod template;
mod vendor_lines;

use std::fmt;
use std::path::Path;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing {
    //! What reads a stranger's bytes and lines here, for `fuzz/`.

    use std::io::Cursor;

    use super::{diagnose, gguf, info_from_log};
    use crate::host::{LogLevel, LogLine, LogStream};
    use crate::protocol::error::ErrorKind;

    /// A GGUF file.
    pub fn gguf(bytes: &[u8]) {
        gguf::context_length(Cursor::new(bytes));
        drop(gguf::chat(Cursor::new(bytes)));
    }

    /// What a library printed.
    pub fn vendor_lines(bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let line = |(number, text): (usize, &str)| LogLine {
            number: number as u64,
            level: LogLevel::of(text),
            stream: LogStream::Stderr,
            text: text.to_owned(),
        };
        let lines: Vec<_> = text.lines().enumerate().map(line).collect();
        drop(info_from_log(&lines));
        diagnose::has_failed(&lines, "run");
        let told = diagnose::diagnose(&[], &lines, ErrorKind::Generation);
        drop(told.into_failure("rkllm_run failed".to_owned(), "rkllm_run"));
        drop(diagnose::kept_warnings(lines));
    }
}

pub(crate) use file::{check, check_adapter, present};
pub(crate) use lines::info_from_log;
pub use problem::ModelProblem;

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// The vendor's library on the NPU.
    Npu,
    /// The CPU runtime.
    Cpu,
}

impl BackendKind {
    /// The name, `npu` or `cpu`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Npu => "npu",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a model's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// `.rkllm`, the vendor's closed format.
    Rkllm,
    /// `.gguf`.
    Gguf,
}

impl ModelKind {
    /// Both, the one for the NPU first.
    pub const ALL: [Self; 2] = [Self::Rkllm, Self::Gguf];

    /// The kind by the path's suffix, in any case.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let suffix = path.extension()?;
        Self::ALL
            .into_iter()
            .find(|kind| suffix.eq_ignore_ascii_case(&kind.extension()[1..]))
    }

    /// The suffix, with its dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Rkllm => ".rkllm",
            Self::Gguf => ".gguf",
        }
    }

    /// The backend that runs it.
    #[must_use]
    pub const fn backend(self) -> BackendKind {
        match self {
            Self::Rkllm => BackendKind::Npu,
            Self::Gguf => BackendKind::Cpu,
        }
    }
}

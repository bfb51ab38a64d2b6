//! What can go wrong, one variant for each thing that a caller can act on.

use std::path::{Path, PathBuf};

use crate::abi::{AbiVersion, Refusal};
use crate::files::{BackendKind, ModelKind, ModelProblem};
use crate::library::{LoadProblem, Tried};

/// The result of nearly everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an [`Error`]; the Python exceptions correspond to it one to one.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No library could be loaded: `LibraryNotFoundError`.
    LibraryNotFound,
    /// A library was found, and refused: `UnsupportedRuntimeError`.
    UnsupportedRuntime,
    /// The loaded library cannot do that: `UnsupportedFeatureError`.
    UnsupportedFeature,
    /// A model could not be opened: `ModelError`.
    Model,
    /// The file is no model, or one of another kind: `ModelFormatError`.
    ModelFormat,
    /// The model was converted for another chip: `ModelPlatformError`.
    ModelPlatform,
    /// The model and the library are of unsuitable releases: `ModelVersionError`.
    ModelVersion,
    /// The NPU has no memory left for it: `NpuMemoryError`.
    NpuMemory,
    /// Longer than the context window: `ContextLengthError`.
    ContextLength,
    /// A run failed: `GenerationError`.
    Generation,
    /// A deadline passed: `GenerationTimeout`.
    Timeout,
    /// A prompt cache that does not belong to the model, or is damaged: `PromptCacheError`.
    PromptCache,
    /// A file other than the model's does not exist: `FileMissingError`.
    FileMissing,
    /// Called from inside a callback of the same model: `BusyError`.
    Busy,
    /// The model is closed: `ClosedError`.
    Closed,
    /// The model belongs to the parent process: `ForkedProcessError`.
    ForkedProcess,
    /// An argument that can never be right: `ValueError`.
    InvalidArgument,
}

/// An error of this crate.
///
/// Its text says what failed, and on what; [`Error::hint`] says what to try.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No place had a library that could be loaded. The text lists all of them with their reasons.
    #[error("{}", not_found(.tried, .hint))]
    LibraryNotFound {
        /// Every place looked at, in order.
        tried: Vec<Tried>,
        /// The fix.
        hint: String,
    },

    /// A library was found, but it is not certain how to talk to it, or certain that we cannot.
    #[error("{} cannot be used: {refusal}", .path.display())]
    UnsupportedRuntime {
        /// The library's file.
        path: PathBuf,
        /// Why, with the evidence.
        refusal: Refusal,
    },

    /// The loaded library lacks what a call needs.
    #[error("{feature} needs {needs}; the loaded library is {have}")]
    UnsupportedFeature {
        /// The feature, as in [`crate::abi::Capabilities::names`].
        feature: &'static str,
        /// What brings it, such as `RKLLM 1.2.1 or later`.
        needs: String,
        /// What is loaded.
        have: String,
    },

    /// The model's file cannot be one.
    #[error("cannot open the model {}: {problem}", .path.display())]
    ModelFile {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        problem: ModelProblem,
    },

    /// The file is no adapter that the model could take.
    #[error("cannot load the adapter {}: {problem}", .path.display())]
    AdapterFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ModelProblem,
        /// The kind that the model's backend takes.
        needed: ModelKind,
    },

    /// The model is of a kind that the backend cannot run.
    #[error("{} is a {} model, which needs backend \"{}\", not \"{backend}\"", .path.display(), .model_kind.extension(), .model_kind.backend())]
    BackendMismatch {
        /// The model.
        path: PathBuf,
        /// Its kind.
        model_kind: ModelKind,
        /// The backend that was asked for, or that the given library is.
        backend: BackendKind,
    },

    /// A `.rkllm` model, a library, but no NPU to run it on.
    #[error("{} needs the NPU, and this machine shows none: {reason}", .path.display())]
    NoNpu {
        /// The model.
        path: PathBuf,
        /// Where was looked.
        reason: String,
    },

    /// `rkllm_init` failed.
    #[error("the library could not open the model {} (rkllm_init returned {code}){}", .path.display(), vendor_lines(.log))]
    Init {
        /// The model.
        path: PathBuf,
        /// What the call returned; 0 when it left no handle.
        code: i32,
        /// The library's own error and warning lines.
        log: Vec<String>,
        /// What those lines make of it: one of the model classes or [`ErrorKind::NpuMemory`].
        kind: ErrorKind,
    },

    /// A call on an open model failed.
    #[error("{function} failed: {reason}{}", vendor_lines(.log))]
    Run {
        /// The C function.
        function: &'static str,
        /// What it returned, or did instead.
        reason: String,
        /// The library's own error and warning lines.
        log: Vec<String>,
        /// What those lines make of it: [`ErrorKind::Generation`] or something more exact.
        kind: ErrorKind,
    },

    /// The operating system refused something that a model needs.
    #[error("{what}: {reason}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        reason: String,
    },

    /// More tokens than the context window holds.
    #[error("{tokens} tokens do not fit into the context window of {limit}")]
    ContextLength {
        /// How many were given.
        tokens: usize,
        /// How many fit.
        limit: usize,
    },

    /// A deadline passed.
    #[error("the deadline of {seconds} s passed")]
    Timeout {
        /// The deadline that was given, in seconds.
        seconds: f64,
    },

    /// A prompt cache cannot be used, or was not saved.
    #[error("the prompt cache {}: {reason}", .path.display())]
    PromptCache {
        /// The cache's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        hint: String,
    },

    /// A file that a call needs does not exist.
    #[error("{what}: no such file: {}", .path.display())]
    FileMissing {
        /// The argument.
        what: &'static str,
        /// The file, or the folder where it was to be written.
        path: PathBuf,
    },

    /// A call that would wait for what its caller is in the middle of.
    #[error("{0}")]
    Busy(BusyWith),

    /// The loaded release runs one model in a process, and there is one.
    #[error("this process has a model open, and {have} runs one only (a second gives wrong text)")]
    OneModelOnly {
        /// The loaded library.
        have: String,
    },

    /// The model is closed.
    #[error("the model is closed")]
    Closed,

    /// A forked child uses the parent's model.
    #[error("the model was opened before fork(), and a forked process cannot use it")]
    Forked,

    /// A forked child wants a library that its parent has loaded, without the library's threads.
    #[error("a library was loaded before fork(), and a forked process cannot use it")]
    ForkedRuntime,

    /// An argument that can never be right.
    #[error("{name}: {reason}")]
    InvalidArgument {
        /// The argument or environment variable.
        name: String,
        /// What is wrong with its value.
        reason: String,
        /// What to write in its place.
        hint: Option<String>,
    },
}

/// What a caller is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BusyWith {
    /// A callback of the same model.
    #[error("the model is busy with the run that called this callback")]
    Callback,
    /// `steps()` of the same model.
    #[error("the model is in the middle of the steps() that this caller has begun")]
    Steps,
    /// A model that was closed, and whose run the library has not ended.
    #[error("a model that was closed is still busy in the library after {seconds} s")]
    Closing {
        /// How long it was waited for.
        seconds: f64,
    },
}

impl Error {
    /// An [`Error::InvalidArgument`] without a hint.
    pub fn invalid(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument {
            name: name.into(),
            reason: reason.into(),
            hint: None,
        }
    }

    /// An [`Error::InvalidArgument`] that says what to write instead.
    pub fn invalid_with_hint(
        name: impl Into<String>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::InvalidArgument {
            name: name.into(),
            reason: reason.into(),
            hint: Some(hint.into()),
        }
    }

    /// This error, when it is about an argument, with that argument's name in its context.
    #[cfg(feature = "python")]
    pub(crate) fn about(self, place: String) -> Self {
        match self {
            Self::InvalidArgument { reason, hint, .. } => Self::InvalidArgument {
                name: place,
                reason,
                hint,
            },
            other => other,
        }
    }

    /// The class of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LibraryNotFound { .. } => ErrorKind::LibraryNotFound,
            Self::UnsupportedRuntime { .. } => ErrorKind::UnsupportedRuntime,
            Self::UnsupportedFeature { .. } => ErrorKind::UnsupportedFeature,
            Self::ModelFile { problem, .. } => problem.kind(),
            Self::AdapterFile { .. } | Self::BackendMismatch { .. } => ErrorKind::ModelFormat,
            Self::NoNpu { .. } | Self::System { .. } => ErrorKind::Model,
            Self::Init { kind, .. } | Self::Run { kind, .. } => *kind,
            Self::ContextLength { .. } => ErrorKind::ContextLength,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::PromptCache { .. } => ErrorKind::PromptCache,
            Self::FileMissing { .. } => ErrorKind::FileMissing,
            Self::Busy(_) | Self::OneModelOnly { .. } => ErrorKind::Busy,
            Self::Closed => ErrorKind::Closed,
            Self::Forked | Self::ForkedRuntime => ErrorKind::ForkedProcess,
            Self::InvalidArgument { .. } => ErrorKind::InvalidArgument,
        }
    }

    /// What to try, where we know something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LibraryNotFound { hint, .. } | Self::PromptCache { hint, .. } => {
                Some(hint.clone())
            }
            Self::UnsupportedRuntime { refusal, .. } => Some(refusal.hint()),
            Self::UnsupportedFeature { needs, .. } => {
                Some(format!("Load {needs}, or leave this feature out."))
            }
            Self::ModelFile { problem, .. } => problem.hint(),
            Self::AdapterFile {
                problem, needed, ..
            } => match problem {
                ModelProblem::Projector
                | ModelProblem::NotAdapter
                | ModelProblem::LaterPart(..)
                | ModelProblem::Embedding(_) => {
                    Some("Give the adapter that was made for this model.".to_owned())
                }
                _ => Some(format!(
                    "Give the adapter as a {} file, converted for this backend.",
                    needed.extension()
                )),
            },
            Self::BackendMismatch { model_kind, .. } => Some(format!(
                "Pass backend=\"{}\" or leave it at \"auto\", without a library of the other kind.",
                model_kind.backend()
            )),
            Self::NoNpu { .. } => Some(
                "Run on a board with the vendor's kernel driver (in a container, pass /dev/dri or \
                 /dev/rknpu through), give a .gguf model for the CPU, or pass backend=\"npu\" to \
                 try all the same."
                    .to_owned(),
            ),
            Self::Timeout { .. } => Some("Raise timeout, or lower max_new_tokens.".to_owned()),
            Self::ContextLength { .. } => Some(
                "Shorten the input, or open the model with a larger max_context_len.".to_owned(),
            ),
            Self::FileMissing { .. } => {
                Some("Check the path; a relative one counts from the working folder.".to_owned())
            }
            Self::Busy(BusyWith::Callback) => {
                Some("Make the call after the callback has returned.".to_owned())
            }
            Self::Busy(BusyWith::Steps) => {
                Some("End the steps first: with their close(), or a with block.".to_owned())
            }
            Self::Busy(BusyWith::Closing { .. }) => Some(
                "The library does not interrupt the computation of a prompt. Try again later, or \
                 raise open_timeout."
                    .to_owned(),
            ),
            Self::OneModelOnly { .. } => Some(
                "Close that model first, load RKLLM 1.2.2 or later, or give each model a process of \
                 its own."
                    .to_owned(),
            ),
            Self::Closed => Some("Open the model again.".to_owned()),
            Self::ForkedRuntime => Some(
                "Start the process with the \"spawn\" method, or load no library before fork()."
                    .to_owned(),
            ),
            Self::Forked => Some(
                "Open the model in the child, or start it with the \"spawn\" method.".to_owned(),
            ),
            Self::InvalidArgument { hint, .. } => hint.clone(),
            Self::Run {
                function: "rkllm_load_lora",
                kind: ErrorKind::ModelFormat,
                ..
            } => Some(
                "The adapter is damaged, or was made for another model or release: download or \
                 convert it again."
                    .to_owned(),
            ),
            Self::Init { kind, log, .. } | Self::Run { kind, log, .. } => {
                crate::files::diagnose::hint(*kind, log)
            }
            Self::System { .. } => {
                Some("The process may be at a limit: see `ulimit -a` and `dmesg`.".to_owned())
            }
        }
    }

    /// True when the cause is a model file that does not exist: `FileNotFoundError` as well.
    #[must_use]
    pub fn is_file_not_found(&self) -> bool {
        matches!(self, Self::ModelFile { problem, .. } if problem.is_missing())
    }

    /// The file that the error is about, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::UnsupportedRuntime { path, .. }
            | Self::ModelFile { path, .. }
            | Self::AdapterFile { path, .. }
            | Self::BackendMismatch { path, .. }
            | Self::NoNpu { path, .. }
            | Self::PromptCache { path, .. }
            | Self::FileMissing { path, .. }
            | Self::Init { path, .. } => Some(path),
            Self::LibraryNotFound { tried, .. } => match tried.as_slice() {
                [only] => Some(&only.path),
                _ => None,
            },
            _ => None,
        }
    }

    /// The problem of the only place tried, when a library was asked for by name.
    #[must_use]
    pub fn load_problem(&self) -> Option<&LoadProblem> {
        match self {
            Self::LibraryNotFound { tried, .. } => match tried.as_slice() {
                [only] => Some(&only.problem),
                _ => None,
            },
            _ => None,
        }
    }

    /// This error, when it is that of a second search, with the places of the first one before its own.
    pub(crate) fn after(self, mut first: Vec<Tried>, fix: &str) -> Self {
        match self {
            Self::LibraryNotFound { tried, hint } => {
                first.extend(tried);
                let hint = if hint == fix {
                    hint
                } else {
                    format!("{fix} {hint}")
                };
                Self::LibraryNotFound { tried: first, hint }
            }
            other => other,
        }
    }

    pub(crate) fn lacks(
        feature: &'static str,
        needs: String,
        abi: AbiVersion,
        version: Option<&str>,
    ) -> Self {
        Self::UnsupportedFeature {
            feature,
            needs,
            have: version.map_or_else(
                || format!("of layout {abi}"),
                |version| format!("RKLLM {version} ({abi})"),
            ),
        }
    }
}

fn not_found(tried: &[Tried], hint: &str) -> String {
    use std::fmt::Write as _;
    let mut text = "Could not load RKLLM library from any location".to_owned();
    text.push_str(if tried.is_empty() { "." } else { ":" });
    for place in tried {
        let _ = write!(
            text,
            "\n  - {} ({}): {}",
            place.path.display(),
            place.origin,
            place.problem
        );
    }
    let _ = write!(text, "\n{hint}");
    text
}

fn vendor_lines(log: &[String]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for line in log {
        let _ = write!(text, "\n  {line}");
    }
    text
}

impl From<rkllm_text::stop::StopProblem> for Error {
    fn from(problem: rkllm_text::stop::StopProblem) -> Self {
        use rkllm_text::stop::StopProblem;
        let hint = match problem {
            StopProblem::Empty => "Give strings of at least one character.",
            StopProblem::TooMany { .. } => "Give at most 256 strings, 16 KiB together.",
        };
        Self::invalid_with_hint("stop", problem.to_string(), hint)
    }
}

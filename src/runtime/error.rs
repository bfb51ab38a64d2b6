//! Why there is no library, or no model, to work with.

use std::path::{Path, PathBuf};

use crate::abi::Refusal;
use crate::files::{BackendKind, ModelKind, ModelProblem};
use crate::library::{LoadProblem, Origin, Tried};
use crate::protocol::error::{ErrorKind, Failure};

/// The result of what finds and loads.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no library, or no model, to work with.
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

    /// The model's file cannot be one.
    #[error("cannot open the model {}: {problem}", .path.display())]
    ModelFile {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        problem: ModelProblem,
    },

    /// The model is of a kind that the backend cannot run.
    #[error("{} is a {} model, which requires backend=\"{}\", got \"{backend}\"", .path.display(), .model_kind.extension(), .model_kind.backend())]
    BackendMismatch {
        /// The model.
        path: PathBuf,
        /// Its kind.
        model_kind: ModelKind,
        /// The backend that was asked for, or that the given library is.
        backend: BackendKind,
    },

    /// A `.rkllm` model, a library, but no NPU to run it on.
    #[error("{} requires an NPU, but no usable NPU was detected: {reason}", .path.display())]
    NoNpu {
        /// The model.
        path: PathBuf,
        /// Where was looked.
        reason: String,
    },

    /// A forked child wants a library that its parent has loaded, without the library's threads.
    #[error("a runtime was loaded before fork(), so this process cannot use it")]
    ForkedRuntime,

    /// An argument or an environment variable that can never be right.
    #[error(transparent)]
    Invalid(#[from] Failure),
}

impl Error {
    /// The class of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LibraryNotFound { .. } => ErrorKind::LibraryNotFound,
            Self::UnsupportedRuntime { .. } => ErrorKind::UnsupportedRuntime,
            Self::ModelFile { problem, .. } => problem.kind(),
            Self::BackendMismatch { .. } => ErrorKind::ModelFormat,
            Self::NoNpu { .. } => ErrorKind::Model,
            Self::ForkedRuntime => ErrorKind::ForkedProcess,
            Self::Invalid(failure) => failure.kind,
        }
    }

    /// What to try, where we know something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LibraryNotFound { hint, .. } => Some(hint.clone()),
            Self::UnsupportedRuntime { refusal, .. } => Some(refusal.hint()),
            Self::ModelFile { problem, .. } => problem.hint(),
            Self::BackendMismatch { model_kind, .. } => Some(format!(
                "Omit backend= and library=, or pass backend=\"{}\" and a library for it.",
                model_kind.backend()
            )),
            Self::NoNpu { .. } => Some(
                "Run on a board with the rknpu kernel driver (in a container, pass /dev/dri or /dev/rknpu \
                 through), use a .gguf model on the CPU, or pass backend=\"npu\" to try anyway."
                    .to_owned(),
            ),
            Self::ForkedRuntime => Some(
                "Start the process with the \"spawn\" method, or load the runtime after fork()."
                    .to_owned(),
            ),
            Self::Invalid(failure) => failure.hint.clone(),
        }
    }

    /// The file that the error is about, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::UnsupportedRuntime { path, .. }
            | Self::ModelFile { path, .. }
            | Self::BackendMismatch { path, .. }
            | Self::NoNpu { path, .. } => Some(path),
            Self::LibraryNotFound { tried, .. } => match tried.as_slice() {
                [only] => Some(&only.path),
                _ => None,
            },
            Self::Invalid(failure) => failure.fields.path.as_deref(),
            Self::ForkedRuntime => None,
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
    pub(super) fn after(self, mut first: Vec<Tried>, fix: &str) -> Self {
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
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(failure) => failure,
            other => {
                let mut failure = Self::new(other.kind(), other.to_string());
                failure.hint = other.hint();
                failure.fields.path = other.path().map(Path::to_owned);
                if let Error::LibraryNotFound { tried, .. } = &other {
                    let argument = named(tried).filter(|one| one.origin == Origin::Argument);
                    failure.fields.argument = argument.map(|_| ARGUMENT.to_owned());
                }
                failure
            }
        }
    }
}

/// The argument that names a library.
const ARGUMENT: &str = "library";

/// The only place, where a library was named.
pub(super) fn named(tried: &[Tried]) -> Option<&Tried> {
    match tried {
        [only] if matches!(only.origin, Origin::Argument | Origin::Variable(_)) => Some(only),
        _ => None,
    }
}

fn not_found(tried: &[Tried], hint: &str) -> String {
    use std::fmt::Write as _;
    if let Some(only) = named(tried) {
        let name = match only.origin {
            Origin::Variable(name) => name,
            _ => ARGUMENT,
        };
        let (path, problem) = (only.path.display(), &only.problem);
        return format!("{name} points to a library that cannot be loaded: {path}: {problem}");
    }
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

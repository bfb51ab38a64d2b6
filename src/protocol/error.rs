//! Errors as they cross from the engine to the program: kind, text, hint, fields.

use std::path::{Path, PathBuf};

use rkllm_text::jinja::Trouble;
use rkllm_text::template::CannotSay;
use serde::{Deserialize, Serialize};

/// The class of an error; the Python exceptions correspond to it one to one.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// No library could be loaded: `LibraryNotFoundError`.
    LibraryNotFound,
    /// A library was found, and refused: `UnsupportedRuntimeError`.
    UnsupportedRuntime,
    /// The loaded library cannot do that: `UnsupportedFeatureError`.
    UnsupportedFeature,
    /// A model could not be opened: `ModelError`.
    Model,
    /// The model's file does not exist: `ModelNotFoundError`.
    ModelNotFound,
    /// The file is no model, or one of another kind: `ModelFormatError`.
    ModelFormat,
    /// The model was converted for another chip: `ModelPlatformError`.
    ModelPlatform,
    /// The model and the library are of unsuitable releases: `ModelVersionError`.
    ModelVersion,
    /// The NPU has no memory left for it: `NpuMemoryError`.
    NpuMemory,
    /// The NPU or its driver cannot be used, or is too old: `DriverError`.
    Driver,
    /// Longer than the context window: `ContextLengthError`.
    ContextLength,
    /// A run failed: `GenerationError`.
    Generation,
    /// A deadline passed: `GenerationTimeout`.
    Timeout,
    /// A prompt cache that does not belong to the model, or is damaged: `PromptCacheError`.
    PromptCache,
    /// A chat template that cannot be used, or that refuses a conversation: `TemplateError`.
    Template,
    /// A JSON schema that answers cannot be kept to: `SchemaError`.
    Schema,
    /// A file other than the model's does not exist: `FileMissingError`.
    FileMissing,
    /// A call that would wait for what its caller is in the middle of: `BusyError`.
    Busy,
    /// The worker process that ran the model has died: `WorkerCrashed`.
    WorkerCrashed,
    /// The model is closed: `ClosedError`.
    Closed,
    /// The model belongs to the parent process: `ForkedProcessError`.
    ForkedProcess,
    /// An argument that can never be right: `InvalidArgumentError`.
    InvalidArgument,
    /// An argument of the wrong type: `InvalidTypeError`.
    InvalidType,
}

/// What an error tells besides its text; what does not apply is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The argument or environment variable that is wrong.
    pub argument: Option<String>,
    /// The file that it is about.
    #[serde(with = "super::paths::optional")]
    pub path: Option<PathBuf>,
    /// The C function that failed.
    pub function: Option<String>,
    /// The library's own error and warning lines.
    pub log: Vec<String>,
    /// The line of that file, counted from 1.
    pub line: Option<usize>,
    /// How many tokens there were, and how many fit.
    pub tokens: Option<(usize, usize)>,
    /// The signal that ended a worker.
    pub signal: Option<i32>,
    /// The exit status of a worker.
    pub exit_code: Option<i32>,
}

/// A call, a run or a model that failed.
///
/// Its text says what failed, and on what; [`Failure::hint`] says what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// Its class.
    pub kind: ErrorKind,
    /// What failed.
    pub text: String,
    /// What to try.
    pub hint: Option<String>,
    /// What a program may want to know of it.
    pub fields: Box<Fields>,
}

/// What a caller is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BusyWith {
    /// A callback of the same model.
    #[error("the model is busy with the run that called this callback")]
    Callback,
    /// `steps()` of the same model.
    #[error("the model is busy with the steps() that this caller started")]
    Steps,
    /// A model that was closed, and whose run the library has not ended.
    #[error("a closed model is still running in the runtime after {seconds} s")]
    Closing {
        /// How long it was waited for.
        seconds: f64,
    },
}

impl BusyWith {
    fn hint(self) -> &'static str {
        match self {
            Self::Callback => "Make this call after the callback has returned.",
            Self::Steps => "End steps() first: call its close(), or use it in a with block.",
            Self::Closing { .. } => {
                "Try again later, or increase open_timeout: the runtime cannot interrupt a prefill."
            }
        }
    }
}

impl Failure {
    /// A failure of that class.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            hint: None,
            fields: Box::default(),
        }
    }

    /// With what to try.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the file that it is about.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.fields.path = Some(path.into());
        self
    }

    /// An argument that can never be right. The reason is the rest of a sentence that begins with its
    /// name: "must not be empty".
    pub fn invalid(name: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        let name = name.into();
        let mut failure = Self::new(ErrorKind::InvalidArgument, format!("{name} {reason}"));
        failure.fields.argument = Some(name);
        failure
    }

    /// [`Self::invalid`], with what to write in its place.
    pub fn invalid_with_hint(
        name: impl Into<String>,
        reason: impl std::fmt::Display,
        hint: impl Into<String>,
    ) -> Self {
        Self::invalid(name, reason).with_hint(hint)
    }

    /// An argument of the wrong type, told in the words of a Python program: "a str", "int".
    pub fn wrong_type(
        name: impl Into<String>,
        wanted: &str,
        got: &str,
        hint: impl Into<String>,
    ) -> Self {
        let reason = format!("must be {wanted}, got {got}");
        let mut failure = Self::invalid_with_hint(name, reason, hint);
        failure.kind = ErrorKind::InvalidType;
        failure
    }

    /// An argument that must be one of a few values, such as `"last" or "mean"`.
    pub fn choice(name: impl Into<String>, choices: &str, got: impl std::fmt::Display) -> Self {
        let name = name.into();
        let reason = format!("must be {choices}, got {got}");
        let hint = super::choices::meaning(&name)
            .map_or_else(|| format!("Pass {choices}."), str::to_owned);
        Self::invalid_with_hint(name, reason, hint)
    }

    /// The loaded library lacks what a call needs: the feature, what brings it, and what is loaded.
    #[must_use]
    pub fn lacks(feature: &str, needs: &str, have: &str) -> Self {
        Self::new(
            ErrorKind::UnsupportedFeature,
            format!("{feature} requires {needs}; the loaded runtime is {have}"),
        )
        .with_hint(format!("Switch to {needs}, or leave this feature out."))
    }

    /// With the C function that failed, and the library's own lines, which the text shows too.
    #[must_use]
    pub fn with_log(mut self, function: &str, log: Vec<String>) -> Self {
        for line in &log {
            self.text.push_str("\n  ");
            self.text.push_str(line);
        }
        self.fields.function = Some(function.to_owned());
        self.fields.log = log;
        self
    }

    /// A C function failed: why, and the library's own lines.
    #[must_use]
    pub fn of_call(kind: ErrorKind, function: &str, reason: &str, log: Vec<String>) -> Self {
        Self::new(kind, format!("{function} failed: {reason}")).with_log(function, log)
    }

    /// A run gave what cannot be used.
    #[must_use]
    pub fn of_run(reason: &str) -> Self {
        Self::of_call(ErrorKind::Generation, "rkllm_run", reason, Vec::new())
    }

    /// The operating system refused something that a model needs.
    #[must_use]
    pub fn system(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Model, format!("{what}: {reason}")).with_hint(
            "Check the limits of the process with `ulimit -a`, and the kernel log with `dmesg`.",
        )
    }

    /// More tokens than the context window holds.
    #[must_use]
    pub fn context_length(tokens: usize, limit: usize) -> Self {
        let text = format!(
            "the input has {tokens} tokens, but the context window (max_context_len) holds {limit}, answer included"
        );
        let mut failure = Self::new(ErrorKind::ContextLength, text)
            .with_hint("Shorten the input, or open the model with a larger max_context_len.");
        failure.fields.tokens = Some((tokens, limit));
        failure
    }

    /// A deadline passed, of so many seconds.
    #[must_use]
    pub fn timeout(seconds: f64) -> Self {
        Self::new(ErrorKind::Timeout, format!("timed out after {seconds} s"))
            .with_hint("Increase timeout, or lower max_new_tokens.")
    }

    /// A prompt cache cannot be used, or was not saved. The reason is the rest of a sentence that begins
    /// with the cache: "is truncated".
    #[must_use]
    pub fn prompt_cache(path: &Path, reason: impl std::fmt::Display, hint: &str) -> Self {
        let text = format!("the prompt cache {} {reason}", path.display());
        Self::new(ErrorKind::PromptCache, text)
            .with_path(path)
            .with_hint(hint)
    }

    /// A chat template gave no text; it came out of a file, or was given by the caller.
    #[must_use]
    pub fn template(trouble: &Trouble, from: Option<&Path>) -> Self {
        let text = trouble.to_string();
        let text = match from {
            Some(path) => format!("{}: {text}", path.display()),
            None => text,
        };
        let mut failure = Self::new(ErrorKind::Template, text).with_hint(match trouble {
            Trouble::Refused(_) => {
                "The text is the template's own: change the messages as it requires, or pass another \
                 template as chat_template=."
            }
            Trouble::TooLong | Trouble::Endless => {
                "Shorten the conversation, or pass another template as chat_template=."
            }
            Trouble::TooDeep => {
                "A macro of the template calls itself without end: pass another template as \
                 chat_template=."
            }
            Trouble::NotUnderstood { .. } => {
                "Correct the template, or pass another one as chat_template=. It is Jinja, as \
                 transformers reads it."
            }
            Trouble::Failed { .. } => {
                "Check that the messages have the keys that the template reads, or pass another template \
                 as chat_template=."
            }
        });
        failure.fields.path = from.map(Path::to_path_buf);
        failure.fields.line = trouble.line();
        failure
    }

    /// The vendor's three strings cannot say what a chat template does.
    #[must_use]
    pub fn cannot_say(reason: &CannotSay) -> Self {
        Self::new(ErrorKind::Template, reason.to_string())
            .with_hint("Pass template= with the three strings that you want.")
    }

    /// A file that a call needs does not exist: the argument, and the file, or the folder where it was to
    /// be written.
    #[must_use]
    pub fn file_missing(argument: &str, path: &Path) -> Self {
        let text = format!(
            "{argument} points to a file or folder that does not exist: {}",
            path.display()
        );
        let mut failure = Self::new(ErrorKind::FileMissing, text)
            .with_path(path)
            .with_hint("Check the path; relative paths start at the current working folder.");
        failure.fields.argument = Some(argument.to_owned());
        failure
    }

    /// A call that would wait for what its caller is in the middle of.
    #[must_use]
    pub fn busy(with: BusyWith) -> Self {
        Self::new(ErrorKind::Busy, with.to_string()).with_hint(with.hint())
    }

    /// The model is closed.
    #[must_use]
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the model is closed").with_hint("Open the model again.")
    }

    /// A forked child uses the parent's model.
    #[must_use]
    pub fn forked() -> Self {
        Self::new(
            ErrorKind::ForkedProcess,
            "the model was opened before fork(), so this process cannot use it",
        )
        .with_hint(
            "Open the model in this process, or start the process with the \"spawn\" method.",
        )
    }

    /// This failure, when it is about the argument `name`, with another name for it.
    #[must_use]
    pub fn renamed(self, name: &str, other: &str) -> Self {
        if self.fields.argument.as_deref() == Some(name) {
            self.about(other.to_owned())
        } else {
            self
        }
    }

    /// This failure, when it is about an argument, with that argument's name in its context.
    #[must_use]
    pub fn about(mut self, place: String) -> Self {
        if let Some(name) = self.fields.argument.as_mut() {
            if let Some(reason) = self.text.strip_prefix(name.as_str()) {
                self.text = format!("{place}{reason}");
            }
            *name = place;
        }
        self
    }
}

impl From<rkllm_text::stop::StopProblem> for Failure {
    fn from(problem: rkllm_text::stop::StopProblem) -> Self {
        use rkllm_text::stop::StopProblem;
        match problem {
            StopProblem::Empty => {
                Self::invalid_with_hint("stop", problem, "Remove the empty string.")
            }
            StopProblem::TooMany { .. } => {
                Self::invalid_with_hint("stop", problem, "Pass fewer or shorter stop strings.")
            }
        }
    }
}

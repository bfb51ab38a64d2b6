//! The Jinja dialect of chat templates: what Python's engine and transformers offer.
//!
//! Templates are programs out of downloaded files. They run with a limited amount of fuel, which pays
//! for steps and for memory, without access to anything but what they are given.

mod clock;
mod compile;
mod guard;
mod json;
mod methods;
mod python;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use compile::Program;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, machinery};

/// Steps of a rendering. One pays for 64 bytes as well, so this bounds memory at 32 MB.
const FUEL: u64 = 500_000;
/// The longest text that a template may write.
const LONGEST: usize = 16 << 20;
/// Values can be nested as deep as there is fuel, and are freed by recursion. Only what is used of
/// this is ever taken from the system.
const STACK: usize = if cfg!(target_pointer_width = "64") {
    256 << 20
} else {
    96 << 20
};
/// Longer than any real template by far.
const LONGEST_SOURCE: usize = 1 << 20;

/// Why a template gave no text. Nothing of a prompt is in it, but what the template itself raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The text is no template, or uses what is not there.
    NotUnderstood(String),
    /// It called `raise_exception`.
    Refused(String),
    /// It ran out of fuel.
    Endless,
    /// It wrote more than 16 MiB.
    TooLong,
    /// Anything else.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model's chat template ")?;
        match self {
            Self::NotUnderstood(why) => write!(f, "is not understood: {why}"),
            Self::Refused(why) => write!(f, "refuses this: {why}"),
            Self::Endless => f.write_str("takes too many steps or too much memory"),
            Self::TooLong => write!(f, "gives more than {} MiB of text", LONGEST >> 20),
            Self::Failed(why) => write!(f, "failed {why}"),
        }
    }
}

/// What `raise_exception` was called with.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// A compiled template.
#[derive(Clone)]
pub struct Jinja {
    environment: Arc<Environment<'static>>,
    program: Arc<Program>,
    knows_tools: bool,
}

impl fmt::Debug for Jinja {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jinja")
            .field("knows_tools", &self.knows_tools)
            .finish_non_exhaustive()
    }
}

impl Jinja {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`Trouble::NotUnderstood`] for what is no template.
    pub fn new(source: &str) -> Result<Self, Trouble> {
        if source.len() > LONGEST_SOURCE {
            return Err(Trouble::NotUnderstood("it is longer than 1 MiB".to_owned()));
        }
        let program = apart(|| Program::new(source).map_err(|error| trouble(&error)))?;
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        guard::install(&mut environment);
        python::install(&mut environment);
        Ok(Self {
            environment: Arc::new(environment),
            program: Arc::new(program),
            knows_tools: source.contains("'tool'") || source.contains("\"tool\""),
        })
    }

    /// Whether the text speaks of messages with the role `tool`.
    #[must_use]
    pub fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// The text that the template gives for `context`.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn render(&self, context: Value) -> Result<String, Trouble> {
        apart(|| {
            let (mut text, blocks) = (String::new(), BTreeMap::new());
            let mut out = machinery::make_string_output(&mut text);
            let ended = machinery::eval(
                &self.environment,
                self.program.instructions(),
                context,
                &blocks,
                &mut out,
                AutoEscape::None,
            );
            drop(ended.map_err(|error| trouble(&error))?);
            drop(out);
            if text.len() > LONGEST {
                return Err(Trouble::TooLong);
            }
            Ok(text)
        })
    }
}

/// Runs `work` on a thread with room for deep recursion.
fn apart<T: Send>(work: impl FnOnce() -> Result<T, Trouble> + Send) -> Result<T, Trouble> {
    let failed = |why: String| Err(Trouble::Failed(why));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("rkllm-template".into())
            .stack_size(STACK);
        match thread.spawn_scoped(scope, work) {
            Ok(running) => running
                .join()
                .unwrap_or_else(|_| failed("inside the engine".to_owned())),
            Err(error) => failed(format!("to get a thread: {error}")),
        }
    })
}

/// The prompt itself must not reach the log, so only kinds of failure and names are told.
fn trouble(error: &minijinja::Error) -> Trouble {
    let refusal =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<Refusal>());
    if let Some(refusal) = refusal {
        return Trouble::Refused(refusal.0.clone());
    }
    let place = error
        .line()
        .map_or_else(String::new, |line| format!(" in line {line}"));
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => Trouble::Endless,
        ErrorKind::SyntaxError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod => Trouble::NotUnderstood(format!("{detail}{place}")),
        kind => Trouble::Failed(format!("{}: {kind}", place.trim_start())),
    }
}

#[cfg(test)]
mod tests;

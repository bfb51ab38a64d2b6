//! The Jinja dialect of chat templates: what Python's engine and transformers offer.
//!
//! Templates are programs out of downloaded files. They run with a limited amount of fuel, which pays
//! for steps and for memory, without access to anything but what they are given.

mod clock;
mod compile;
mod fuel;
mod guard;
mod json;
mod methods;
mod operators;
mod python;
mod record;
mod trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use compile::Program;
pub use minijinja::value::{Serde, Tuple, Value, ValueKind};
use minijinja::{AutoEscape, Environment, machinery};
pub use record::Record;
pub use trouble::Trouble;
use trouble::trouble;

use crate::stack::{Problem, Stacks, with_stack};

/// Steps of a rendering. One pays for 64 bytes as well, and takes no longer than some 0.3 µs whatever it is spent
/// on, so that a template that never ends is told of within 100 ms, on a busy machine as well.
const FUEL: u64 = 100_000;
/// The longest text that a template may write.
const LONGEST: usize = 16 << 20;
/// For compiling, which follows the nesting of a text without limit.
const COMPILING: usize = if cfg!(target_pointer_width = "64") {
    256 << 20
} else {
    96 << 20
};
/// For rendering: macros may call each other [`DEEPEST_CALL`] times deep, and what they hand on may be nested.
static RENDERING: Stacks = Stacks::new(32 << 20, 2);
/// Frames of macros and loops within each other; a call takes some.
const DEEPEST_CALL: usize = 200;
/// Longer than any real template by far.
const LONGEST_SOURCE: usize = 1 << 20;

/// A compiled template.
#[derive(Clone)]
pub struct Jinja {
    /// With [`FUEL`].
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
            return Err(Trouble::NotUnderstood {
                line: None,
                reason: "it is larger than 1 MiB".to_owned(),
            });
        }
        let program = outcome(with_stack(COMPILING, || {
            Program::new(source).map_err(|error| trouble(&error))
        }))?;
        Ok(Self {
            environment: Arc::new(environment(FUEL)),
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
        self.render_at(None, context)
    }

    /// The same at a given time, which `strftime_now` then writes; `None` is now.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn render_at(&self, now: Option<SystemTime>, context: Value) -> Result<String, Trouble> {
        outcome(RENDERING.with(|| {
            clock::set(now)?;
            let ended = self.run(&self.environment, context.clone());
            if !matches!(ended, Err(Trouble::Endless)) {
                return ended;
            }
            // There may be more to do than usual. What is given little has fuel for it many times over.
            let fuel = fuel::fuel_for(&context, FUEL);
            if fuel < 2 * FUEL {
                return ended;
            }
            self.run(&environment(fuel), context)
        }))
    }

    fn run(&self, environment: &Environment<'_>, context: Value) -> Result<String, Trouble> {
        let (mut text, blocks) = (String::new(), BTreeMap::new());
        let mut out = machinery::make_string_output(&mut text);
        let ended = machinery::eval(
            environment,
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
    }
}

/// What a template runs in, with so much fuel.
fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(fuel));
    environment.set_recursion_limit(DEEPEST_CALL);
    guard::install(&mut environment);
    python::install(&mut environment);
    environment
}

/// What came of work on a stack of its own.
fn outcome<T>(of: Result<Result<T, Trouble>, Problem>) -> Result<T, Trouble> {
    of.unwrap_or_else(|problem| {
        let reason = match problem {
            Problem::Panicked => "an error inside the engine".to_owned(),
            Problem::NoRoom(error) => format!("no memory for its stack: {error}"),
        };
        Err(Trouble::Failed { line: None, reason })
    })
}

#[cfg(test)]
mod tests;

//! Calls that an answer must consist of.

use rkllm_text::constraint::{Calls, CallsProblem};
use rkllm_text::schema::Tools;

use super::{Chat, ChatOptions, ToolChoice};
use crate::protocol::constraint::{Constraint, Grammar};
use crate::protocol::error::{ErrorKind, Failure};

impl Chat {
    /// What an answer that must call a tool is kept to; none for any other.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if there is no such tool; `ErrorKind::Schema` if a call of it cannot be
    /// enforced.
    pub(super) fn asked_calls(
        &self,
        options: &ChatOptions,
        tools: &Tools,
    ) -> Result<Option<Constraint>, Failure> {
        let only = match &options.tool_choice {
            ToolChoice::Auto | ToolChoice::None => return Ok(None),
            ToolChoice::Required => None,
            ToolChoice::Named(name) => Some(name.as_str()),
        };
        if tools.is_empty() {
            let hint = "Pass tools=, or leave tool_choice out.";
            let reason = "has nothing to choose from: the call has no tools";
            return Err(Failure::invalid_with_hint("tool_choice", reason, hint));
        }
        if let Some(name) = only.filter(|name| !tools.is_known(name)) {
            let known: Vec<&str> = tools.names().collect();
            return Err(Failure::invalid_with_hint(
                "tool_choice",
                format!("must name one of the tools, got {name:?}"),
                format!("The tools are: {}.", known.join(", ")),
            ));
        }
        let many = only.is_none() && !options.one_call;
        let calls =
            Calls::new(&self.format, tools, only, many).map_err(|problem| refused(&problem))?;
        Ok(Some(Constraint::new(Grammar::Calls(calls))))
    }
}

fn refused(problem: &CallsProblem) -> Failure {
    let hint = problem.refusal.hint;
    Failure::new(ErrorKind::Schema, format!("tools: {problem}")).with_hint(hint)
}

/// The answer was to be a call, and is none.
#[cold]
pub(super) fn no_call() -> Failure {
    let text = "the answer is not the call of a tool that tool_choice asks for";
    Failure::new(ErrorKind::Generation, text).with_hint(
        "Pass family= if the model is of another family: its calls may be read in another way than they are written.",
    )
}

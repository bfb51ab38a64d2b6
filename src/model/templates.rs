//! Chat templates around text, where the library has none.

use super::Model;
use super::state::Template;
use crate::protocol::error::Failure;
use crate::protocol::input::{Input, Rendered};

impl Model {
    /// Whether text that is given to it gets a chat template: from the library, or strings of the program's.
    pub(crate) fn puts_template(&self) -> bool {
        self.runtime.capabilities().has_templates()
            || matches!(*self.state.template.lock(), Template::Ours(_))
    }

    /// Puts a template around text, where the library does not.
    pub(super) fn templated(
        &self,
        input: Input,
        role: &str,
        thinking: Option<bool>,
    ) -> Result<Input, Failure> {
        let template = self.state.template.lock().clone();
        let [system, prefix, postfix] = match (&template, &input) {
            (Template::Ours(strings), _) => strings,
            (Template::Rendered(renderer), Input::Prompt(text)) => {
                let text = text.to_string_lossy();
                let text = renderer.render(&text, role, thinking)?;
                return Rendered::new(&text).map(Input::Rendered);
            }
            _ => return Ok(input),
        };
        let around = |text: &std::ffi::CStr| {
            let text = text.to_string_lossy();
            format!("{system}{prefix}{text}{postfix}")
        };
        match input {
            Input::Prompt(text) => Input::prompt(&around(&text)),
            Input::Multimodal(multimodal) => {
                let prompt = around(multimodal.prompt());
                let multimodal = multimodal.with_prompt(&prompt)?;
                Ok(Input::Multimodal(Box::new(multimodal)))
            }
            input => Ok(input),
        }
    }

    /// After a chat, text is rendered as the beginning of a conversation.
    pub(super) fn check_history(&self, inputs: &[Input]) -> Result<(), Failure> {
        let is_text = inputs.iter().any(|one| matches!(one, Input::Prompt(_)));
        if is_text && matches!(*self.state.template.lock(), Template::Rendered(_)) {
            return Err(Failure::invalid_with_hint(
                "keep_history",
                "cannot be used for text after chat() on the same model",
                "Pass the whole conversation to chat(): what the model holds of it is not computed again.",
            ));
        }
        Ok(())
    }
}

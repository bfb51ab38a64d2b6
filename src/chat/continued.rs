//! An answer that goes on with the conversation's last message.

use rkllm_text::jinja::Value;

use super::messages::{Message, Role};
use super::{Chat, ChatOptions};
use crate::protocol::error::{ErrorKind, Failure};

/// Put behind the last message, to find its end in the text that the template makes. A template that trims its
/// messages takes the space away.
const MARK: &str = "<<THE-MESSAGE-ENDS-HERE>> ";

impl Chat {
    /// The text of a conversation up to the end of its last message, and how many bytes of that end are the
    /// message's.
    ///
    /// # Errors
    /// `ErrorKind::Template`, also if it does not show the last message as it is.
    pub(super) fn draw_continued(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        variables: Vec<(String, Value)>,
        window: usize,
    ) -> Result<(String, usize), Failure> {
        let text = self.draw(&marked(messages), options, variables, false, window)?;
        cut(text, messages)
    }
}

/// Checks that an answer can go on with the last message, if it is to.
///
/// # Errors
/// `ErrorKind::InvalidArgument`: it is not an assistant's, has no text, or has calls behind it.
pub(super) fn check(messages: &[Message], options: &ChatOptions) -> Result<(), Failure> {
    if !options.continue_final_message {
        return Ok(());
    }
    let wrong = |reason: &str| {
        let hint =
            "End the messages with {\"role\": \"assistant\", \"content\": \"…\"}, or leave it out.";
        Err(Failure::invalid_with_hint(
            "continue_final_message",
            reason,
            hint,
        ))
    };
    let Some(last) = messages.last().filter(|last| last.role == Role::Assistant) else {
        return wrong("needs a last message with the role \"assistant\"");
    };
    let calls = last.value.get_attr("tool_calls").unwrap_or_default();
    if last.content().trim().is_empty() || calls.len().is_some_and(|count| count > 0) {
        return wrong("needs a last message with text, and without tool_calls");
    }
    Ok(())
}

/// The messages with the mark behind the last.
fn marked(messages: &[Message]) -> Vec<Message> {
    let mut all = messages.to_vec();
    if let Some(last) = all.last_mut() {
        *last = last.with_content(&(last.content() + MARK));
    }
    all
}

/// The text up to the mark, and how much of its end is the message's.
fn cut(mut text: String, messages: &[Message]) -> Result<(String, usize), Failure> {
    let content = messages.last().map(Message::content).unwrap_or_default();
    let said = content.trim();
    let found = text.rfind(MARK.trim_end()).filter(|_| text.contains(said));
    let Some(at) = found else {
        let reason = "the chat template does not show the last message as it is, so that no answer can go on with it";
        return Err(Failure::new(ErrorKind::Template, reason)
            .with_hint("Leave continue_final_message out, or change the message."));
    };
    let trims = !text[at..].starts_with(MARK);
    text.truncate(at);
    if trims {
        text.truncate(text.trim_end().len());
    }
    let shown = if trims { content.trim_end() } else { &content };
    let pairs = text.bytes().rev().zip(shown.bytes().rev());
    let mut begun = pairs.take_while(|(a, b)| a == b).count();
    while !text.is_char_boundary(text.len() - begun) {
        begun -= 1;
    }
    Ok((text, begun))
}

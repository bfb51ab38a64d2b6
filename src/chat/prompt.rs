//! From messages to the text that the model reads.

use rkllm_text::answer::CallForm;
use rkllm_text::families::Thinking;
use rkllm_text::jinja::{Trouble, Value};
use rkllm_text::template::Prompt;

use super::messages::{self, Message, Role};
use super::{Chat, ChatOptions, ToolChoice};
use crate::protocol::error::{ErrorKind, Failure};

/// A conversation, ready for the library.
pub(super) struct Prepared {
    /// The whole, and then ever less of it if old messages may be dropped.
    pub(super) texts: Vec<String>,
    /// How many messages each leaves out.
    pub(super) dropped: Vec<usize>,
    /// What the caller should know of how it was made.
    pub(super) notes: Vec<String>,
}

/// What is said of tools to a model whose template shows none.
const TOOLS: &str = "You may call functions. They are described here as JSON, one a line:\n<tools>\n{}\n</tools>\n\
    To call one, write its name and its arguments as JSON between these tags, and nothing else:\n\
    <tool_call>\n{\"name\": \"NAME\", \"arguments\": {}}\n</tool_call>";

/// The thinking of a model that is to have none.
const NO_THINKING: &str = "<think>\n\n</think>\n\n";

/// A call as models write it that were told so by [`TOOLS`].
pub(super) fn generic_calls() -> CallForm {
    CallForm::json(
        vec!["<tool_call>".to_owned()],
        vec!["</tool_call>".to_owned()],
    )
}

impl Chat {
    /// Whether tools come into the prompt by a text of ours.
    pub(super) fn tools_by_text(&self, options: &ChatOptions) -> bool {
        options.shows_tools() && !self.abilities.tools
    }

    /// The text of a conversation, as the template gives it.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for what are no messages, `ErrorKind::Template`.
    pub fn render(
        &self,
        messages: &[Value],
        options: &ChatOptions,
        add_generation_prompt: bool,
    ) -> Result<String, Failure> {
        let checked = messages::check(messages)?;
        if self.template.is_none() {
            return Err(self.no_template());
        }
        let variables = self.variables(options, &mut Vec::new())?;
        self.draw(&checked, options, variables, add_generation_prompt)
    }

    pub(super) fn prepare(
        &self,
        messages: &[Value],
        options: &ChatOptions,
    ) -> Result<Prepared, Failure> {
        let mut left = messages::check(messages)?;
        let mut notes = self.notes.clone();
        let by_text = self.tools_by_text(options);
        if by_text {
            notes.push(
                "the chat template shows no tools; they were described in a system message"
                    .to_owned(),
            );
        }
        let variables = self.variables(options, &mut notes)?;
        let closes = self.closes_thinking(options);
        if closes {
            notes.push(
                "the chat template cannot switch thinking off; it was closed in the prompt"
                    .to_owned(),
            );
        }
        let mut draw = |messages: &[Message]| {
            let mut ready = messages::adapted(messages.to_vec(), &self.abilities, &mut notes);
            if by_text {
                ready = with_tools(ready, options.tools.as_ref(), self.abilities.system);
            }
            let mut text = self.draw(&ready, options, variables.clone(), true)?;
            if closes {
                close_thinking(&mut text);
            }
            Ok::<_, Failure>(text)
        };
        let mut texts = vec![draw(&left)?];
        let mut dropped = vec![0];
        if options.drops_oldest {
            while let Some((fewer, count)) = without_oldest(&left) {
                left = fewer;
                dropped.push(dropped[dropped.len() - 1] + count);
                texts.push(draw(&left)?);
            }
        }
        Ok(Prepared {
            texts,
            dropped,
            notes,
        })
    }

    fn draw(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        variables: Vec<(String, Value)>,
        add_generation_prompt: bool,
    ) -> Result<String, Failure> {
        let Some(template) = &self.template else {
            // The library puts its own around one message, and has no place for anything else.
            return match messages {
                [only] if only.role == Role::User && !options.shows_tools() => Ok(only.content()),
                _ => Err(self.no_template()),
            };
        };
        let shown = options.shows_tools() && self.abilities.tools;
        let prompt = Prompt {
            messages: messages
                .iter()
                .map(|message| message.value.clone())
                .collect(),
            tools: options.tools.clone().filter(|_| shown),
            documents: options.documents.clone(),
            add_generation_prompt,
            variables,
            now: options.now,
        };
        template
            .render(&prompt)
            .map_err(|trouble| self.failure(&trouble))
    }

    /// The template's own failures.
    pub(super) fn failure(&self, trouble: &Trouble) -> Failure {
        Failure::template(trouble, self.path.as_deref())
    }

    /// The names that the template is given besides: the caller's, and the switch of thinking.
    fn variables(
        &self,
        options: &ChatOptions,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(String, Value)>, Failure> {
        let mut variables = options.template_kwargs.clone();
        for (name, _) in &variables {
            let hint = match name.as_str() {
                "messages" => "Pass the messages as the call's first argument.",
                "tools" => "Pass the tools as tools=.",
                "add_generation_prompt" => "Pass add_generation_prompt= to render_chat().",
                _ => continue,
            };
            let reason = format!("must not have the name {name}, which the template has already");
            return Err(Failure::invalid_with_hint("template_kwargs", reason, hint));
        }
        let Some(thinking) = options.thinking else {
            return match &self.template {
                None if !variables.is_empty() => Err(self.no_template()),
                _ => Ok(variables),
            };
        };
        if self.template.is_none() {
            // The library has a switch of its own.
            return Ok(variables);
        }
        if let Some(keyword) = &self.abilities.thinking_keyword {
            if variables.iter().any(|(name, _)| name == keyword) {
                return Err(Failure::invalid_with_hint(
                    "thinking",
                    format!("cannot be combined with {keyword} in template_kwargs"),
                    "Pass only one of the two.",
                ));
            }
            variables.push((keyword.clone(), Value::from(thinking)));
        } else if thinking && self.family.thinking == Thinking::None {
            let text = format!(
                "this model does not think: its chat template has no switch for it ({})",
                self.name()
            );
            return Err(Failure::new(ErrorKind::UnsupportedFeature, text).with_hint(
                "Leave thinking out, or pass family= if the model is of another family.",
            ));
        } else if thinking && self.prompt_closes_thinking() {
            messages::add_once(notes, "the chat template cannot switch thinking on");
        }
        Ok(variables)
    }

    fn prompt_closes_thinking(&self) -> bool {
        self.abilities
            .generation_prompt
            .trim_end()
            .ends_with("</think>")
    }

    /// Whether thinking has to be closed by us to switch it off: the template has no switch, and the model
    /// thinks.
    fn closes_thinking(&self, options: &ChatOptions) -> bool {
        let has_switch = self.abilities.thinking_keyword.is_some();
        options.thinking == Some(false)
            && !has_switch
            && !self.prompt_closes_thinking()
            && self.family.thinking != Thinking::None
            && self
                .format
                .reasoning
                .iter()
                .any(|region| region.open.iter().any(|open| open == "<think>"))
    }
}

/// Ends a prompt with empty thinking.
fn close_thinking(text: &mut String) {
    let length = text.trim_end().len();
    if text[..length].ends_with("<think>") {
        text.truncate(length - "<think>".len());
    }
    text.push_str(NO_THINKING);
}

impl ChatOptions {
    /// Whether the model is shown tools.
    pub(super) fn shows_tools(&self) -> bool {
        self.tools.is_some() && self.tool_choice != ToolChoice::None
    }
}

/// Tools described in the system message, or in the first user's where there is no place for one.
fn with_tools(mut messages: Vec<Message>, tools: Option<&Value>, system: bool) -> Vec<Message> {
    let tools = tools.and_then(|tools| tools.try_iter().ok());
    let lines: Vec<String> = tools
        .into_iter()
        .flatten()
        .map(|tool| serde_json::to_string(&tool).unwrap_or_default())
        .collect();
    let text = TOOLS.replacen("{}", &lines.join("\n"), 1);
    let wanted = |message: &Message| {
        if system {
            message.role.is_system()
        } else {
            message.role == Role::User
        }
    };
    match messages.iter().position(wanted) {
        Some(at) => {
            let content = messages[at].content();
            let content = if system {
                format!("{content}\n\n{text}")
            } else {
                format!("{text}\n\n{content}")
            };
            messages[at] = messages[at].with_content(&content);
        }
        None if system => messages.insert(0, messages::system(&text)),
        None => messages.insert(0, messages::user(&text)),
    }
    messages
}

/// Without the oldest quarter of what may be dropped, and how many messages that was. System messages and
/// the last turn stay, and what is left begins with a user's message.
fn without_oldest(messages: &[Message]) -> Option<(Vec<Message>, usize)> {
    let first = messages
        .iter()
        .position(|message| !message.role.is_system())?;
    let last = messages
        .iter()
        .rposition(|message| message.role == Role::User)?;
    if last <= first {
        return None;
    }
    let quarter = (last - first).div_ceil(4);
    // Turns begin with a user: results of tools never stand without their calls.
    let cut = (first + quarter..=last).find(|at| messages[*at].role == Role::User)?;
    let kept = messages[..first].iter().chain(&messages[cut..]);
    Some((kept.cloned().collect(), cut - first))
}

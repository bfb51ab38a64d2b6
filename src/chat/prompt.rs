//! From messages to the text that the model reads.

use rkllm_text::answer::CallForm;
use rkllm_text::families::Thinking;
use rkllm_text::jinja::{Trouble, Value};
use rkllm_text::template::Prompt;

use super::continued;
use super::messages::{self, Message, Role};
use super::overflow::{LONGEST_TOKENS, bytes_of, most_bytes, without_oldest};
use super::{Chat, ChatOptions, ToolChoice};
use crate::protocol::constraint::{self, Constraint, Grammar};
use crate::protocol::error::{ErrorKind, Failure};

/// A conversation, ready for the library.
pub(super) struct Prepared {
    /// The whole, and then ever less of it if old messages may be dropped.
    pub(super) texts: Vec<String>,
    /// How many messages each leaves out.
    pub(super) dropped: Vec<usize>,
    /// What all conversations with these system messages and tools begin with, if it is to be kept.
    pub(super) beginning: Option<String>,
    /// How many bytes at the end of each text are the answer's own beginning.
    pub(super) begun: usize,
    /// What the caller should know of how it was made.
    pub(super) notes: Vec<String>,
}

/// What is said of tools to a model whose template shows none.
const TOOLS: &str = "You may call functions. They are described here as JSON, one a line:\n<tools>\n{}\n</tools>\n\
    To call one, write its name and its arguments as JSON between these tags, and nothing else:\n\
    <tool_call>\n{\"name\": \"NAME\", \"arguments\": {}}\n</tool_call>";

/// What is said of the JSON schema that the answer is kept to.
const SCHEMA: &str =
    "Answer with JSON, and nothing else, that fits this JSON schema:\n<schema>\n{}\n</schema>";

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
        if options.continue_final_message {
            continued::check(&checked, options)?;
            return Ok(self
                .draw_continued(&checked, options, variables, usize::MAX)?
                .0);
        }
        self.draw(
            &checked,
            options,
            variables,
            add_generation_prompt,
            usize::MAX,
        )
    }

    /// `window` is the size of the context, in tokens.
    pub(super) fn prepare(
        &self,
        messages: &[Value],
        options: &ChatOptions,
        window: usize,
    ) -> Result<Prepared, Failure> {
        let left = messages::check(messages)?;
        continued::check(&left, options)?;
        let mut notes = self.notes.clone();
        let by_text = self.tools_by_text(options);
        if by_text {
            notes.push(
                "the chat template shows no tools; they were described in a system message"
                    .to_owned(),
            );
        }
        let schema = match &options.generate.constraint {
            Some(Constraint {
                grammar: Grammar::JsonSchema(text),
                ..
            }) if !options.hides_schema => Some(text.as_str()),
            _ => None,
        };
        let variables = self.variables(options, &mut notes)?;
        let closes = self.closes_thinking(options) && !options.continue_final_message;
        if closes {
            notes.push(
                "the chat template cannot switch thinking off; it was closed in the prompt"
                    .to_owned(),
            );
        }
        let mut begun = 0;
        let mut draw = |messages: &[Message], goes_on: bool| {
            let mut ready = messages::adapted(messages.to_vec(), &self.abilities, &mut notes);
            if let Some(role) = &self.result_role {
                messages::call_results(&mut ready, role);
            }
            if by_text {
                ready = with_tools(ready, options.tools.as_ref(), self.abilities.system);
            }
            if let Some(schema) = schema {
                ready = with_text(
                    ready,
                    &SCHEMA.replacen("{}", schema, 1),
                    self.abilities.system,
                );
            }
            if goes_on {
                let (text, end) =
                    self.draw_continued(&ready, options, variables.clone(), window)?;
                begun = end;
                return Ok(text);
            }
            let mut text = self.draw(&ready, options, variables.clone(), true, window)?;
            if closes {
                close_thinking(&mut text);
            }
            Ok::<_, Failure>(text)
        };
        let shorter = if options.drops_oldest {
            without_oldest(&left, window)
        } else {
            Vec::new()
        };
        let (mut texts, mut dropped) = (Vec::new(), Vec::new());
        if shorter.is_empty() || bytes_of(&left) <= most_bytes(window) {
            texts.push(draw(&left, options.continue_final_message)?);
            dropped.push(0);
        }
        for (fewer, count) in shorter {
            dropped.push(count);
            texts.push(draw(&fewer, options.continue_final_message)?);
        }
        let mut beginning = None;
        if options.prompt_store.is_some() {
            let mut drawn = |text| {
                let first = left.iter().take_while(|message| message.role.is_system());
                let all: Vec<_> = first.cloned().chain([messages::user(text)]).collect();
                draw(&all, false)
            };
            beginning = in_common(drawn("1")?, &drawn("2")?)
                .filter(|text| texts[0].starts_with(text.as_str()));
        }
        Ok(Prepared {
            texts,
            dropped,
            beginning,
            begun,
            notes,
        })
    }

    pub(super) fn draw(
        &self,
        messages: &[Message],
        options: &ChatOptions,
        variables: Vec<(String, Value)>,
        add_generation_prompt: bool,
        window: usize,
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
        template.render(&prompt).map_err(|trouble| {
            let bytes = bytes_of(messages);
            let is_long = matches!(trouble, Trouble::TooLong | Trouble::Endless);
            if is_long && bytes > most_bytes(window) {
                let mut failure = Failure::context_length(bytes.div_ceil(LONGEST_TOKENS), window);
                failure.text = failure.text.replacen("has", "has at least", 1);
                return failure;
            }
            self.failure(&trouble)
        })
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
        let is_named = |keyword: &String| variables.iter().any(|(name, _)| name == keyword);
        let own = self.thinks.filter(|_| {
            let keyword = self.abilities.thinking_keyword.as_ref();
            keyword.is_some_and(|keyword| !is_named(keyword))
        });
        let Some(thinking) = options.thinking.or(own) else {
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
        } else if thinking && !self.thinks_at_all() {
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

    /// The thinking that may come before the answer to this prompt, of which so many bytes are its beginning.
    pub(super) fn thinking_before(
        &self,
        prompt: &str,
        begun: usize,
    ) -> Option<constraint::Thinking> {
        let region = self.format.reasoning.first()?;
        let close = region.close.first()?.clone();
        if begun > 0 {
            let said = &prompt[prompt.len() - begun..];
            let last = |tags: &[String]| tags.iter().filter_map(|tag| said.rfind(tag)).max();
            let is_open = last(&region.open) > last(&region.close);
            return is_open.then_some(constraint::Thinking { open: None, close });
        }
        let end = prompt.trim_end();
        if region.close.iter().any(|close| end.ends_with(close)) {
            return None;
        }
        let opened = region.open.iter().any(|open| end.ends_with(open));
        let open = region.open.first().filter(|_| !opened).cloned();
        Some(constraint::Thinking { open, close })
    }

    /// Whether the model thinks: its family does, or its template begins the thinking.
    fn thinks_at_all(&self) -> bool {
        let begun = self.abilities.generation_prompt.trim_end();
        let opens = |open: &String| !open.is_empty() && begun.ends_with(open.trim_end());
        self.family.thinking != Thinking::None
            || self
                .format
                .reasoning
                .iter()
                .any(|region| region.open.iter().any(opens))
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
            && self.thinks_at_all()
            && self
                .format
                .reasoning
                .iter()
                .any(|region| region.open.iter().any(|open| open == "<think>"))
    }
}

/// Less is computed sooner than it is loaded.
const LEAST_KEPT: usize = 256;

/// What two texts begin with, if it is worth a file.
fn in_common(mut one: String, other: &str) -> Option<String> {
    let pairs = one.char_indices().zip(other.chars());
    let end = pairs.take_while(|((_, a), b)| a == b).last();
    one.truncate(end.map_or(0, |((at, a), _)| at + a.len_utf8()));
    (one.len() >= LEAST_KEPT).then_some(one)
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
fn with_tools(messages: Vec<Message>, tools: Option<&Value>, system: bool) -> Vec<Message> {
    let tools = tools.and_then(|tools| tools.try_iter().ok());
    let lines: Vec<String> = tools
        .into_iter()
        .flatten()
        .map(|tool| serde_json::to_string(&tool).unwrap_or_default())
        .collect();
    with_text(
        messages,
        &TOOLS.replacen("{}", &lines.join("\n"), 1),
        system,
    )
}

/// A text added to the system message, or to the first user's where there is no place for one.
fn with_text(mut messages: Vec<Message>, text: &str, system: bool) -> Vec<Message> {
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
        None if system => messages.insert(0, messages::system(text)),
        None => messages.insert(0, messages::user(text)),
    }
    messages
}

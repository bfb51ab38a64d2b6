//! Messages: checked, and put into the form that a template takes.

use std::fmt::Display;

use rkllm_text::families::Abilities;
use rkllm_text::jinja::{Value, ValueKind};

use super::values::{map_with, text_of, type_name};
use crate::protocol::error::{ErrorKind, Failure};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A message that has been checked; its content is a string, or missing beside calls.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) value: Value,
}

/// Around each result of a tool, where the template does not show them.
const RESULT: [&str; 2] = ["<tool_response>\n", "\n</tool_response>"];

impl Role {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "system" => Self::System,
            "developer" => Self::Developer,
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "tool" => Self::Tool,
            _ => return None,
        })
    }

    /// Whether it belongs to what is said before the conversation.
    pub(super) fn is_system(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

impl Message {
    pub(super) fn new(role: Role, value: Value) -> Self {
        Self { role, value }
    }

    pub(super) fn content(&self) -> String {
        text_of(&self.value, "content").unwrap_or_default()
    }

    fn with(&self, name: &str, value: Value) -> Self {
        Self::new(self.role, map_with(&self.value, name, Some(value)))
    }

    pub(super) fn with_content(&self, content: &str) -> Self {
        self.with("content", Value::from(content))
    }
}

fn wrong(place: &str, reason: impl Display, hint: &str) -> Failure {
    let mut failure = Failure::invalid_with_hint(place, reason, hint);
    failure.fields.argument = Some("messages".to_owned());
    failure
}

/// Checks messages of the OpenAI shape, and joins the parts of their contents.
///
/// # Errors
/// `ErrorKind::InvalidArgument`, which names the message; `ErrorKind::UnsupportedFeature` for parts that are
/// no text.
pub(super) fn check(messages: &[Value]) -> Result<Vec<Message>, Failure> {
    if messages.is_empty() {
        return Err(Failure::invalid_with_hint(
            "messages",
            "must not be empty",
            "Pass at least one message, such as {\"role\": \"user\", \"content\": \"Hello\"}.",
        ));
    }
    messages
        .iter()
        .enumerate()
        .map(|(at, message)| checked(&format!("messages[{at}]"), message))
        .collect()
}

fn wrong_type(place: &str, wanted: &str, got: &Value, hint: &str) -> Failure {
    let mut failure = Failure::wrong_type(place, wanted, type_name(got), hint);
    failure.fields.argument = Some("messages".to_owned());
    failure
}

const SHAPE: &str = "Pass dicts such as {\"role\": \"user\", \"content\": \"Hello\"}.";

fn checked(place: &str, message: &Value) -> Result<Message, Failure> {
    if message.kind() != ValueKind::Map {
        return Err(wrong_type(place, "a dict", message, SHAPE));
    }
    let get = |name: &str| message.get_attr(name).unwrap_or_default();
    let role = get("role");
    let named = role.as_str().map(|name| (name, Role::named(name)));
    let role = match named {
        Some((_, Some(role))) => role,
        None if !role.is_undefined() && !role.is_none() => {
            return Err(wrong_type(&format!("{place}.role"), "a str", &role, SHAPE));
        }
        other => {
            let got = other.map_or_else(|| "none".to_owned(), |(name, _)| format!("{name:?}"));
            let reason = format!(
                "must have the role \"system\", \"developer\", \"user\", \"assistant\" or \"tool\", got {got}"
            );
            return Err(wrong(place, reason, SHAPE));
        }
    };
    let has_calls = check_calls(place, &get("tool_calls"))?;
    let content = get("content");
    let message = match content.kind() {
        ValueKind::String => message.clone(),
        ValueKind::Seq | ValueKind::Iterable => {
            let text = joined(place, &content)?;
            map_with(message, "content", Some(Value::from(text)))
        }
        ValueKind::None | ValueKind::Undefined if has_calls => map_with(message, "content", None),
        ValueKind::None | ValueKind::Undefined => {
            let reason = "must have content";
            let hint =
                "Give it a string; only an assistant's message with tool_calls may have none.";
            return Err(wrong(place, reason, hint));
        }
        _ => {
            let place = format!("{place}.content");
            return Err(wrong_type(
                &place,
                "a str or a list of parts",
                &content,
                SHAPE,
            ));
        }
    };
    Ok(Message::new(role, message))
}

/// Checks the calls of a message: each has a function with a name. Whether there are any.
fn check_calls(place: &str, calls: &Value) -> Result<bool, Failure> {
    const CALL: &str = "Append answer.message as it is, or pass calls such as {\"id\": \"1\", \"type\": \
                        \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}.";
    let place = format!("{place}.tool_calls");
    if calls.is_undefined() || calls.is_none() {
        return Ok(false);
    }
    if !matches!(calls.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(wrong_type(&place, "a list of dicts", calls, CALL));
    }
    for (at, call) in calls.try_iter().into_iter().flatten().enumerate() {
        let place = format!("{place}[{at}]");
        if call.kind() != ValueKind::Map {
            return Err(wrong_type(&place, "a dict", &call, CALL));
        }
        let function = call.get_attr("function").unwrap_or_default();
        let get = |name: &str| function.get_attr(name).unwrap_or_default();
        let (name, arguments) = (get("name"), get("arguments"));
        match function.kind() {
            ValueKind::Map => {}
            ValueKind::Undefined | ValueKind::None => {
                return Err(wrong(&place, "must have a function", CALL));
            }
            _ => {
                let place = format!("{place}.function");
                return Err(wrong_type(&place, "a dict", &function, CALL));
            }
        }
        match (name.kind(), name.as_str()) {
            (_, Some(name)) if !name.is_empty() => {}
            (ValueKind::Undefined | ValueKind::None | ValueKind::String, _) => {
                let place = format!("{place}.function");
                return Err(wrong(&place, "must have a name", CALL));
            }
            _ => {
                let place = format!("{place}.function.name");
                return Err(wrong_type(&place, "a str", &name, CALL));
            }
        }
        let is_fit = matches!(
            arguments.kind(),
            ValueKind::String | ValueKind::Map | ValueKind::None | ValueKind::Undefined
        );
        if !is_fit {
            let place = format!("{place}.function.arguments");
            let wanted = "JSON text or a dict";
            return Err(wrong_type(&place, wanted, &arguments, CALL));
        }
    }
    Ok(calls.len().is_none_or(|count| count > 0))
}

/// A part of a message that is no text, such as an image.
pub(crate) fn no_text(place: &str, kind: &str) -> Failure {
    let text = format!("{place} must be text, got a part of the type {kind:?}");
    Failure::new(ErrorKind::UnsupportedFeature, text).with_hint(
        "Leave images and sounds out of a chat; generate() takes their embeddings as Multimodal.",
    )
}

/// The text of content parts.
fn joined(place: &str, parts: &Value) -> Result<String, Failure> {
    const PART: &str = "Pass parts such as {\"type\": \"text\", \"text\": \"Hello\"}.";
    let mut all = String::new();
    for (at, part) in parts.try_iter().into_iter().flatten().enumerate() {
        if let Some(text) = part.as_str() {
            all.push_str(text);
            continue;
        }
        let place = format!("{place}.content[{at}]");
        if part.kind() != ValueKind::Map {
            return Err(wrong_type(&place, "a str or a dict", &part, PART));
        }
        let get = |name: &str| part.get_attr(name).unwrap_or_default();
        let (kind, text) = (get("type"), get("text"));
        match (kind.as_str(), text.as_str()) {
            (Some("text"), Some(text)) => all.push_str(text),
            (Some(kind), _) if kind != "text" => return Err(no_text(&place, kind)),
            (None, Some(text)) if kind.is_undefined() || kind.is_none() => all.push_str(text),
            (None, _) if !kind.is_undefined() && !kind.is_none() => {
                let place = format!("{place}.type");
                return Err(wrong_type(&place, "a str", &kind, PART));
            }
            _ if text.is_undefined() || text.is_none() => {
                return Err(wrong(&place, "must have a text", PART));
            }
            _ => {
                let place = format!("{place}.text");
                return Err(wrong_type(&place, "a str", &text, PART));
            }
        }
    }
    Ok(all)
}

/// Puts messages into the form that a template with these abilities takes. Notes say what was changed.
pub(super) fn adapted(
    mut messages: Vec<Message>,
    abilities: &Abilities,
    notes: &mut Vec<String>,
) -> Vec<Message> {
    for message in &mut messages {
        if message.role == Role::Developer && !abilities.developer {
            *message = Message::new(
                Role::System,
                map_with(&message.value, "role", Some(Value::from("system"))),
            );
        }
        if message.role == Role::Assistant {
            *message = with_calls(message, abilities, notes);
        }
    }
    if !abilities.tool_results {
        messages = results_as_users(messages, notes);
    }
    if !abilities.system && messages.iter().any(|message| message.role.is_system()) {
        notes.push(
            "the chat template has no place for a system message; its text was put before the first user \
             message"
                .to_owned(),
        );
        messages = system_as_user(messages);
    }
    messages
}

/// Gives results of tools the role that they have in this template.
pub(super) fn call_results(messages: &mut [Message], role: &str) {
    for message in messages.iter_mut().filter(|one| one.role == Role::Tool) {
        *message = message.with("role", Value::from(role));
    }
}

/// A message with its calls in the form that the template takes.
fn with_calls(message: &Message, abilities: &Abilities, notes: &mut Vec<String>) -> Message {
    let calls = message.value.get_attr("tool_calls").unwrap_or_default();
    let Some(calls) = calls.try_iter().ok().map(Iterator::collect::<Vec<_>>) else {
        return message.clone();
    };
    if calls.is_empty() {
        return message.clone();
    }
    if !abilities.tool_calls {
        let mut content = message.content();
        for call in &calls {
            let function = call.get_attr("function").unwrap_or_default();
            let name = text_of(&function, "name").unwrap_or_default();
            let arguments = function.get_attr("arguments").unwrap_or_default();
            let arguments = match arguments.as_str() {
                Some(text) => text.to_owned(),
                None => serde_json::to_string(&arguments).unwrap_or_default(),
            };
            let name = serde_json::Value::from(name);
            let call = format!(
                "<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>"
            );
            if !content.is_empty() {
                content.push('\n');
            }
            content.push_str(&call);
        }
        let note = "the chat template does not show earlier tool calls; they were written into the content";
        add_once(notes, note);
        let plain = Message::new(message.role, map_with(&message.value, "tool_calls", None));
        return plain.with_content(&content);
    }
    let calls = calls.iter().map(|call| {
        let function = call.get_attr("function").unwrap_or_default();
        let arguments = function.get_attr("arguments").unwrap_or_default();
        let changed = match (arguments.as_str(), abilities.string_arguments) {
            // What is no JSON is shown as it is.
            (Some(text), false) => serde_json::from_str::<serde_json::Value>(text)
                .ok()
                .map(|read| Value::from(rkllm_text::jinja::Serde(read))),
            (None, true) if !arguments.is_undefined() => Some(Value::from(
                serde_json::to_string(&arguments).unwrap_or_default(),
            )),
            _ => None,
        };
        match changed {
            Some(changed) => {
                let function = map_with(&function, "arguments", Some(changed));
                map_with(call, "function", Some(function))
            }
            None => call.clone(),
        }
    });
    message.with("tool_calls", calls.collect())
}

/// Results of tools as what a user says, those of one turn together.
fn results_as_users(messages: Vec<Message>, notes: &mut Vec<String>) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::with_capacity(messages.len());
    let mut in_results = false;
    for message in messages {
        if message.role != Role::Tool {
            in_results = false;
            all.push(message);
            continue;
        }
        let note =
            "the chat template does not show results of tools; they were written as user messages";
        add_once(notes, note);
        let result = format!("{}{}{}", RESULT[0], message.content(), RESULT[1]);
        match all.last_mut() {
            Some(last) if in_results => {
                *last = last.with_content(&format!("{}\n{result}", last.content()));
            }
            _ => all.push(user(&result)),
        }
        in_results = true;
    }
    all
}

pub(super) fn user(content: &str) -> Message {
    let pairs = [("role", "user"), ("content", content)];
    Message::new(Role::User, Value::from_pairs(pairs))
}

pub(super) fn system(content: &str) -> Message {
    let pairs = [("role", "system"), ("content", content)];
    Message::new(Role::System, Value::from_pairs(pairs))
}

/// The text of all system messages before that of the first user.
fn system_as_user(messages: Vec<Message>) -> Vec<Message> {
    let (system, mut rest): (Vec<_>, Vec<_>) = messages
        .into_iter()
        .partition(|message| message.role.is_system());
    let text: Vec<String> = system.iter().map(Message::content).collect();
    let text = text.join("\n\n");
    match rest.iter().position(|message| message.role == Role::User) {
        Some(at) => {
            let content = format!("{text}\n\n{}", rest[at].content());
            rest[at] = rest[at].with_content(&content);
        }
        None => rest.insert(0, user(&text)),
    }
    rest
}

pub(super) fn add_once(notes: &mut Vec<String>, note: &str) {
    if notes.iter().all(|one| one != note) {
        notes.push(note.to_owned());
    }
}

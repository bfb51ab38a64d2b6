//! A conversation that keeps its messages, for programs in Rust. That of Python keeps Python's objects, and
//! files of both are the same.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rkllm_text::jinja::{Serde, Value};
use serde_json::{Value as Json, json};

use super::{Chat, ChatAnswer, ChatOptions, ChatStream, ToolCall};
use crate::client::Source as _;
use crate::model::Model;
use crate::protocol::error::Failure;
use crate::protocol::output::FinishReason;

/// What a file says that it is.
const FORMAT: &str = "rkllm_rs conversation";
const VERSION: u64 = 1;

/// Messages and what goes with them. A clone is an independent copy: a fork.
///
/// Only a turn that ends well changes it. Each turn sends all messages, so several conversations can share a
/// model, and what the model has read before is not read again where that is possible.
#[derive(Debug, Clone)]
pub struct Conversation {
    chat: Arc<Chat>,
    messages: Vec<Json>,
    options: ChatOptions,
}

/// The answer to a turn as it comes. Dropped before its end, it leaves the conversation as it was.
pub struct TurnStream<'c> {
    kept: &'c mut Vec<Json>,
    messages: Vec<Json>,
    stream: ChatStream,
}

impl Conversation {
    /// One that has only a system message, or nothing. The template is told the same time in each turn, or
    /// a date in the system message would change it.
    #[must_use]
    pub fn new(chat: Arc<Chat>, system: Option<&str>, options: ChatOptions) -> Self {
        let system = system.map(|text| json!({"role": "system", "content": text}));
        Self::of(chat, system.into_iter().collect(), options)
    }

    fn of(chat: Arc<Chat>, messages: Vec<Json>, mut options: ChatOptions) -> Self {
        options.now.get_or_insert_with(SystemTime::now);
        Self {
            chat,
            messages,
            options,
        }
    }

    /// The messages in the OpenAI shape, oldest first.
    #[must_use]
    pub fn messages(&self) -> &[Json] {
        &self.messages
    }

    /// What each turn is generated with.
    pub fn options_mut(&mut self) -> &mut ChatOptions {
        &mut self.options
    }

    /// Sends what the user says, and waits for the answer.
    ///
    /// # Errors
    /// As [`Chat::answer`].
    pub fn send(&mut self, model: &Arc<Model>, text: &str) -> Result<ChatAnswer, Arc<Failure>> {
        self.stream(model, &[user(text)])?.into_answer()
    }

    /// Sends messages, such as a user's or results of tools, and returns the answer as it comes.
    ///
    /// # Errors
    /// As [`Chat::stream`].
    pub fn stream(
        &mut self,
        model: &Arc<Model>,
        new: &[Json],
    ) -> Result<TurnStream<'_>, Arc<Failure>> {
        let messages = [&self.messages[..], new].concat();
        let values: Vec<Value> = messages.iter().map(|one| Value::from(Serde(one))).collect();
        let stream = self.chat.stream(model, &values, &self.options)?;
        Ok(TurnStream {
            kept: &mut self.messages,
            messages,
            stream,
        })
    }

    /// Sends what the user says, and calls the tools that the model asks for until it asks for none, or
    /// there were `most` answers. `run` gives the result of a call, or what went wrong with it, for the
    /// model; calls that must not be made are answered with the reason.
    ///
    /// # Errors
    /// As [`Chat::answer`]; then the conversation is as it was before.
    pub fn run_tools(
        &mut self,
        model: &Arc<Model>,
        text: &str,
        most: usize,
        mut run: impl FnMut(&ToolCall) -> Result<String, String>,
    ) -> Result<ChatAnswer, Arc<Failure>> {
        let mut turn = self.clone();
        let mut new = vec![user(text)];
        for round in 1.. {
            let answer = turn.stream(model, &new)?.into_answer()?;
            let was_cut = matches!(
                answer.finish_reason,
                FinishReason::Length | FinishReason::Cancelled
            );
            if answer.tool_calls.is_empty() || was_cut || round >= most {
                self.messages = turn.messages;
                return Ok(answer);
            }
            let result = |call: &ToolCall| {
                let refused = call.error.clone().map_or(Ok(()), Err);
                let content = refused.and_then(|()| run(call));
                let content = content.unwrap_or_else(|why| format!("Error: {why}"));
                json!({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": content})
            };
            new = answer.tool_calls.iter().map(result).collect();
        }
        unreachable!("rounds are counted without end")
    }

    /// Takes back the last message of the user and all after it; gives its text.
    pub fn undo(&mut self) -> Option<String> {
        let is_user = |message: &Json| message["role"] == "user";
        let at = self.messages.iter().rposition(is_user)?;
        let content = self.messages[at]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.messages.truncate(at);
        Some(content)
    }

    /// Writes messages, tools and the time to a file, whole or not at all. Only the user can read it.
    ///
    /// # Errors
    /// `ErrorKind::FileMissing` if the folder does not exist, `ErrorKind::InvalidArgument` if the file cannot
    /// be written.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let now = self.options.now.unwrap_or(UNIX_EPOCH);
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let tools = self
            .options
            .tools
            .as_ref()
            .map(serde_json::to_value)
            .transpose();
        let tools = tools.map_err(|error| Failure::invalid("tools", error))?;
        let content = json!({
            "format": FORMAT,
            "version": VERSION,
            "now": seconds.as_secs_f64(),
            "tools": tools,
            "options": {},
            "messages": self.messages,
        });
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Failure::file_missing("path", folder));
        }
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| {
                file.write_all(format!("{content:#}\n").as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&draft, path)
            });
        written.map_err(|error| {
            // It may never have been there.
            let _ = std::fs::remove_file(&draft);
            unfit(path, &format!("cannot be written: {error}"))
        })
    }

    /// Reads a conversation that [`Self::save`] wrote, or that of Python. The options are the caller's; the
    /// time is the file's, and so are the tools if the options have none.
    ///
    /// # Errors
    /// `ErrorKind::FileMissing`; `ErrorKind::InvalidArgument` if there is something else in the file.
    pub fn load(chat: Arc<Chat>, path: &Path, mut options: ChatOptions) -> Result<Self, Failure> {
        let text = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::file_missing("path", path),
            _ => unfit(path, &format!("cannot be read: {error}")),
        })?;
        let content: Json = serde_json::from_slice(&text)
            .map_err(|error| unfit(path, &format!("is not JSON: {error}")))?;
        if content["format"] != FORMAT || content["version"] != VERSION {
            let what = format!("is not a conversation of version {VERSION}");
            return Err(unfit(path, &what));
        }
        let messages = content["messages"].as_array().cloned();
        let messages = messages.ok_or_else(|| unfit(path, "has no messages"))?;
        let seconds = content["now"].as_f64().map(Duration::try_from_secs_f64);
        let time = seconds
            .and_then(Result::ok)
            .and_then(|past| UNIX_EPOCH.checked_add(past));
        options.now = Some(time.ok_or_else(|| unfit(path, "has no time"))?);
        if options.tools.is_none() && content["tools"].is_array() {
            options.tools = Some(Value::from(Serde(&content["tools"])));
        }
        Ok(Self::of(chat, messages, options))
    }
}

impl TurnStream<'_> {
    /// Waits for the end. The turn is then part of the conversation, unless it was cancelled.
    ///
    /// # Errors
    /// What the run met.
    pub fn into_answer(mut self) -> Result<ChatAnswer, Arc<Failure>> {
        while let Some(delta) = self.stream.wait_next()? {
            drop(delta);
        }
        let answer = self.stream.into_answer()?;
        if answer.finish_reason != FinishReason::Cancelled {
            self.messages.push(answer.message());
            *self.kept = self.messages;
        }
        Ok(answer)
    }

    /// The deltas, and what cancels them from another thread.
    pub fn deltas(&mut self) -> &mut ChatStream {
        &mut self.stream
    }
}

fn user(text: &str) -> Json {
    json!({"role": "user", "content": text})
}

fn unfit(path: &Path, what: &str) -> Failure {
    let hint = "Pass the path of a conversation that was saved.";
    Failure::invalid_with_hint("path", format!("{} {what}", path.display()), hint)
}

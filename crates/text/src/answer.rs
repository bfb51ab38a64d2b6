//! Reads a model's answer while it is written: reasoning, content and tool calls.
//!
//! A [`Format`] says as data how a family of models writes them; [`Parser`] takes the text in any pieces
//! and gives [`Event`]s, then an [`Answer`]. However the text is cut, the events joined are the same, and
//! no text is lost: all of it is content, reasoning, part of a call, or a marker of the format.

mod calls;
mod check;
mod format;
mod input;
mod json;
mod literal;
mod named;
mod parser;
mod pattern;
mod python;
mod reader;
mod response_template;
mod scan;
mod tags;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use check::{CallProblem, check};
pub use format::{Body, CallForm, Format, Region, Tags};
pub use parser::{Options, Parser};
pub use response_template::TemplateProblem;

/// What a piece of text brought, in the order in which the model wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// More of the answer proper.
    Content {
        /// What is new.
        text: String,
    },
    /// More of the model's thinking.
    Reasoning {
        /// What is new.
        text: String,
    },
    /// A tool call has begun. Comes once for each call.
    Call {
        /// Its place among the calls of the answer.
        index: usize,
        /// Made by us, unique within a conversation.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// The call's place among the calls of the answer.
        index: usize,
        /// What is new of the JSON text.
        text: String,
    },
}

/// A tool call as the model wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Made by us, unique within a conversation.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as the model wrote them, joined from the events. Formats that do not use JSON are
    /// written as JSON; what could not be is left as it came.
    pub arguments_json: String,
    /// Why the call must not be made: words for the model and for people.
    pub error: Option<String>,
    /// The kind of `error`.
    pub problem: Option<CallProblem>,
}

impl ToolCall {
    /// The arguments, where they are a JSON object or can be read as one. If `error` is there, they may
    /// come from a lenient reading. They are read anew each time.
    #[must_use]
    pub fn arguments(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        check::arguments(&self.arguments_json)
    }

    /// The text of the arguments' object, for the message that is appended to a conversation. It is
    /// `arguments_json`, without a string around it, which some models write.
    #[must_use]
    pub fn object_json(&self) -> Cow<'_, str> {
        check::plain(&self.arguments_json)
    }
}

/// All that a model's answer says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The answer proper.
    pub content: String,
    /// The model's thinking; none if there is none.
    pub reasoning: Option<String>,
    /// The calls in the order in which they began.
    pub tool_calls: Vec<ToolCall>,
    /// What was odd about the text, for people.
    pub notes: Vec<String>,
}

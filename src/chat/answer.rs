//! What comes of a chat.

use rkllm_text::answer::{Event, ToolCall};
use serde_json::{Value, json};

use crate::protocol::output::{FinishReason, PerfStats, TokenLogprob};

/// What is new of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatDelta {
    /// More of the answer proper.
    pub content: String,
    /// More of the model's thinking.
    pub reasoning: String,
    /// More of tool calls.
    pub tool_calls: Vec<ToolCallDelta>,
}

/// What is new of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Its place among the calls of the answer.
    pub index: usize,
    /// Comes once, with the name.
    pub id: Option<String>,
    /// Comes once.
    pub name: Option<String>,
    /// More of the arguments' JSON text.
    pub arguments: String,
}

/// An answer of a chat.
#[derive(Debug, Clone)]
pub struct ChatAnswer {
    /// The answer proper.
    pub content: String,
    /// The model's thinking, if there was any.
    pub reasoning: Option<String>,
    /// Calls of tools, in the order in which the model wrote them.
    pub tool_calls: Vec<ToolCall>,
    /// Why the answer ended: [`FinishReason::ToolCalls`] if a tool can be called.
    pub finish_reason: FinishReason,
    /// Figures, of all runs that the answer took.
    pub perf: PerfStats,
    /// What was done to the conversation, or was odd about the answer; for people.
    pub notes: Vec<String>,
    /// The answer as the model wrote it, markers included.
    pub text: String,
    /// Its tokens.
    pub token_ids: Vec<i32>,
    /// How likely they were: one for each, if they were asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

impl ChatDelta {
    /// What events of a parser say together.
    pub(super) fn of(events: &mut Vec<Event>) -> Option<Self> {
        if events.is_empty() {
            return None;
        }
        let mut delta = Self::default();
        for event in events.drain(..) {
            match event {
                Event::Content { text } => append(&mut delta.content, text),
                Event::Reasoning { text } => append(&mut delta.reasoning, text),
                Event::Call { index, id, name } => delta.tool_calls.push(ToolCallDelta {
                    index,
                    id: Some(id),
                    name: Some(name),
                    arguments: String::new(),
                }),
                Event::Arguments { index, text } => match delta.tool_calls.last_mut() {
                    Some(last) if last.index == index => append(&mut last.arguments, text),
                    _ => delta.tool_calls.push(ToolCallDelta {
                        index,
                        arguments: text,
                        ..ToolCallDelta::default()
                    }),
                },
            }
        }
        Some(delta)
    }
}

/// Nearly always there is one piece, which need not be copied.
fn append(to: &mut String, text: String) {
    if to.is_empty() {
        *to = text;
    } else {
        to.push_str(&text);
    }
}

impl ChatAnswer {
    /// One that was cancelled before it could begin.
    #[cfg(feature = "python")]
    pub(crate) fn none() -> Self {
        Self {
            content: String::new(),
            reasoning: None,
            tool_calls: Vec::new(),
            finish_reason: FinishReason::Cancelled,
            perf: PerfStats::default(),
            notes: Vec::new(),
            text: String::new(),
            token_ids: Vec::new(),
            logprobs: None,
        }
    }

    /// The message to append to the conversation, in the OpenAI shape.
    #[must_use]
    pub fn message(&self) -> Value {
        let mut message = json!({"role": "assistant", "content": self.content});
        if let Some(reasoning) = &self.reasoning {
            message["reasoning_content"] = json!(reasoning);
        }
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().map(|call| {
                json!({
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.object_json()},
                })
            });
            message["tool_calls"] = calls.collect();
        }
        message
    }
}

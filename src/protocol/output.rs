//! What a run gives back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::constraint::Kept;

/// A piece of an answer: never empty, always whole characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The text.
    pub text: String,
    /// The token that completed it; tokens before it whose bytes only now became a character are in
    /// [`Generation::token_ids`].
    pub token_id: i32,
}

/// A token, and how likely the model finds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token.
    pub token_id: i32,
    /// The natural logarithm of its probability, before bias, penalties and temperature.
    pub logprob: f32,
    /// Its text, which need not be whole characters.
    pub bytes: Vec<u8>,
}

/// A generated token, how likely the model found it, and what it found likeliest in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token that was generated.
    pub token: TopLogprob,
    /// As many as were asked for, best first.
    pub top: Vec<TopLogprob>,
}

/// What rows of floats a run gives instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RowsKind {
    /// Logits over the vocabulary (`RKLLM_INFER_GET_LOGITS`, from 1.2.0).
    Logits,
    /// Hidden states of the last layer (`RKLLM_INFER_GET_LAST_HIDDEN_LAYER`).
    HiddenStates,
}

impl RowsKind {
    /// The capability that it needs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::HiddenStates => "hidden_states",
        }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model ended its answer.
    Stop,
    /// `max_new_tokens` was reached.
    Length,
    /// It was cancelled, or its model was closed.
    Cancelled,
    /// The answer of a chat calls a tool.
    ToolCalls,
}

impl FinishReason {
    /// "stop", "length", "cancelled" or "tool_calls".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// Figures that the library gives in the finishing call (`RKLLMPerfStat`), from 1.2.1 on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LibraryPerf {
    /// Time spent on the prompt, in milliseconds.
    pub prefill_time_ms: f32,
    /// Tokens of the prompt that were computed.
    pub prefill_tokens: i32,
    /// Time spent on the answer, in milliseconds.
    pub generate_time_ms: f32,
    /// Tokens of the answer.
    pub generate_tokens: i32,
    /// Peak resident size of the process (`VmHWM`), in MB.
    pub memory_usage_mb: f32,
}

/// Figures of a run: what the library said, and what was measured around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PerfStats {
    /// The library's own figures; none before 1.2.1, in a cancelled run, or if it gave only zeros.
    pub library: Option<LibraryPerf>,
    /// From the start of the run to its first token.
    pub time_to_first_token: Option<Duration>,
    /// From the first token to the last call.
    pub generate_time: Option<Duration>,
    /// From the start of the run to its end.
    pub total_time: Duration,
    /// Time spent waiting for earlier runs on the same model.
    pub queued_time: Duration,
    /// Token calls that came.
    pub tokens: usize,
    /// Tokens of the whole prompt, with the conversation that it goes on from; `None` where nobody has
    /// counted them.
    pub prompt_tokens: Option<usize>,
    /// Those of them that the KV cache held already; `None` where that is not known.
    pub cached_tokens: Option<usize>,
    /// How the answer was kept to its grammar, if it has one.
    pub constraint: Option<Kept>,
}

impl PerfStats {
    /// The figures of an answer that this run began and `next` has ended.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let sum = |one: Option<Duration>, other: Option<Duration>| match (one, other) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        let library = match (self.library, next.library) {
            (Some(one), Some(other)) => Some(LibraryPerf {
                prefill_time_ms: one.prefill_time_ms + other.prefill_time_ms,
                prefill_tokens: one.prefill_tokens + other.prefill_tokens,
                generate_time_ms: one.generate_time_ms + other.generate_time_ms,
                generate_tokens: one.generate_tokens + other.generate_tokens,
                memory_usage_mb: one.memory_usage_mb.max(other.memory_usage_mb),
            }),
            // One of them is not the answer's.
            _ => None,
        };
        Self {
            library,
            time_to_first_token: self.time_to_first_token.or(next.time_to_first_token),
            generate_time: sum(self.generate_time, next.generate_time),
            total_time: self.total_time + next.total_time,
            queued_time: self.queued_time + next.queued_time,
            tokens: self.tokens + next.tokens,
            // What the later run was given is mostly what this one has made.
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            constraint: next.constraint.or(self.constraint),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generation {
    /// The text.
    pub text: String,
    /// One id for each token call, those without text of their own included.
    pub token_ids: Vec<i32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Figures.
    pub perf: PerfStats,
    /// One for each token, if they were asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

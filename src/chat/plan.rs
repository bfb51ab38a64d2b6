//! How an answer is read, and how it goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rkllm_text::answer::{Format, Options};

use super::answer::ChatAnswer;
use super::calls::no_call;
use super::prompt::Prepared;
use crate::model::GenerateOptions;
use crate::protocol::PromptStore;
use crate::protocol::constraint::Grammar;
use crate::protocol::error::Failure;
use crate::protocol::input::{Input, Rendered};
use crate::protocol::message::Settled;
use crate::protocol::output::FinishReason;

/// What is known of an answer before it comes.
pub(super) struct Plan {
    pub(super) prepared: Prepared,
    pub(super) options: GenerateOptions,
    pub(super) format: Arc<Format>,
    pub(super) parser: Options,
    pub(super) markers: Vec<String>,
    pub(super) ends: Vec<(String, Option<i32>)>,
    /// Where what the prompt begins with is kept.
    pub(super) store: Option<PromptStore>,
    /// What was found out before the run; else the library finds it out.
    pub(super) settled: Option<Settled>,
    /// How many tokens the prompt has, where a tokenizer has counted them.
    pub(super) prompt_tokens: Option<usize>,
    /// The library puts its own template around the text.
    pub(super) by_library: bool,
    /// What ends the thinking, written after it.
    pub(super) close: String,
    /// So many tokens of thinking, and no more.
    pub(super) max_reasoning_tokens: Option<usize>,
    /// The library ends its run with the thinking (RKLLM 1.3.x).
    pub(super) ends_with_thinking: bool,
    pub(super) one_call: bool,
    pub(super) room: usize,
}

impl Plan {
    /// What the library is given.
    pub(super) fn input(&self) -> Result<Input, Failure> {
        let texts = &self.prepared.texts;
        if self.by_library {
            return Input::prompt(&texts[0]);
        }
        let rendered = match &self.settled {
            Some(settled) => Rendered::new(&texts[settled.rendering])?,
            None => Rendered::of(texts, self.room)?.with_markers(self.markers.clone()),
        };
        let rendered = rendered.with_ends(self.ends.clone());
        let rendered = match (&self.prepared.beginning, &self.store) {
            (Some(text), Some(store)) => rendered.with_beginning(text, store.clone())?,
            _ => rendered,
        };
        Ok(Input::Rendered(rendered))
    }

    /// Whether a text after an end mark is more than such a mark and white space.
    pub(super) fn goes_on(&self, text: &str) -> bool {
        let text = text.trim();
        !text.is_empty() && self.format.stops.iter().all(|mark| mark.trim() != text)
    }

    /// The prompt from whose end the answer goes on, as far as it is known.
    pub(super) fn known_prompt(&self, rendering: usize) -> &str {
        if self.by_library {
            return "";
        }
        &self.prepared.texts[rendering]
    }

    /// What a run is given that goes on after so many tokens of an answer that began then: the thinking is over.
    pub(super) fn options_after(&self, tokens: usize, began: Instant) -> GenerateOptions {
        let mut options = self.options.clone();
        if let Some(constraint) = &mut options.constraint {
            constraint.thinking = None;
        }
        if let Some(most) = options.max_new_tokens {
            let used = i32::try_from(tokens).unwrap_or(i32::MAX);
            options.max_new_tokens = Some(most.saturating_sub(used).max(1));
        }
        let left = |timeout: Duration| timeout.saturating_sub(began.elapsed());
        options.timeout = options.timeout.map(left);
        options
    }

    /// An answer that has ended, if it is what was asked for.
    pub(super) fn checked(&self, answer: ChatAnswer) -> Result<ChatAnswer, Arc<Failure>> {
        let asked = self.options.constraint.as_ref();
        let asks_call = asked.is_some_and(|asked| matches!(asked.grammar, Grammar::Calls(_)));
        let has_none = answer.tool_calls.is_empty();
        if asks_call && has_none && answer.finish_reason == FinishReason::Stop {
            return Err(Arc::new(no_call()));
        }
        Ok(answer)
    }

    /// A text without end marks at its end.
    pub(super) fn without_marks(&self, mut text: String) -> String {
        let mark = |text: &str| {
            let plain = text.trim_end();
            let marks = self.format.stops.iter().map(|mark| mark.trim_end());
            let marks = marks.filter(|mark| !mark.is_empty());
            marks
                .filter_map(|mark| Some(plain.strip_suffix(mark)?.len()))
                .min()
        };
        while let Some(length) = mark(&text) {
            text.truncate(length);
        }
        text
    }

    /// What was done to the conversation: how many messages were left out, and after how many tokens the
    /// thinking was ended.
    pub(super) fn notes(&self, dropped: usize, cut: Option<usize>) -> Vec<String> {
        let mut notes = self.prepared.notes.clone();
        if dropped > 0 {
            notes.push(if dropped == 1 {
                "the oldest message was left out to fit the context window".to_owned()
            } else {
                format!("the oldest {dropped} messages were left out to fit the context window")
            });
        }
        notes.extend(cut.map(|tokens| {
            let unit = if tokens == 1 { "token" } else { "tokens" };
            format!("the thinking was ended after {tokens} {unit}")
        }));
        notes
    }

    /// What is odd about the end of an answer: its thinking may be open, and there may be nothing else.
    pub(super) fn odd_end(
        &self,
        reason: FinishReason,
        is_open: bool,
        answered: bool,
    ) -> Option<&'static str> {
        match reason {
            FinishReason::Stop if is_open => {
                Some("the answer ended inside the thinking: there is no content after it")
            }
            FinishReason::Length if is_open => Some(
                "the limit of tokens was reached inside the thinking; increase max_new_tokens, or pass \
                 max_reasoning_tokens",
            ),
            FinishReason::Stop if self.by_library && self.ends_with_thinking && !answered => Some(
                "the library ended the run with the thinking; pass family= or chat_template=, and the answer \
                 goes on after it",
            ),
            _ => None,
        }
    }
}

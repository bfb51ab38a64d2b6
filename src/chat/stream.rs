//! An answer of a chat as it comes. It can take several runs: a model that is stopped in its thinking, or
//! stops after it, goes on with what it has written.

use std::sync::Arc;
use std::time::Instant;

use rkllm_text::answer::{Answer, Event, Parser};

use super::answer::{ChatAnswer, ChatDelta};
use super::before::Before;
use super::plan::Plan;
use super::runs::Runs;
use crate::client::{Handle, Poll, Source};
use crate::model::{Model, TokenStream};
use crate::protocol::error::Failure;
use crate::protocol::input::{Input, Rendered};
use crate::protocol::message::Settled;
use crate::protocol::output::{FinishReason, Generation, PerfStats, TokenLogprob};

/// The deltas of an answer as they come. Dropping it cancels the run.
pub struct ChatStream {
    /// Until the end.
    model: Option<Arc<Model>>,
    plan: Plan,
    parser: Parser,
    began: Instant,
    runs: Runs,
    tokens: TokenStream,
    /// The parser knows how the prompt ended, and which tokens are markers.
    is_ready: bool,
    events: Vec<Event>,
    /// What runs before this one gave.
    before: Before,
    reasoning_tokens: usize,
    /// Text and tokens of the run under way, up to where its thinking was ended by us.
    cut: Option<(String, Vec<i32>)>,
    was_cut: bool,
    /// Text and tokens of the run under way, up to the token that ends an answer.
    end: Option<(String, Vec<i32>)>,
    answer: Option<Result<ChatAnswer, Arc<Failure>>>,
}

impl ChatStream {
    pub(super) fn begin(model: &Arc<Model>, plan: Plan) -> Result<Self, Failure> {
        let tokens = model.stream(plan.input()?, &plan.options)?;
        Ok(Self {
            model: Some(Arc::clone(model)),
            parser: Parser::new(Arc::clone(&plan.format), plan.parser.clone()),
            plan,
            began: Instant::now(),
            runs: Runs::new(tokens.handle().clone()),
            tokens,
            is_ready: false,
            events: Vec::new(),
            before: Before::default(),
            reasoning_tokens: 0,
            cut: None,
            was_cut: false,
            end: None,
            answer: None,
        })
    }

    /// For waiting and cancelling, also while another thread reads.
    #[must_use]
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// The whole answer, if it has ended. Deltas that were not read are taken away.
    pub fn answer(&mut self) -> Option<Result<ChatAnswer, Arc<Failure>>> {
        loop {
            match self.poll() {
                Poll::Ready(_) => {}
                Poll::Nothing => return None,
                Poll::Ended(_) => return self.answer.clone(),
            }
        }
    }

    /// Waits for the end and gives the whole answer.
    ///
    /// # Errors
    /// What the run met.
    pub fn into_answer(mut self) -> Result<ChatAnswer, Arc<Failure>> {
        loop {
            if let Some(answer) = self.answer() {
                return answer;
            }
            self.runs.handle().wait_refusing();
        }
    }

    /// What there was until the run failed.
    #[must_use]
    pub fn partial(&self) -> ChatAnswer {
        let mut parser = self.parser.clone();
        let answer = parser.finish(&mut Vec::new());
        let (text, token_ids) = self.so_far();
        self.made(
            answer,
            text,
            token_ids,
            FinishReason::Cancelled,
            PerfStats::default(),
        )
    }

    /// Text and tokens of all runs.
    fn so_far(&self) -> (String, Vec<i32>) {
        let (text, ids) = self.tokens.so_far();
        (
            format!("{}{text}", self.before.text),
            [&self.before.token_ids[..], &ids].concat(),
        )
    }

    /// How likely the tokens of deltas are that came since the last call, if the run tells that.
    pub fn new_logprobs(&mut self) -> Option<Vec<TokenLogprob>> {
        self.before.new_logprobs(&mut self.tokens)
    }

    fn settled(&self) -> Option<Settled> {
        let before = self.plan.settled.clone();
        before.or_else(|| self.tokens.settled())
    }

    /// The text of the prompt that is used.
    fn prompt(&self) -> (&str, usize) {
        let settled = self.settled().unwrap_or_default();
        let prepared = &self.plan.prepared;
        (
            &prepared.texts[settled.rendering],
            prepared.dropped[settled.rendering],
        )
    }

    /// Tells the parser how the prompt ended, once that is known; false as long as it is not, and then
    /// nothing has come.
    fn make_ready(&mut self) -> bool {
        if self.is_ready {
            return true;
        }
        let has_ended = self.tokens.handle().has_ended();
        let Some(settled) = self.settled() else {
            return has_ended;
        };
        self.is_ready = true;
        let named = settled.markers.iter();
        let ids = named.map(|&(at, id)| (self.plan.markers[at].clone(), id));
        self.plan.parser.marker_ids = ids.collect();
        self.parser = Parser::new(Arc::clone(&self.plan.format), self.plan.parser.clone());
        let prompt = self.plan.known_prompt(settled.rendering);
        let begun = self.plan.prepared.begun;
        self.parser.begin(prompt, begun, &mut self.events);
        true
    }

    fn read(&mut self) -> Option<Poll<()>> {
        if !self.make_ready() {
            return Some(Poll::Nothing);
        }
        let (text, id) = match self.tokens.poll_token() {
            Poll::Ready(piece) => piece,
            Poll::Nothing => return Some(Poll::Nothing),
            Poll::Ended(outcome) => return Some(Poll::Ended(outcome)),
        };
        // What comes after the end of the thinking, or of the answer, is not part of it.
        if self.cut.is_none() && self.end.is_none() {
            self.parser.push_token(id, text, &mut self.events);
            if self.plan.parser.ends_at_mark && self.parser.has_ended() {
                let (text, ids) = self.tokens.handed_out();
                self.end = Some((self.plan.without_marks(text), ids));
            }
        } else if self.end.is_some() && self.plan.goes_on(text) {
            // The library does not end by itself.
            self.tokens.handle().cancel();
        }
        None
    }

    /// After a token: what it means for the run.
    fn look(&mut self) {
        if self.plan.one_call && self.parser.calls() > 1 {
            let later = |event: &Event| matches!(event, Event::Call { index, .. } | Event::Arguments { index, .. } if *index > 0);
            self.events.retain(|event| !later(event));
            self.tokens.handle().cancel();
        }
        let Some(most) = self.plan.max_reasoning_tokens else {
            return;
        };
        if self.cut.is_none() && self.parser.is_in_reasoning() {
            self.reasoning_tokens += 1;
            if self.reasoning_tokens >= most && !self.was_cut {
                self.was_cut = true;
                self.cut = Some(self.tokens.handed_out());
                self.tokens.handle().cancel();
            }
        }
    }

    /// A run has ended without an error: the answer is there, or another run goes on with it.
    fn run_ended(&mut self) {
        let generation = match self.tokens.generation() {
            Some(Ok(generation)) => generation,
            Some(Err(error)) => return self.end(Err(error)),
            None => return,
        };
        let generation = match self.end.take() {
            Some((text, token_ids)) if !self.runs.is_cancelled() => Generation {
                text,
                token_ids,
                finish_reason: FinishReason::Stop,
                ..generation
            },
            _ => generation,
        };
        if self.goes_on(&generation) {
            if let Err(error) = self.go_on(generation) {
                self.end(Err(Arc::new(error)));
            }
            return;
        }
        let answer = self.parser.finish(&mut self.events);
        let text = format!("{}{}", self.before.text, generation.text);
        let ids = [&self.before.token_ids[..], &generation.token_ids].concat();
        let mut perf = match self.before.perf {
            Some(before) => before.then(&generation.perf),
            None => generation.perf,
        };
        perf.prompt_tokens = perf.prompt_tokens.or(self.plan.prompt_tokens);
        let stopped = self.plan.one_call && answer.tool_calls.len() > 1;
        let reason = match generation.finish_reason {
            FinishReason::Cancelled if stopped && !self.runs.is_cancelled() => FinishReason::Stop,
            reason => reason,
        };
        let made = self.made(answer, text, ids, reason, perf);
        self.end(self.plan.checked(made));
    }

    fn goes_on(&self, generation: &Generation) -> bool {
        if self.runs.is_cancelled() || !self.runs.can_go_on() || self.plan.by_library {
            return false;
        }
        match generation.finish_reason {
            // It may have ended by itself before it was cancelled.
            _ if self.cut.is_some() => true,
            FinishReason::Stop => {
                self.plan.ends_with_thinking && self.ended_with_thinking(generation)
            }
            _ => false,
        }
    }

    /// Whether nothing came after the thinking.
    fn ended_with_thinking(&self, generation: &Generation) -> bool {
        if self.parser.has_answered() {
            return false;
        }
        // What is held back may be an answer yet.
        let mut parser = self.parser.clone();
        let answer = parser.finish(&mut Vec::new());
        let thought = answer.reasoning.is_some() || !generation.text.trim().is_empty();
        thought && answer.content.trim().is_empty() && answer.tool_calls.is_empty()
    }

    /// Starts another run with what there is.
    fn go_on(&mut self, generation: Generation) -> Result<(), Failure> {
        let was_in_reasoning = self.parser.is_in_reasoning();
        let (text, ids) = self
            .cut
            .take()
            .unwrap_or((generation.text, generation.token_ids));
        let notes = self.tokens.settled().unwrap_or_default().notes;
        self.before.notes.extend(notes);
        self.before.text.push_str(&text);
        self.before.take_logprobs(&mut self.tokens, ids.len());
        self.before.token_ids.extend(ids);
        self.before.perf = Some(match self.before.perf {
            Some(before) => before.then(&generation.perf),
            None => generation.perf,
        });
        if was_in_reasoning {
            self.parser.end_reasoning(&mut self.events);
        } else {
            self.parser.next_run();
        }
        let close = if was_in_reasoning {
            self.plan.close.as_str()
        } else {
            ""
        };
        let text = format!("{}{}{close}", self.prompt().0, self.before.text);
        let options = self
            .plan
            .options_after(self.before.token_ids.len(), self.began);
        let model = self.model.clone().ok_or_else(Failure::closed)?;
        let rendered = Rendered::new(&text)?.with_ends(self.plan.ends.clone());
        let next = model.stream(Input::Rendered(rendered), &options)?;
        self.runs.add(next.handle().clone());
        self.tokens = next;
        Ok(())
    }

    fn made(
        &self,
        answer: Answer,
        text: String,
        token_ids: Vec<i32>,
        reason: FinishReason,
        perf: PerfStats,
    ) -> ChatAnswer {
        let Answer {
            content,
            reasoning,
            mut tool_calls,
            notes: odd,
        } = answer;
        let cut = self.was_cut.then_some(self.reasoning_tokens);
        let mut notes = self.plan.notes(self.prompt().1, cut);
        notes.extend(self.before.notes.iter().cloned());
        notes.extend(self.tokens.settled().unwrap_or_default().notes);
        let is_open = self.parser.is_in_reasoning();
        let answered = !content.trim().is_empty() || !tool_calls.is_empty();
        notes.extend(
            self.plan
                .odd_end(reason, is_open, answered)
                .map(str::to_owned),
        );
        notes.extend(odd);
        if self.plan.one_call {
            tool_calls.truncate(1);
        }
        let logprobs = self.before.logprobs(&self.tokens, token_ids.len());
        let callable = tool_calls.iter().any(|call| call.error.is_none());
        let finish_reason = match reason {
            FinishReason::Stop if callable => FinishReason::ToolCalls,
            reason => reason,
        };
        ChatAnswer {
            content,
            reasoning,
            tool_calls,
            finish_reason,
            perf,
            notes,
            text,
            token_ids,
            logprobs,
        }
    }

    fn end(&mut self, answer: Result<ChatAnswer, Arc<Failure>>) {
        self.answer = Some(answer);
        self.model = None;
    }
}

impl Source for ChatStream {
    type Item = ChatDelta;

    fn poll(&mut self) -> Poll<ChatDelta> {
        loop {
            if let Some(delta) = ChatDelta::of(&mut self.events) {
                return Poll::Ready(delta);
            }
            if let Some(answer) = &self.answer {
                return Poll::Ended(answer.as_ref().map(drop).map_err(Arc::clone));
            }
            match self.read() {
                None => {
                    self.look();
                }
                Some(Poll::Ended(Ok(()))) => self.run_ended(),
                Some(Poll::Ended(Err(error))) => self.end(Err(error)),
                Some(_) => return Poll::Nothing,
            }
        }
    }

    fn handle(&self) -> &Handle {
        self.runs.handle()
    }
}

/// Blocks for each delta; ends with the answer.
impl Iterator for ChatStream {
    type Item = Result<ChatDelta, Arc<Failure>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wait_next().transpose()
    }
}

//! A run: prompt, tokens, end.

use std::time::Instant;

use super::input::{Prompt, system_tokens};
use super::live::Live;
use super::prefill::Prefilled;
use super::{Following, Lane, Pending, Sequel, Session};
use crate::callback::{Answer, Lane as Event, Sink, Values};
use crate::llama::Decoded;
use crate::log;
use crate::perf::Perf;
use crate::request::{Mode, Request};
use crate::template::Template;
use rkllm_ffi::cpu_table::PromptFigures;
use rkllm_text::sampler::Sampler;

/// Why a run failed, and whether the callback has to be told.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// False when nothing had begun.
    pub(crate) begun: bool,
}

/// Failures before anything was computed.
impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self {
            reason,
            begun: false,
        }
    }
}

fn begun(reason: String) -> Failure {
    Failure {
        reason,
        begun: true,
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Paused,
}

impl Session {
    /// Does a run, from input to the last callback.
    pub(crate) fn run(
        &mut self,
        request: &Request,
        template: &Template,
        following: Following,
        sink: &Sink,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        self.figures.set(Vec::new());
        let continues = self.continues(request, following.reuse);
        let takes = self.takes(request, following);
        let prompts = self.prompts(request, template, continues)?;
        self.check_lengths(&prompts)?;
        self.select_adapter(request.adapter.as_ref(), continues)?;
        let spared = system_tokens(&self.model, template).len();
        if log::level() >= 2 {
            for prompt in &prompts {
                log::info!("input tokens: {:?}", prompt.tokens);
            }
        }
        let mut perf = Perf::default();
        let before: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| (lane.cache.len(), lane.pending))
            .collect();
        let mut ready = Vec::with_capacity(prompts.len());
        for (at, prompt) in prompts.iter().enumerate() {
            ready.push(self.make_ready(at, prompt, takes, continues, spared)?);
        }
        let held = self.cache_sizes();
        let sequel = std::mem::replace(&mut self.sequel, Sequel::None);

        let mut live = Vec::with_capacity(prompts.len());
        let mut values = Vec::new();
        if request.mode == Mode::HiddenStates {
            self.context.want_hidden_states(true);
        }
        let mut prefilled = Ok(Prefilled::Done);
        for (at, prompt) in prompts.iter().enumerate() {
            let mut collected = Vec::new();
            prefilled = self.prefill(at, prompt, ready[at], request.mode, &mut collected);
            if prefilled != Ok(Prefilled::Done) {
                break;
            }
            perf.prefill_tokens += prompt.length(self.model.embedding_width()) - ready[at];
            collected.drain(..prompt.carried * self.values_of(request.mode).width());
            values.push(collected);
            if request.mode == Mode::Generate {
                live.push(self.first_token(at, prompt, request, following.seed, sink)?);
            }
        }
        if request.mode == Mode::HiddenStates {
            self.context.want_hidden_states(false);
        }
        perf.prefill = started.elapsed();
        match prefilled {
            Ok(Prefilled::Done) => {}
            Ok(Prefilled::Aborted) => {
                self.roll_back(continues.then_some(sequel), &before);
                sink.finish(&perf);
                return Ok(());
            }
            Err(reason) => {
                self.roll_back(continues.then_some(sequel), &before);
                return Err(begun(reason));
            }
        }
        self.lanes.iter_mut().for_each(Lane::forget);
        let sizes = self.cache_sizes();
        let figures = sizes.into_iter().zip(held);
        let figures = figures.map(|(prompt, cached)| PromptFigures {
            prompt_tokens: prompt as i32,
            cached_tokens: cached as i32,
        });
        self.figures.set(figures.collect());
        if let Some(path) = &request.save_cache {
            if let Err(reason) = self.save_cache(path) {
                log::error!("{reason}");
            }
        }
        let end = if request.mode == Mode::Generate {
            let end = self.generate(request, live, spared, sink, &mut perf);
            perf.generate = started.elapsed().saturating_sub(perf.prefill);
            end.map_err(begun)?
        } else {
            self.deliver_values(request.mode, values, sink)
        };
        self.sequel = match end {
            End::Paused => Sequel::Paused,
            End::Complete if request.keep_history => Sequel::Conversation,
            End::Complete => Sequel::None,
        };
        if log::level() >= 1 {
            perf.report().iter().for_each(|line| log::info!("{line}"));
        }
        if log::level() >= 2 {
            log::info!(
                "KV cache: {:?} positions, {:?} tokens reused",
                self.cache_sizes(),
                ready
            );
        }
        // A paused run has not come to its end.
        if end == End::Complete {
            sink.finish(&perf);
        }
        Ok(())
    }

    /// After an abort or a failure in prefill: what was to be continued is as it was before the run.
    fn roll_back(&mut self, continued: Option<Sequel>, before: &[(usize, Option<Pending>)]) {
        // A shift has made the cache shorter than it was: then there is no way back.
        let whole = before
            .iter()
            .zip(&self.lanes)
            .all(|(&(length, _), lane)| length <= lane.cache.len());
        let back = continued.filter(|_| whole);
        for (at, &(length, pending)) in before.iter().enumerate() {
            if back.is_some() {
                self.cut_back(at, length);
            }
            if back.is_some() {
                self.lanes[at].pending = pending;
            } else {
                self.lanes[at].forget();
            }
        }
        self.sequel = back.unwrap_or(Sequel::None);
    }

    fn first_token(
        &mut self,
        at: usize,
        prompt: &Prompt,
        request: &Request,
        seed: Option<u64>,
        sink: &Sink,
    ) -> Result<Live, Failure> {
        let settings = request.sampling.unwrap_or(self.options.sampling);
        // A copy, since a failure in a later lane leaves the pause as it was.
        let mut lane = match self.lanes[at].held.clone() {
            Some(held) => held.resume(settings, &prompt.tokens),
            // Lanes of equal prompts must not all say the same.
            None => Live::new(Sampler::new(
                settings,
                seed.map(|seed| seed.wrapping_add(at as u64)),
            )),
        };
        if !prompt.is_empty() {
            let logits = self
                .context
                .logits(-1)
                .ok_or_else(|| begun("no logits".into()))?;
            sink.process(at, logits);
            lane.token = Some(lane.sampler.sample(logits));
        }
        Ok(lane)
    }

    fn generate(
        &mut self,
        request: &Request,
        mut live: Vec<Live>,
        spared: usize,
        sink: &Sink,
        perf: &mut Perf,
    ) -> Result<End, String> {
        let limit = request.max_new_tokens.or(self.options.max_new_tokens);
        let mut end = End::Complete;
        let mut made = 0;
        loop {
            if self.flag.stopping() {
                self.leave_pending(&mut live);
                break;
            }
            made += 1;
            let last = limit == Some(made);
            match self.deliver(&mut live, last, sink, perf) {
                None => break,
                Some(Answer::Pause) => {
                    end = End::Paused;
                    break;
                }
                Some(Answer::Continue) => {}
            }
            if last || self.flag.stopping() {
                self.leave_pending(&mut live);
                break;
            }
            if !self.step(&mut live, spared, sink)? {
                break;
            }
        }
        if end == End::Paused {
            // Bytes of an unfinished character wait for the run that may finish it.
            for (lane, live) in self.lanes.iter_mut().zip(live) {
                lane.pending = None;
                lane.held = Some(live);
            }
            return Ok(end);
        }
        if live.iter().any(|lane| lane.joiner.is_inside_character()) {
            let mut events: Vec<_> = live
                .iter_mut()
                .map(|lane| {
                    let mut tail = String::new();
                    lane.joiner.finish(&mut tail);
                    Event {
                        text: (!tail.is_empty()).then(|| tail.into_bytes()),
                        token: -1,
                        values: Vec::new(),
                    }
                })
                .collect();
            sink.lanes(&mut events, Values::None, false);
        }
        Ok(end)
    }

    /// Hands over the tokens chosen last; None if no lane goes on: an end mark cannot be paused at.
    fn deliver(
        &mut self,
        live: &mut [Live],
        last: bool,
        sink: &Sink,
        perf: &mut Perf,
    ) -> Option<Answer> {
        let single = live.len() == 1;
        let mut waiting = false;
        let mut spoken = 0;
        let mut events = Vec::with_capacity(live.len());
        for (lane, kept) in live.iter_mut().zip(&mut self.lanes) {
            let mut event = Event {
                text: None,
                token: -1,
                values: Vec::new(),
            };
            if let Some(token) = lane.token {
                let ends = self.model.ends(token) && !self.options.ignore_eos_token;
                if ends {
                    kept.pending = Some(Pending { token, ends });
                    lane.token = None;
                }
                if !ends || !self.options.skip_special_token {
                    spoken += 1;
                    event.token = token;
                    let piece = self.model.piece(token, !self.options.skip_special_token);
                    let mut text = String::new();
                    lane.joiner.push(&piece, &mut text);
                    if last || ends {
                        // Nothing follows that could complete the character.
                        lane.joiner.finish(&mut text);
                    } else if text.is_empty() && lane.joiner.is_inside_character() {
                        waiting = single;
                    }
                    event.text = Some(text.into_bytes());
                }
            }
            events.push(event);
        }
        let mut answer = Answer::Continue;
        if spoken > 0 {
            perf.generate_tokens += spoken;
            answer = sink.lanes(&mut events, Values::None, waiting);
        }
        live.iter()
            .any(|lane| lane.token.is_some())
            .then_some(answer)
    }

    /// Notes the tokens that were handed over but not computed, for a run that continues.
    fn leave_pending(&mut self, live: &mut [Live]) {
        for (lane, kept) in live.iter_mut().zip(&mut self.lanes) {
            if let Some(token) = lane.token.take() {
                kept.pending = Some(Pending {
                    token,
                    ends: self.model.ends(token),
                });
            }
        }
    }

    /// Computes the chosen tokens and chooses the next ones; false if the run is over.
    fn step(&mut self, live: &mut [Live], spared: usize, sink: &Sink) -> Result<bool, String> {
        for at in 0..live.len() {
            let full = self.lanes[at].cache.len() >= self.options.max_context_len;
            if live[at].token.is_some() && full && !self.shift(at, 1, spared) {
                log::warning!(
                    "the context of {} tokens is full",
                    self.options.max_context_len
                );
                self.leave_pending(live);
                return Ok(false);
            }
        }
        let steps: Vec<_> = live
            .iter()
            .enumerate()
            .filter_map(|(at, lane)| Some((at as i32, self.lanes[at].cache.len(), lane.token?)))
            .collect();
        match self.context.decode_rows(&steps) {
            Decoded::Done => {}
            Decoded::Aborted => {
                self.leave_pending(live);
                return Ok(false);
            }
            Decoded::Full => return Err("the KV cache has no room".into()),
            Decoded::Failed(code) => return Err(format!("computing a token failed ({code})")),
        }
        for (i, &(at, _, token)) in steps.iter().enumerate() {
            let lane = &mut live[at as usize];
            self.lanes[at as usize].push(&[token], false);
            lane.sampler.accept(token);
            let logits = self.context.logits(i as i32).ok_or("no logits")?;
            sink.process(at as usize, logits);
            lane.token = Some(lane.sampler.sample(logits));
        }
        Ok(true)
    }

    fn values_of(&self, mode: Mode) -> Values {
        match mode {
            Mode::Generate => Values::None,
            Mode::HiddenStates => Values::HiddenStates(self.model.hidden_width()),
            Mode::Logits => Values::Logits(self.model.vocabulary_size()),
        }
    }

    fn deliver_values(&self, mode: Mode, values: Vec<Vec<f32>>, sink: &Sink) -> End {
        let mut events: Vec<_> = values
            .into_iter()
            .map(|values| Event {
                text: Some(Vec::new()),
                token: -1,
                values,
            })
            .collect();
        match sink.lanes(&mut events, self.values_of(mode), false) {
            Answer::Pause => End::Paused,
            Answer::Continue => End::Complete,
        }
    }
}

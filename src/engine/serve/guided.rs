//! Goes on with an answer that is kept to a grammar where the library has paused, or has ended the run.

use std::ffi::CString;

use super::Server;
use crate::engine::RunLanes;
use crate::engine::run::{Onward, Standing};
use crate::native::{Lane as _, RunEnd};
use crate::protocol::error::Failure;
use crate::protocol::input::{Input, Rendered};
use crate::protocol::message::RunSpec;

impl Server<'_> {
    /// Puts what is forced before the first token behind the prompt, where that is tokens.
    /// How many tokens that are.
    pub(super) fn force_beginning(&self, spec: &mut RunSpec, lanes: &RunLanes) -> usize {
        let context = self.context();
        let mut count = 0;
        if let Input::Tokens(ids) = &mut spec.lanes[0].input {
            let room = context.saturating_sub(ids.len() + 1);
            let forced = lanes[0].beginning(room);
            count = forced.len();
            if count > 0 {
                ids.extend(forced);
                spec.max_new_tokens = of_run(spec, lanes[0].left());
            }
        }
        count
    }

    fn context(&self) -> usize {
        usize::try_from(self.model.effective().max_context_len).unwrap_or(0)
    }

    /// Goes on after the first call of a run, until its answer has ended. So many tokens of it went with the
    /// prompt.
    pub(super) fn go_on(
        &mut self,
        spec: &RunSpec,
        lanes: &RunLanes,
        forced: usize,
        first: Result<RunEnd, Failure>,
    ) -> Result<RunEnd, Failure> {
        let lane = &lanes[0];
        if !lane.is_unmasked() {
            return first;
        }
        let able = self.runtime.capabilities();
        let clears = able.has("kv_cache_range") && able.has("kv_cache_size");
        let sampling = spec.sampling.unwrap_or(self.model.effective().sampling);
        let is_random = !sampling.is_greedy();
        let mut outcome = first;
        for call in 1.. {
            if lane.has_ended() {
                break;
            }
            let ended = match &outcome {
                Ok(RunEnd::Paused) => false,
                Ok(RunEnd::Over) => true,
                // A library that was left may call that an error.
                Err(_) if lane.abort_wanted() => true,
                Err(_) => break,
            };
            let onward = lane.onward(Standing {
                ended,
                // That an answer is the same again is seen when it has come.
                may_choose: !spec.keep_history && (ended || (is_random && clears)),
                behind: match &spec.lanes[0].input {
                    Input::Tokens(ids) => ids.last().copied(),
                    _ => None,
                },
                room: self.room_behind(spec, lanes),
            })?;
            let input = match onward {
                Onward::Nothing => break,
                Onward::Tokens(ids) => Some(Input::Tokens(ids)),
                Onward::Again(token) => {
                    self.take_back()?;
                    Some(Input::Tokens(vec![token]))
                }
                Onward::Answer(ids, text) => {
                    with_answer(&spec.lanes[0].input, &ids[forced..], &text)
                }
                Onward::Prompt => Some(spec.lanes[0].input.clone()),
            };
            let Some(input) = input else { break };
            let mut again = spec.clone();
            again.lanes[0].input = input;
            again.max_new_tokens = of_run(spec, lane.left());
            // The prompt's cache was saved in the first call.
            again.save_prompt_cache = None;
            again.seed = spec.seed.map(|seed| seed.wrapping_add(call));
            outcome = self.call(&again, lanes, lanes, false);
        }
        outcome
    }

    /// How many tokens of an answer the library can be given behind the prompt, in a run of their own.
    fn room_behind(&self, spec: &RunSpec, lanes: &RunLanes) -> usize {
        let prompt = match &spec.lanes[0].input {
            Input::Tokens(ids) => Some(ids.len()),
            // Where nobody has counted them, the library says what is too long.
            Input::Rendered(_) => Some(lanes[0].prompt_tokens().unwrap_or(0)),
            _ => None,
        };
        prompt.map_or(0, |prompt| self.context().saturating_sub(prompt))
    }

    /// Takes the last token out of the cache: given again, the library chooses again behind it.
    fn take_back(&mut self) -> Result<(), Failure> {
        let sizes = self.model.kv_cache_size()?;
        let size = sizes.first().copied().unwrap_or(0);
        self.model.clear_kv_range(&[((size - 1).max(0), size)])
    }
}

/// The limit of a call in which so many tokens may still come, where the library takes one.
fn of_run(spec: &RunSpec, left: usize) -> i32 {
    if spec.max_new_tokens > 0 {
        i32::try_from(left).unwrap_or(i32::MAX).max(1)
    } else {
        spec.max_new_tokens
    }
}

/// A prompt, and what there is of its answer.
fn with_answer(prompt: &Input, ids: &[i32], text: &[u8]) -> Option<Input> {
    match prompt {
        Input::Tokens(prompt) => Some(Input::Tokens([prompt, ids].concat())),
        Input::Rendered(rendered) => {
            let whole = [rendered.texts[0].as_bytes(), text].concat();
            Some(Input::Rendered(Rendered {
                texts: vec![CString::new(whole).ok()?],
                ..rendered.clone()
            }))
        }
        _ => None,
    }
}

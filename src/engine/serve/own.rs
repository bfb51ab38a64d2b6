//! Chooses the tokens of an answer here, where a library shows logits in a mode of their own: one call for each
//! token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rkllm_text::constraint::Vocabulary;

use super::Server;
use super::calling::shared;
use crate::engine::guide::Tokenize;
use crate::engine::run::RunLane;
use crate::engine::{RunLanes, choose};
use crate::files::template::Templates;
use crate::host::FloatBlock;
use crate::native::{Asks as _, Lane, Lanes, LastCall, PromptTokens, RunEnd, Verdict};
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::input::Input;
use crate::protocol::message::RunSpec;
use crate::protocol::output::RowsKind;
use crate::protocol::question::{Question, Response};

/// The tokens of a model, and those of them that end an answer.
pub(super) struct OwnTokens {
    vocabulary: Arc<Vocabulary>,
    ends: Vec<i32>,
}

/// The lane of one call, which brings the logits of the next token.
struct Step {
    lane: Arc<RunLane>,
    row: Mutex<Option<Vec<f32>>>,
}

impl Lane for Step {
    fn wants(&self) -> Option<RowsKind> {
        Some(RowsKind::Logits)
    }

    fn start(&self) {
        self.lane.start();
    }

    fn prompt(&self, tokens: PromptTokens) {
        self.lane.prompt(tokens);
    }

    fn token(&self, _: &[u8], _: i32) -> Verdict {
        self.lane.called();
        Verdict::Continue
    }

    fn chooses(&self) -> bool {
        false
    }

    fn choose(&self, _: &mut [f32]) {}

    fn called(&self) {
        self.lane.called();
    }

    fn rows_come(&self, _: Option<&FloatBlock>) {}

    fn rows(&self, block: FloatBlock) {
        let width = block.width();
        let last = |all: &[f32]| all[all.len().saturating_sub(width)..].to_vec();
        *self.row.lock() = Some(block.with(last));
        self.lane.called();
    }

    fn unusable(&self, reason: String) {
        self.lane.unusable(reason);
    }

    fn panicked(&self) {
        self.lane.panicked();
    }

    fn last_call(&self, call: LastCall) {
        // Its figures are those of one call.
        self.lane.last_call(match call {
            LastCall::Finish(_) => LastCall::Finish(None),
            LastCall::Error => LastCall::Error,
        });
    }

    fn wait_for_last_call(&self, quiet: Duration) -> Option<LastCall> {
        let (_, was_told) = self.lane.has_paused();
        // After logits a library need not say that it has finished.
        if self.row.lock().is_some() && !was_told {
            return Some(LastCall::Finish(None));
        }
        self.lane.wait_for_last_call(quiet)
    }

    fn has_ended(&self) -> bool {
        self.lane.has_ended()
    }

    fn abort_wanted(&self) -> bool {
        self.lane.abort_wanted()
    }

    fn has_paused(&self) -> (bool, bool) {
        self.lane.has_paused()
    }
}

impl Server<'_> {
    /// Gives the lanes what keeps them to their grammar, and what chooses their tokens; the model's tokens, if
    /// those of this run are chosen here.
    pub(super) fn ready(&mut self, lanes: &RunLanes) -> Result<Option<OwnTokens>, Failure> {
        self.guide(lanes)?;
        let own = self.own_tokens(lanes)?;
        let known = own.as_ref().map(|own| Arc::clone(&own.vocabulary));
        choose::give(&self.model, lanes, known)?;
        Ok(own)
    }

    /// Gives the lanes what keeps them to their grammar. The program's tokenizer may be asked for tokens.
    fn guide(&mut self, lanes: &RunLanes) -> Result<(), Failure> {
        let desk = &self.engine.desk;
        let mut tokenize = |text: &str| {
            let text = text.to_owned();
            let question = Question::Tokenize {
                text,
                capacity: usize::MAX,
            };
            if let Response::Tokens(ids) = desk.ask(question) {
                return Ok(ids);
            }
            let reason = desk.problem();
            let reason = reason.unwrap_or_else(|| "the tokenizer has failed".to_owned());
            Err(Failure::of_run(&reason))
        };
        desk.set_readers(Some((lanes[0].run(), shared(lanes))));
        let tokenize: &mut Tokenize<'_> = &mut tokenize;
        let asked = self.has_tokenizer.then_some(tokenize);
        let given = self.guides.give(&self.model, self.path, lanes, asked);
        desk.set_readers(None);
        given
    }

    /// The model's tokens, if those of this run are chosen here.
    fn own_tokens(&mut self, lanes: &RunLanes) -> Result<Option<OwnTokens>, Failure> {
        let in_run = self.runtime.capabilities().has("own_sampling");
        if in_run || lanes[0].choosing().is_none() {
            return Ok(None);
        }
        let Some(vocabulary) = self.guides.vocabulary(&self.model, self.path)? else {
            return Err(missing(
                self.path,
                "the model's tokens, and there is no tokenizer.json",
                "Put the model's tokenizer.json there, and its generation_config.json.",
            ));
        };
        let ends = ends(self.path, &vocabulary)?;
        if ends.is_empty() {
            return Err(missing(
                self.path,
                "the token that ends an answer, and no generation_config.json or tokenizer_config.json names one",
                "Put the model's generation_config.json there.",
            ));
        }
        Ok(Some(OwnTokens { vocabulary, ends }))
    }

    /// All calls of a run whose tokens are chosen here: the prompt, then each token.
    pub(super) fn choose_here(
        &mut self,
        spec: &RunSpec,
        lanes: &RunLanes,
        known: &OwnTokens,
    ) -> Result<RunEnd, Failure> {
        let lane = &lanes[0];
        self.held.forget();
        self.warm.forget();
        self.model.clear_kv_cache(false)?;
        let mut call = RunSpec {
            wants: Some(RowsKind::Logits),
            keep_history: true,
            sampling: None,
            max_new_tokens: spec.max_new_tokens.min(1),
            turn: false,
            ..spec.clone()
        };
        let outcome = loop {
            let step = Arc::new(Step {
                lane: Arc::clone(lane),
                row: Mutex::new(None),
            });
            let heard: Lanes = Arc::new([Arc::clone(&step) as Arc<dyn Lane>]);
            let outcome = self.call_heard(&call, lanes, lanes, false, &heard);
            if outcome.is_err() || lane.has_ended() || lane.abort_wanted() {
                break outcome;
            }
            let Some(mut row) = step.row.lock().take() else {
                break Err(Failure::of_run("the library returned no logits"));
            };
            // The program may be asked about them.
            let readers = (lane.run(), shared(lanes));
            self.engine.desk.set_readers(Some(readers));
            let token = lane.pick(&mut row);
            self.engine.desk.set_readers(None);
            let Some(token) = token.filter(|token| !known.ends.contains(token)) else {
                break outcome;
            };
            // A marker is told by its id, as the library does it.
            let text = known.vocabulary.text(token).unwrap_or_default();
            lane.token(text, token);
            if lane.has_ended() {
                break outcome;
            }
            call.lanes[0].input = Input::Tokens(vec![token]);
        };
        let cleared = self.model.clear_kv_cache(false);
        match outcome {
            // A library that was left may call that an error.
            Err(_) if lane.abort_wanted() => Ok(RunEnd::Over),
            Ok(end) => cleared.map(|()| end),
            failed => failed,
        }
    }
}

/// The tokens that end an answer, by the files beside the model.
fn ends(path: &Path, vocabulary: &Vocabulary) -> Result<Vec<i32>, Failure> {
    let found = Templates::of_model(path)?;
    let named = found.tokens.iter().filter(|(name, _)| name == "eos_token");
    let named = named.filter_map(|(_, text)| vocabulary.find(text));
    Ok(found.stop_ids.iter().copied().chain(named).collect())
}

#[cold]
fn missing(path: &Path, what: &str, hint: &str) -> Failure {
    let folder = path.parent().unwrap_or(Path::new("."));
    let text = format!("sampler=\"own\" needs {what} in {}", folder.display());
    Failure::new(ErrorKind::UnsupportedFeature, text).with_hint(hint)
}

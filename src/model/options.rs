//! What a call is given besides its input.

use std::path::PathBuf;
use std::time::Duration;

use super::Caller;
use crate::protocol::Reuse;
use crate::protocol::constraint::{Constraint, Way};
use crate::protocol::error::Failure;
use crate::protocol::input::Input;
use crate::protocol::sampling::{Sampler, SamplingParams};

/// How many of the likeliest tokens can be told with each.
pub(crate) const MOST_LOGPROBS: usize = 100;

/// Options of one call.
#[derive(Debug, Clone, Default)]
pub struct GenerateOptions {
    /// Maximum number of tokens to generate; `None` for the model's setting.
    pub max_new_tokens: Option<i32>,
    /// Sampling parameters of this call; before 1.3.0 they must be those of the model.
    pub sampling: SamplingParams,
    /// Stop strings: each ends the answer and is not part of it.
    pub stop: Vec<String>,
    /// What the answer is kept to.
    pub constraint: Option<Constraint>,
    /// Who chooses the tokens.
    pub sampler: Sampler,
    /// Tell how likely each token was, and so many of the likeliest in its place.
    pub logprobs: Option<usize>,
    /// Whom of the program the logits of each token are shown first, who may change them: a number that
    /// [`crate::protocol::question::Question::Logits`] bears.
    pub logits_processor: Option<u64>,
    /// How, if not by the best way that the library lets be gone.
    pub constraint_way: Option<Way>,
    /// Seed for sampling; supported by the CPU runtime only.
    pub seed: Option<u64>,
    /// Total time limit, including queueing and prefill.
    pub timeout: Option<Duration>,
    /// Name of the LoRA adapter to use.
    pub lora: Option<String>,
    /// File to save the prompt's KV cache to.
    pub save_prompt_cache: Option<PathBuf>,
    /// Continue from the KV cache of the previous run (since 1.2.0).
    pub keep_history: bool,
    /// What may be taken from the KV cache in place of computing it.
    pub reuse: Reuse,
    /// The prompt is token ids of a whole conversation, whose next turn is expected to begin with them and
    /// with the answer. Where the library must be told what to keep (from 1.3.0), it is, and gets no more
    /// than it does not hold; elsewhere this changes nothing. [`Reuse::Fast`] implies it.
    pub turn: bool,
    /// Role of the prompt: `user` or `tool` (since 1.2.1).
    pub role: Option<String>,
    /// Thinking mode, for models that have one (since 1.2.1).
    pub thinking: Option<bool>,
    /// Who calls, where it is not the thread alone: the task of an event loop.
    pub caller: Option<Caller>,
}

impl GenerateOptions {
    /// Checks what can be known to be wrong whatever the model is.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument`.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(wanted) = self.max_new_tokens.filter(|wanted| *wanted <= 0) {
            return Err(Failure::invalid_with_hint(
                "max_new_tokens",
                format!("must be greater than 0, got {wanted}"),
                "Pass a number of tokens, or omit it for the default.",
            ));
        }
        if let Some(wanted) = self.logprobs.filter(|wanted| *wanted > MOST_LOGPROBS) {
            return Err(Failure::invalid_with_hint(
                "logprobs",
                format!("must be from 0 to {MOST_LOGPROBS}, got {wanted}"),
                "logits() returns the values of all tokens.",
            ));
        }
        rkllm_text::stop::check(&self.stop)?;
        self.sampling.validate()?;
        match &self.role {
            Some(role) => check_role("role", role),
            None => Ok(()),
        }
    }
}

fn check_role(name: &str, role: &str) -> Result<(), Failure> {
    if matches!(role, "user" | "tool") {
        return Ok(());
    }
    Err(Failure::choice(
        name,
        "\"user\" or \"tool\"",
        format_args!("{role:?}"),
    ))
}

/// The inputs of a model that was opened for several (`n_batch`).
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) inputs: Vec<Input>,
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) thinking: Option<Vec<bool>>,
    /// Whether the run is filled up where there are fewer inputs than the model was opened for.
    fills_up: bool,
}

impl Batch {
    /// One input per prompt.
    #[must_use]
    pub fn new(inputs: Vec<Input>) -> Self {
        Self {
            inputs,
            roles: None,
            thinking: None,
            fills_up: false,
        }
    }

    /// One input, whatever the model was opened for.
    pub(crate) fn single(input: Input) -> Self {
        Self::new(vec![input]).filled_up()
    }

    /// The run is filled up where there are fewer inputs than the model was opened for.
    pub(crate) fn filled_up(mut self) -> Self {
        self.fills_up = true;
        self
    }

    /// Fills the run up to `wanted` inputs with copies of the last, if that is asked for.
    pub(crate) fn fill_up(&mut self, wanted: usize) {
        fn fill<T: Clone>(all: &mut Vec<T>, wanted: usize) {
            if let Some(last) = all.last().cloned() {
                all.resize(wanted.max(all.len()), last);
            }
        }
        if self.fills_up && self.inputs.len() < wanted {
            fill(&mut self.inputs, wanted);
            self.roles.iter_mut().for_each(|all| fill(all, wanted));
            self.thinking.iter_mut().for_each(|all| fill(all, wanted));
        }
    }

    /// A role per prompt, in place of the call's.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if there are not as many as inputs, or one is not a role.
    pub fn with_roles(mut self, roles: Vec<String>) -> Result<Self, Failure> {
        as_many("role", roles.len(), self.inputs.len())?;
        for (at, role) in roles.iter().enumerate() {
            check_role(&format!("role[{at}]"), role)?;
        }
        self.roles = Some(roles);
        Ok(self)
    }

    /// Thinking mode per prompt, in place of the call's.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if there are not as many as inputs.
    pub fn with_thinking(mut self, thinking: Vec<bool>) -> Result<Self, Failure> {
        as_many("thinking", thinking.len(), self.inputs.len())?;
        self.thinking = Some(thinking);
        Ok(self)
    }
}

fn as_many(name: &str, got: usize, wanted: usize) -> Result<(), Failure> {
    if got == wanted {
        return Ok(());
    }
    Err(Failure::invalid_with_hint(
        name,
        format!("must have one value for each of the {wanted} inputs, got {got}"),
        "Pass one value for all inputs, or a list with one for each.",
    ))
}

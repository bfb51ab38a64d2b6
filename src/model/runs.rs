//! Calls that run the model.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use super::choosing::check_own_inputs;
use super::state::Template;
use super::{Batch, GenerateOptions, Model, check_input};
use crate::abi::Capabilities;
use crate::client::{Inbox, Inboxes};
use crate::host::FloatBlock;
use crate::model::rows::RowStream;
use crate::model::steps::Steps;
use crate::model::stream::TokenStream;
use crate::protocol::Reuse;
use crate::protocol::constraint::Constraint;
use crate::protocol::error::Failure;
use crate::protocol::input::{Input, c_path};
use crate::protocol::message::{LaneSpec, Limit, RunSpec, Terms};
use crate::protocol::output::{Generation, RowsKind};
use crate::protocol::sampling::SamplingParams;

impl Model {
    /// Starts a run and returns its tokens as they come (`rkllm_run`). Never blocks: if another run
    /// is under way, this one waits for its turn on the model's thread.
    ///
    /// # Errors
    /// `ErrorKind::Closed`, `ErrorKind::ForkedProcess`, `ErrorKind::Busy` from inside a callback,
    /// `ErrorKind::InvalidArgument`, `ErrorKind::UnsupportedFeature`, `ErrorKind::ContextLength` for more
    /// tokens than the window holds; what goes wrong later comes from the stream.
    #[doc(alias = "rkllm_run")]
    pub fn stream(&self, input: Input, options: &GenerateOptions) -> Result<TokenStream, Failure> {
        let lanes = self.begin(Batch::single(input), options, None)?;
        Ok(self.token_stream(&lanes[0], options))
    }

    /// Runs to the end and returns the whole answer.
    ///
    /// # Errors
    /// As [`Model::stream`], and `ErrorKind::Generation`, `ErrorKind::Timeout`.
    pub fn generate(
        &self,
        input: Input,
        options: &GenerateOptions,
    ) -> Result<Generation, Arc<Failure>> {
        self.stream(input, options)
            .map_err(Arc::new)?
            .into_generation()
    }

    /// Starts a run of as many inputs as the model was opened for, and returns a stream for each.
    /// Each ends at its own time; the library is asked to stop when none is wanted any more.
    ///
    /// # Errors
    /// As [`Model::stream`].
    pub fn stream_batch(
        &self,
        batch: Batch,
        options: &GenerateOptions,
    ) -> Result<Vec<TokenStream>, Failure> {
        let lanes = self.begin(batch, options, None)?;
        Ok(lanes
            .iter()
            .map(|lane| self.token_stream(lane, options))
            .collect())
    }

    /// Starts a run that gives rows instead of an answer: logits of each position, or hidden states
    /// of the last layer. One stream for each input; one input is served whatever the model was opened for.
    ///
    /// # Errors
    /// As [`Model::stream`]; `ErrorKind::UnsupportedFeature` for logits before 1.2.0.
    pub fn stream_rows(
        &self,
        kind: RowsKind,
        batch: Batch,
        options: &GenerateOptions,
    ) -> Result<Vec<RowStream>, Failure> {
        let able = self.runtime.capabilities();
        able.require(kind.as_str())?;
        let tokens = batch.inputs.iter().any(|i| matches!(i, Input::Tokens(_)));
        if kind == RowsKind::Logits
            && tokens
            && options.keep_history
            && !able.has_logits_after_history()
        {
            // Hazard G5: an assertion of the library, which ends the process.
            return Err(able.lacks(
                "computing logits of Tokens with keep_history=True",
                Capabilities::WITH_LOGITS_AFTER_HISTORY,
            ));
        }
        let batch = if batch.inputs.len() == 1 {
            batch.filled_up()
        } else {
            batch
        };
        let lanes = self.begin(batch, options, Some(kind))?;
        let stream = |lane| RowStream::new(self.token_stream(lane, options), kind);
        Ok(lanes.iter().map(stream).collect())
    }

    /// The rows of one input, all together.
    ///
    /// # Errors
    /// As [`Model::stream_rows`], and `ErrorKind::Generation`, `ErrorKind::Timeout`.
    pub fn rows(
        &self,
        kind: RowsKind,
        input: Input,
        options: &GenerateOptions,
    ) -> Result<FloatBlock, Arc<Failure>> {
        let streams = self.stream_rows(kind, Batch::single(input), options);
        let mut streams = streams.map_err(Arc::new)?;
        streams.remove(0).into_block()
    }

    /// Starts a run that pauses after each token (from 1.2.1). Other runs wait until the steps end.
    ///
    /// # Errors
    /// As [`Model::stream`].
    pub fn steps(&self, input: Input, options: &GenerateOptions) -> Result<Steps, Failure> {
        self.check()?;
        self.runtime.capabilities().require("pause")?;
        if options.keep_history {
            return Err(Failure::invalid_with_hint(
                "keep_history",
                "is not supported by steps()",
                "Omit keep_history, or use stream().",
            ));
        }
        let lanes = self.effective.n_batch;
        if lanes > 1 {
            return Err(Failure::invalid_with_hint(
                "n_batch",
                format!("of the model must be 1 for steps(), got {lanes}"),
                "Open the model with n_batch=1 for steps(). stream() works with this model, too.",
            ));
        }
        let (spec, terms) = self.spec(Batch::new(vec![input]), options, None)?;
        self.check_own_steps(&terms)?;
        let terms = Terms {
            stepping: true,
            by_token: false,
            ..terms
        };
        let mut inboxes = self.client.inboxes_for(1, true, options.timeout);
        let stream = self.token_stream(&inboxes[0], options);
        Ok(Steps::new(self, spec, terms, inboxes.remove(0), stream))
    }

    fn begin(
        &self,
        mut batch: Batch,
        options: &GenerateOptions,
        wants: Option<RowsKind>,
    ) -> Result<Inboxes, Failure> {
        self.check()?;
        self.state.check_steps(options.caller)?;
        let given = batch.inputs.len();
        batch.fill_up(self.effective.n_batch.into());
        let (spec, terms) = self.spec(batch, options, wants)?;
        let mut inboxes = self
            .client
            .inboxes_for(spec.lanes.len(), false, options.timeout);
        self.client.begin(spec, terms, &inboxes)?;
        // What fills the run up is delivered to nobody, and the run ends with the lanes that are wanted.
        for unwanted in &inboxes[given..] {
            unwanted.cancel();
        }
        inboxes.truncate(given);
        Ok(inboxes)
    }

    fn token_stream(&self, inbox: &Arc<Inbox>, options: &GenerateOptions) -> TokenStream {
        inbox.keep(Arc::clone(&self.keeper));
        let logprobs = options.logprobs.is_some();
        TokenStream::new(Arc::clone(inbox), self.forks, self.desk(), logprobs)
    }

    fn spec(
        &self,
        batch: Batch,
        options: &GenerateOptions,
        wants: Option<RowsKind>,
    ) -> Result<(RunSpec, Terms), Failure> {
        let able = self.runtime.capabilities();
        self.check_count(batch.inputs.len())?;
        // Refused here, where a mistake can be told at once.
        options.check()?;
        if options.keep_history {
            able.require("keep_history")?;
            self.check_history(&batch.inputs)?;
        }
        able.require_reuse(options.reuse)?;
        let constraint = self.constraint(options)?;
        let choosing = self.choosing(options)?;
        let chooses_here = choosing.is_some() && !able.has("own_sampling");
        if options.seed.is_some() && !chooses_here {
            able.require("seed")?;
        }
        if chooses_here {
            check_own_inputs(&batch.inputs)?;
        }
        if choosing.is_some() && constraint.as_ref().is_some_and(Constraint::lets_choose) {
            return Err(Failure::invalid_with_hint(
                "constraint",
                "must be \"mask\" where the tokens are chosen here (sampler, logprobs, logit_bias, logits_processor, min_p, typical_p)",
                "Leave constraint out, or those.",
            ));
        }
        let (max_new_tokens, mut limit) = self.limit(options)?;
        limit.by_library &= !chooses_here;
        let sampling = self.run_sampling(options)?;
        let lora = self.lora(options)?;
        let is_chat = batch
            .inputs
            .iter()
            .any(|one| matches!(one, Input::Rendered(_)));
        let save_prompt_cache = options.save_prompt_cache.as_deref();
        let save_prompt_cache = save_prompt_cache.map(|p| self.cache_path(p)).transpose()?;
        let role = options.role.as_deref().unwrap_or("user");
        let mut lanes = Vec::with_capacity(batch.inputs.len());
        for (at, input) in batch.inputs.into_iter().enumerate() {
            let role = batch.roles.as_ref().map_or(role, |roles| &roles[at]);
            let thinking = batch.thinking.as_ref().map(|all| all[at]);
            lanes.push(self.lane(input, role, thinking.or(options.thinking))?);
        }
        let spec = RunSpec {
            lanes,
            wants,
            lora,
            save_prompt_cache,
            keep_history: options.keep_history,
            sampling,
            max_new_tokens,
            seed: options.seed,
            reuse: options.reuse,
            // The library pauses only in a run that keeps no history.
            turn: (options.turn || options.reuse == Reuse::Fast)
                && !constraint.as_ref().is_some_and(Constraint::lets_choose),
        };
        let mut stop = options.stop.clone();
        // In a chat's answer they may be part of a tool call: whoever reads it knows.
        let shown = self
            .end_marks
            .iter()
            .filter(|_| wants.is_none() && !is_chat);
        let missing: Vec<_> = shown.filter(|mark| !stop.contains(mark)).cloned().collect();
        stop.extend(missing);
        let terms = Terms {
            limit,
            stop,
            constraint,
            choosing: choosing.map(Box::new),
            stepping: false,
            by_token: is_chat,
        };
        Ok((spec, terms))
    }

    /// The library walks over as many inputs as the model was opened for (hazard G6).
    fn check_count(&self, count: usize) -> Result<(), Failure> {
        let wanted = usize::from(self.effective.n_batch);
        if count == wanted {
            return Ok(());
        }
        let hint = if wanted > 1 {
            "Pass a list of exactly that many inputs to generate_batch() or stream_batch()."
        } else {
            "Open the model with n_batch=N to run N inputs at once."
        };
        let reason = format!("must be exactly {wanted} (n_batch={wanted}), got {count}");
        Err(Failure::invalid_with_hint("inputs", reason, hint))
    }

    fn lane(&self, input: Input, role: &str, thinking: Option<bool>) -> Result<LaneSpec, Failure> {
        let able = self.runtime.capabilities();
        if role != "user" {
            able.require("role")?;
        }
        if thinking.is_some() {
            able.require("thinking")?;
        }
        let own = matches!(
            *self.state.template.lock(),
            Template::Model | Template::Rendered(_)
        );
        if thinking == Some(true) && !own {
            return Err(Failure::invalid_with_hint(
                "thinking",
                "has no effect after the model's chat template has been replaced",
                "Open the model with template=\"model\", or write the model's thinking switch into the prompt.",
            ));
        }
        let check = |info: &_| check_input(&self.runtime, info, &self.effective, &input);
        self.client.look_at_info(check)?;
        Ok(LaneSpec {
            input: self.templated(input, role, thinking)?,
            role: crate::protocol::input::c_text("role", role)?,
            thinking: thinking.unwrap_or(false),
        })
    }

    fn lora(&self, options: &GenerateOptions) -> Result<Option<CString>, Failure> {
        let Some(name) = &options.lora else {
            return Ok(None);
        };
        self.runtime.capabilities().require("lora")?;
        if !self.state.has_lora(name) {
            let loaded: Vec<String> = self.loras().into_iter().map(|lora| lora.name).collect();
            let have = if loaded.is_empty() {
                "none".to_owned()
            } else {
                loaded.join(", ")
            };
            return Err(Failure::invalid_with_hint(
                "lora",
                format!("{name:?} is not a loaded adapter; loaded: {have}"),
                "Load the adapter with load_lora(path, name=...) first.",
            ));
        }
        crate::protocol::input::c_text("lora", name).map(Some)
    }

    /// Where a cache is to be written: the folder must be there, and the path must not depend on
    /// where the process is when the run begins.
    fn cache_path(&self, path: &Path) -> Result<CString, Failure> {
        self.runtime.capabilities().require("prompt_cache")?;
        let what = "save_prompt_cache";
        let whole = std::path::absolute(path).map_err(|error| {
            Failure::invalid(
                what,
                format!("cannot be resolved: {}: {error}", path.display()),
            )
        })?;
        let folder = whole.parent().unwrap_or(Path::new("/"));
        if whole.is_dir() {
            let reason = format!("must be a file, got the folder {}", whole.display());
            return Err(Failure::invalid_with_hint(
                what,
                reason,
                "Add a file name to the path.",
            ));
        }
        if !folder.is_dir() {
            return Err(Failure::file_missing(what, folder));
        }
        c_path(what, &whole)
    }

    /// The run's limit for the library, and ours.
    fn limit(&self, options: &GenerateOptions) -> Result<(i32, Limit), Failure> {
        let at_init = self.effective.max_new_tokens;
        let wanted = options.max_new_tokens.unwrap_or(at_init);
        let native = self.runtime.capabilities().has_limits_of_runs();
        if wanted > at_init && !native {
            return Err(Failure::invalid_with_hint(
                "max_new_tokens",
                format!(
                    "must be at most {at_init}, the value the model was opened with, got {wanted}"
                ),
                format!(
                    "Open the model with a larger max_new_tokens: before RKLLM {} it cannot be raised per call.",
                    Capabilities::since("per_run_max_new_tokens")
                ),
            ));
        }
        let by_library = native || wanted == at_init;
        let tokens = usize::try_from(wanted).unwrap_or(usize::MAX);
        Ok((
            if native { wanted } else { 0 },
            Limit { tokens, by_library },
        ))
    }

    /// The run's own sampling, if it differs from that of init.
    fn run_sampling(
        &self,
        options: &GenerateOptions,
    ) -> Result<Option<crate::protocol::sampling::Sampling>, Failure> {
        if options.sampling == SamplingParams::default() {
            return Ok(None);
        }
        let merged = options.sampling.over(&self.effective.sampling);
        if merged == self.effective.sampling {
            return Ok(None);
        }
        let changed = options.sampling.changed(&self.effective.sampling);
        let what = format!("{} per call", changed.unwrap_or("sampling"));
        let able = self.runtime.capabilities();
        able.require_for("per_run_sampling", &what)?;
        Ok(Some(merged))
    }
}

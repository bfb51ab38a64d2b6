//! A model: opened, asked, closed.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::actor::{self, Opened, Reply, Request, Shared};
use crate::callback::RunSpec;
use crate::config::{Effective, ModelConfig};
use crate::delivery::{Delivery, Limit};
use crate::error::Error;
use crate::input::Input;
use crate::loader::host::fork;
use crate::output::Generation;
use crate::runtime::Runtime;
use crate::sampling::SamplingParams;
use crate::stream::TokenStream;

/// How long closing waits for a library that is idle; one that is in a run is left to the actor.
const CLOSE: Duration = Duration::from_millis(50);

/// Settings of one call.
#[derive(Debug, Clone, Default)]
pub struct GenerateOptions {
    /// Most tokens of the answer; `None` for what the model was opened with.
    pub max_new_tokens: Option<i32>,
    /// Sampling of this call; before 1.3.0 it must be what the model was opened with.
    pub sampling: SamplingParams,
    /// Deadline over waiting, prefill and answer.
    pub timeout: Option<Duration>,
    /// Whether the conversation goes on from the run before (from 1.2.0).
    pub keep_history: bool,
    /// `user` or `tool` (from 1.2.1).
    pub role: Option<String>,
    /// Thinking mode of models that have one (from 1.2.1).
    pub thinking: Option<bool>,
}

/// An open model (`LLMHandle`).
///
/// Runs on one model are served in turn, in the order of the calls. Dropping it closes it.
///
/// ```no_run
/// use rkllm_rs::{GenerateOptions, Input, LoadOptions, Model, ModelConfig, Runtime};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::load(&LoadOptions::default())?;
/// let model = Model::open(&runtime, "qwen3-1.7b.rkllm", ModelConfig::default())?;
/// let prompt = Input::prompt("Why is the sky blue?")?;
/// for chunk in model.stream(prompt, &GenerateOptions::default())? {
///     print!("{}", chunk?.text);
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "LLMHandle")]
pub struct Model {
    runtime: Arc<Runtime>,
    path: PathBuf,
    shared: Arc<Shared>,
    effective: Effective,
    runs: AtomicU64,
    forks: u64,
}

/// A model that is being opened; dropping it gives up, and what the library then has is destroyed.
pub struct Opening {
    runtime: Arc<Runtime>,
    path: PathBuf,
    shared: Option<Arc<Shared>>,
    opened: Receiver<Opened>,
}

impl Opening {
    /// Waits, `limit` at most, for the library.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn wait(&mut self, limit: Duration) -> Option<Result<Model, Error>> {
        let effective = match self.opened.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => return Some(Err(Error::Closed)),
            Ok(Err(error)) => return Some(Err(error)),
            Ok(Ok(effective)) => effective,
        };
        let shared = self.shared.take()?;
        Some(Ok(Model {
            runtime: Arc::clone(&self.runtime),
            path: std::mem::take(&mut self.path),
            shared,
            effective,
            runs: AtomicU64::new(0),
            forks: fork::generation(),
        }))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.close();
        }
    }
}

impl Model {
    /// Opens a model and waits until it is loaded, which can take minutes (`rkllm_init`).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] and [`Error::UnsupportedFeature`] for the settings,
    /// [`Error::Init`] with the library's own lines if it cannot open the model,
    /// [`Error::ForkedRuntime`] in a child of the process that loaded the runtime.
    #[doc(alias = "rkllm_init")]
    pub fn open(
        runtime: &Arc<Runtime>,
        path: impl AsRef<Path>,
        config: ModelConfig,
    ) -> Result<Self, Error> {
        let mut opening = Self::begin_open(runtime, path, config)?;
        loop {
            if let Some(opened) = opening.wait(Duration::from_secs(3600)) {
                return opened;
            }
        }
    }

    /// Begins to open a model on its own thread.
    ///
    /// # Errors
    /// As [`Model::open`], as far as they can be known before the library is asked.
    pub fn begin_open(
        runtime: &Arc<Runtime>,
        path: impl AsRef<Path>,
        config: ModelConfig,
    ) -> Result<Opening, Error> {
        runtime.check_process()?;
        config.validate(runtime.identity().generation, runtime.capabilities())?;
        let path = path.as_ref().to_owned();
        let (shared, opened) = actor::start(Arc::clone(runtime), path.clone(), config)?;
        Ok(Opening {
            runtime: Arc::clone(runtime),
            path,
            shared: Some(shared),
            opened,
        })
    }

    /// The library that runs it.
    #[must_use]
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The model's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings it was really opened with.
    #[must_use]
    pub fn effective(&self) -> &Effective {
        &self.effective
    }

    /// Whether [`Model::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Starts a run and returns its tokens as they come (`rkllm_run`). Never blocks: if another run
    /// is under way, this one waits for its turn on the model's thread.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`], [`Error::InvalidArgument`],
    /// [`Error::UnsupportedFeature`], [`Error::ContextLength`] for more tokens than the window
    /// holds; what goes wrong later comes from the stream.
    #[doc(alias = "rkllm_run")]
    pub fn stream(&self, input: Input, options: &GenerateOptions) -> Result<TokenStream, Error> {
        self.check()?;
        let (spec, limit) = self.spec(input, options)?;
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let watch = Arc::clone(&self.shared.watch);
        let delivery = Delivery::new(run, limit, options.timeout, watch);
        self.shared.submit(spec, &delivery)?;
        Ok(TokenStream::new(delivery, self.forks))
    }

    /// Runs to the end and returns the whole answer.
    ///
    /// # Errors
    /// As [`Model::stream`], and [`Error::Run`], [`Error::Timeout`].
    pub fn generate(
        &self,
        input: Input,
        options: &GenerateOptions,
    ) -> Result<Generation, Arc<Error>> {
        self.stream(input, options)
            .map_err(Arc::new)?
            .into_generation()
    }

    /// Empties the KV cache (`rkllm_clear_kv_cache`).
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] before 1.2.0, [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_clear_kv_cache")]
    pub fn clear_kv_cache(&self, keep_system_prompt: bool) -> Result<(), Error> {
        self.begin_clear_kv_cache(keep_system_prompt)?
            .wait_for_ever()
            .map(drop)
    }

    /// Tokens in the KV cache, one number for each row of a batch (`rkllm_get_kv_cache_size`).
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] before 1.2.1, [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_get_kv_cache_size")]
    pub fn kv_cache_size(&self) -> Result<Vec<i32>, Error> {
        self.begin_kv_cache_size()?.wait_for_ever()
    }

    /// [`Model::clear_kv_cache`], to be waited for in steps.
    ///
    /// # Errors
    /// As there, as far as they can be known at once.
    pub fn begin_clear_kv_cache(&self, keep_system_prompt: bool) -> Result<Pending, Error> {
        self.check()?;
        self.runtime.capabilities().require("clear_kv_cache")?;
        Ok(Pending {
            answer: self
                .shared
                .ask(Request::ClearKvCache { keep_system_prompt })?,
        })
    }

    /// [`Model::kv_cache_size`], to be waited for in steps.
    ///
    /// # Errors
    /// As there, as far as they can be known at once.
    pub fn begin_kv_cache_size(&self) -> Result<Pending, Error> {
        self.check()?;
        self.runtime.capabilities().require("kv_cache_size")?;
        Ok(Pending {
            answer: self.shared.ask(Request::KvCacheSize)?,
        })
    }

    /// Ends all runs and gives the model back (`rkllm_destroy`). May be called again.
    ///
    /// Waits a moment for an idle library. One that is in a run is asked to abort, and its model
    /// is destroyed when it has come back; the next [`Model::open`] waits for that.
    #[doc(alias = "rkllm_destroy")]
    pub fn close(&self) {
        if self.forks == fork::generation() {
            self.shared.close();
            self.shared.gone.wait(CLOSE);
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.forks != fork::generation() {
            return Err(Error::Forked);
        }
        if self.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    fn spec(&self, input: Input, options: &GenerateOptions) -> Result<(RunSpec, Limit), Error> {
        let able = self.runtime.capabilities();
        if self.effective.n_batch > 1 {
            return Err(Error::invalid_with_hint(
                "n_batch",
                format!(
                    "the model was opened for {} inputs a run, and got one",
                    self.effective.n_batch
                ),
                "Open it without n_batch.",
            ));
        }
        if let Input::Tokens(ids) = &input {
            let limit = usize::try_from(self.effective.max_context_len).unwrap_or(0);
            if ids.len() > limit {
                return Err(Error::ContextLength {
                    tokens: ids.len(),
                    limit,
                });
            }
        }
        if options.keep_history {
            able.require("keep_history")?;
        }
        let role = options.role.as_deref().unwrap_or("user");
        if role != "user" {
            able.require("role")?;
        }
        let role = CString::new(role).map_err(|_| {
            Error::invalid_with_hint("role", "it holds a NUL", "Give \"user\" or \"tool\".")
        })?;
        if options.thinking.is_some() {
            able.require("thinking")?;
        }
        let (max_new_tokens, limit) = self.limit(options)?;
        let spec = RunSpec {
            input,
            role,
            thinking: options.thinking.unwrap_or(false),
            keep_history: options.keep_history,
            sampling: self.sampling(&options.sampling)?,
            max_new_tokens,
        };
        Ok((spec, limit))
    }

    /// The run's limit for the library, and ours.
    fn limit(&self, options: &GenerateOptions) -> Result<(i32, Limit), Error> {
        let at_init = self.effective.max_new_tokens;
        let wanted = options.max_new_tokens.unwrap_or(at_init);
        if wanted <= 0 {
            let hint = "Give a number of tokens above 0.";
            return Err(Error::invalid_with_hint(
                "max_new_tokens",
                format!("got {wanted}"),
                hint,
            ));
        }
        let native = self.runtime.capabilities().has("per_run_max_new_tokens");
        if wanted > at_init && !native {
            return Err(Error::invalid_with_hint(
                "max_new_tokens",
                format!("{wanted} is above the {at_init} that this model was opened with"),
                "Releases before 1.3.0 fix the limit when the model is opened: give it there.",
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
    fn sampling(
        &self,
        wanted: &SamplingParams,
    ) -> Result<Option<crate::sampling::Sampling>, Error> {
        wanted.validate()?;
        let merged = wanted.over(&self.effective.sampling);
        if merged == self.effective.sampling {
            return Ok(None);
        }
        self.runtime.capabilities().require("per_run_sampling")?;
        Ok(Some(merged))
    }
}

impl Drop for Model {
    /// As [`Model::close`], without waiting.
    fn drop(&mut self) {
        if self.forks == fork::generation() {
            self.shared.close();
        }
    }
}

/// An answer that the model's thread will give.
pub struct Pending {
    answer: Receiver<Result<Reply, Error>>,
}

impl Pending {
    /// Waits, `limit` at most. A size request gives its numbers, others an empty list.
    ///
    /// # Errors
    /// What the request met.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Option<Result<Vec<i32>, Error>> {
        match self.answer.recv_timeout(limit) {
            Ok(Ok(Reply::Sizes(sizes))) => Some(Ok(sizes)),
            Ok(Ok(Reply::Done)) => Some(Ok(Vec::new())),
            Ok(Err(error)) => Some(Err(error)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(Error::Closed)),
        }
    }

    fn wait_for_ever(&self) -> Result<Vec<i32>, Error> {
        loop {
            if let Some(answer) = self.wait(Duration::from_secs(3600)) {
                return answer;
            }
        }
    }
}

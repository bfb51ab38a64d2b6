//! A model: opened, asked, closed.

mod checks;
mod choosing;
mod constraints;
mod domains;
mod held;
mod options;
#[cfg(test)]
mod over_bytes;
mod pending;
mod requests;
pub mod rows;
mod runs;
pub mod score;
mod settings;
mod state;
pub mod steps;
pub mod stream;
mod templates;

pub(crate) use checks::check_input;
#[cfg(feature = "python")]
pub(crate) use options::MOST_LOGPROBS;
pub use options::{Batch, GenerateOptions};
pub use pending::Pending;
pub use steps::Steps;
pub use stream::TokenStream;

pub use state::Caller;

pub use crate::client::{Desk, Handle, Poll, Source};
pub use crate::protocol::{LoraAdapter, Reply};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::state::{ModelState, Template};
use crate::client::oneshot::Receiver;
use crate::client::{Client, Keeper};
use crate::engine::Outbox;
use crate::files::{BackendKind, context};
use crate::host::fork;
use crate::link::worker::Worker;
use crate::link::{self, Link};
use crate::protocol::config::{Effective, ModelConfig};
use crate::protocol::error::Failure;
use crate::protocol::info::ModelInfo;
use crate::protocol::message::Opened;
use crate::protocol::sampling::SamplingParams;
use crate::runtime::Runtime;

/// Settings that the program left open and that were chosen here, by their names.
type Chosen = BTreeMap<String, i32>;

/// How often one who waits for a model to open looks for questions of the library.
const LOOK: Duration = Duration::from_millis(20);

/// An open model (`LLMHandle`).
///
/// Runs on one model are served in turn, in the order of the calls. It is closed when it and all
/// streams of runs that have not ended are dropped.
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
    pub(crate) runtime: Arc<Runtime>,
    path: PathBuf,
    file: PathBuf,
    pub(crate) client: Arc<Client>,
    pub(crate) state: Arc<ModelState>,
    pub(crate) effective: Effective,
    /// Of all runs that are given none.
    logit_bias: Option<Vec<(i32, f32)>>,
    chosen: Chosen,
    /// Texts that end an answer, since special tokens are shown.
    end_marks: Vec<String>,
    forks: u64,
    keeper: Arc<Keeper>,
}

/// A model that is being opened; dropping it gives up, and what the library then has is destroyed.
pub struct Opening {
    runtime: Arc<Runtime>,
    path: PathBuf,
    file: PathBuf,
    template: Template,
    client: Mutex<Option<Arc<Client>>>,
    opened: Receiver<Opened>,
    logit_bias: Option<Vec<(i32, f32)>>,
    chosen: Chosen,
    end_marks: Vec<String>,
    forks: u64,
}

impl Opening {
    /// Waits, `limit` at most, for the library.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn wait(&self, limit: Duration) -> Option<Result<Model, Failure>> {
        let opened = match self.opened.wait(limit)? {
            Err(error) => return Some(Err(error)),
            Ok(opened) => opened,
        };
        let client = self.client.lock().take()?;
        Some(Ok(Model {
            runtime: Arc::clone(&self.runtime),
            path: self.path.clone(),
            file: self.file.clone(),
            keeper: Arc::new(Keeper::new(&client)),
            client,
            state: Arc::new(ModelState::new(self.template.clone())),
            effective: opened.effective,
            logit_bias: self.logit_bias.clone(),
            chosen: self.chosen.clone(),
            end_marks: self.end_marks.clone(),
            forks: self.forks,
        }))
    }
}

impl Opening {
    /// A descriptor that becomes readable when [`Opening::wait`] has something; `None` when it has.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&self) -> std::io::Result<Option<std::os::fd::RawFd>> {
        self.opened.arm()
    }

    /// Where questions of the library are answered while the model is opened.
    #[must_use]
    pub fn desk(&self) -> Option<Desk> {
        self.client.lock().as_ref().map(Client::desk)
    }
}

impl Opening {
    /// Gives up, as dropping it does: what the library then has is destroyed.
    pub fn give_up(&self) {
        // In a forked child it is the parent's, and any lock may be held for ever.
        if self.forks == fork::depth() {
            // Not under the lock, since what waits is told of it.
            let client = self.client.lock().take();
            if let Some(client) = client {
                client.close();
            }
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Model {
    /// Opens a model and waits until it is loaded, which can take minutes (`rkllm_init`).
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` and `ErrorKind::UnsupportedFeature` for the settings,
    /// `ErrorKind::Model` or a kind of it with the library's own lines if it cannot open the model,
    /// `ErrorKind::ForkedProcess` in a child of the process that loaded the runtime.
    #[doc(alias = "rkllm_init")]
    pub fn open(
        runtime: &Arc<Runtime>,
        path: impl AsRef<Path>,
        config: ModelConfig,
    ) -> Result<Self, Failure> {
        let opening = Self::begin_open(runtime, path, config)?;
        loop {
            if let Some(opened) = opening.wait(LOOK) {
                return opened;
            }
            // Who can answer questions opens with `begin_open`, and looks at the desk.
            if let Some(desk) = opening.desk() {
                desk.refuse();
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
    ) -> Result<Opening, Failure> {
        Self::begin_open_over(runtime, path.as_ref(), config, link::open)
    }

    /// [`Self::begin_open`], in a worker that has loaded the library.
    ///
    /// # Errors
    /// As [`Model::begin_open`], and `ErrorKind::WorkerCrashed`.
    pub fn begin_open_in(
        worker: Worker,
        runtime: &Arc<Runtime>,
        path: impl AsRef<Path>,
        config: ModelConfig,
    ) -> Result<Opening, Failure> {
        Self::begin_open_over(runtime, path.as_ref(), config, |_, _, config, out| {
            worker.open(config, out)
        })
    }

    /// [`Self::begin_open`], with an engine behind a link of the caller's.
    pub(crate) fn begin_open_over(
        runtime: &Arc<Runtime>,
        path: &Path,
        mut config: ModelConfig,
        link: impl FnOnce(
            Arc<Runtime>,
            PathBuf,
            ModelConfig,
            Arc<dyn Outbox>,
        ) -> Result<Arc<dyn Link>, Failure>,
    ) -> Result<Opening, Failure> {
        runtime.check_process()?;
        let mut chosen = Chosen::new();
        if config.max_context_len.is_none() {
            let prompts = config.n_batch.unwrap_or(1);
            if let Some(length) = context::default_length(path, runtime.backend(), prompts) {
                config.max_context_len = Some(length);
                chosen.insert("max_context_len".to_owned(), length);
            }
        }
        if config.skip_special_token.is_some() || runtime.backend() != BackendKind::Npu {
            config.end_marks.clear();
        }
        if !config.end_marks.is_empty() {
            config.skip_special_token = Some(false);
            chosen.insert("skip_special_token".to_owned(), 0);
        }
        let end_marks = config.end_marks.clone();
        let logit_bias = config.sampling.logit_bias.clone();
        config.validate(runtime.capabilities())?;
        if !runtime.capabilities().has("batch") {
            // Whatever the library's own default is.
            config.n_batch = Some(1);
        }
        let template = Template::of(config.template.as_ref(), runtime.capabilities());
        // The same file, wherever the program goes meanwhile.
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let place = domains::place(runtime, &file, &mut config, &mut chosen);
        let (client, opened) =
            Client::over(|out| link(Arc::clone(runtime), file.clone(), config, out))?;
        place.take(&client);
        Ok(Opening {
            runtime: Arc::clone(runtime),
            path: path.to_owned(),
            file,
            template,
            client: Mutex::new(Some(client)),
            opened,
            logit_bias,
            chosen,
            end_marks,
            forks: fork::depth(),
        })
    }

    /// The library that runs it.
    #[must_use]
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The model's file, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same file, wherever the program goes meanwhile.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The settings it was really opened with.
    #[must_use]
    pub fn effective(&self) -> &Effective {
        &self.effective
    }

    /// The sampling settings that runs have of which nothing else is said.
    #[must_use]
    pub fn sampling(&self) -> SamplingParams {
        SamplingParams {
            logit_bias: self.logit_bias.clone(),
            ..self.effective.sampling.into()
        }
    }

    /// The process that runs the model, if that is a worker's; none while none is alive.
    #[must_use]
    pub fn worker_pid(&self) -> Option<u32> {
        self.client.pid()
    }

    /// Whether [`Model::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Ends all runs and gives the model back (`rkllm_destroy`). May be called again.
    ///
    /// Waits a moment for an idle library. One that is in a run is asked to abort, and its model
    /// is destroyed when it has come back; the next [`Model::open`] waits for that.
    #[doc(alias = "rkllm_destroy")]
    pub fn close(&self) {
        if self.forks == fork::depth() {
            let limit = self.client.closing_time();
            self.client.close();
            self.client.wait_until_gone(limit);
        }
    }

    /// What is known of the model, and where from.
    #[must_use]
    pub fn info(&self) -> ModelInfo {
        ModelInfo {
            chosen: self.chosen.clone(),
            ..self.client.info()
        }
    }

    /// Where the library's questions are answered: look there while the model is opened, and between the
    /// pieces of a run. See [`ModelConfig::tokenizer`].
    #[must_use]
    pub fn desk(&self) -> Desk {
        self.client.desk()
    }

    /// Whether somebody is in the middle of steps; then [`GenerateOptions::caller`] matters.
    #[must_use]
    pub fn in_steps(&self) -> bool {
        self.state.in_steps()
    }

    fn check(&self) -> Result<(), Failure> {
        if self.forks != fork::depth() {
            return Err(Failure::forked());
        }
        if self.is_closed() {
            return Err(Failure::closed());
        }
        self.client.check_callbacks()
    }
}

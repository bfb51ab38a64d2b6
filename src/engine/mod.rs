//! One thread for each model: it owns the handle and makes every call on it but `rkllm_abort`.
//!
//! Requests are plain owned data. What a run brings goes through the buffers of its
//! [`Delivery`], which its reader shares.

pub(crate) mod deadlines;
pub(crate) mod desk;
pub(crate) mod registry;
mod serve;
mod state;
pub(crate) mod watch;

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use self::watch::Watch;
use crate::client::oneshot::{Answer, Giver, answer};
use crate::client::{Delivery, Rows};
use crate::engine::desk::Desk;
use crate::error::Error;
use crate::host;
use crate::native::{Aborter, RunSpec};
use crate::protocol::config::{Effective, ModelConfig};
use crate::protocol::info::ModelInfo;
use crate::protocol::input::CrossAttention;
use crate::runtime::Runtime;

pub use self::state::{Caller, LoraAdapter};
pub(crate) use self::state::{State, Template};

/// What a model can be asked to do besides runs.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    ClearKvCache { keep_system_prompt: bool },
    ClearKvRanges(Vec<(i32, i32)>),
    KvCacheSize,
    LoadLora(LoraAdapter),
    LoadPromptCache { path: PathBuf, verify: bool },
    ReleasePromptCache,
    SetChatTemplate([CString; 3]),
    SetFunctionTools([CString; 3]),
    SetCrossAttention(CrossAttention),
    Tokenize { text: CString, leading: bool },
}

impl Request {
    /// Whether the library may be asked this while a run is paused; what may not waits for the end of
    /// the steps, as runs do.
    pub(crate) fn fits_a_pause(&self) -> bool {
        matches!(
            self,
            Self::ClearKvCache { .. }
                | Self::ClearKvRanges(_)
                | Self::KvCacheSize
                | Self::Tokenize { .. }
        )
    }
}

/// What it answers: numbers where there are any.
pub(crate) type Reply = Vec<i32>;

enum Message {
    Run(Box<RunSpec>, Rows),
    Ask(Request, Giver<Reply>),
    /// Steps have ended: see to it now.
    Look,
    Close,
}

/// The end of a model's life, for those who wait for it.
#[derive(Default)]
pub(crate) struct Gone {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Gone {
    fn set(&self) {
        *self.done.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until the library has let go of the model; false when `limit` has passed first.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let mut done = self.done.lock();
        if !*done {
            self.changed.wait_while_for(&mut done, |done| !*done, limit);
        }
        *done
    }
}

/// What the actor and the model's owners share.
pub(crate) struct Shared {
    /// The library, if it gives right results for one model in a process only (hazard M6).
    only_one: Option<Arc<Runtime>>,
    inbox: Mutex<Sender<Message>>,
    pub(crate) watch: Arc<Watch>,
    aborter: Arc<Aborter>,
    /// Where the library's questions are answered. Leaked: the library may ask late.
    pub(crate) desk: &'static Desk,
    pub(crate) state: State,
    closed: AtomicBool,
    pub(crate) gone: Gone,
    /// Runs that wait or go on, so that closing can end them for their readers.
    runs: Mutex<Vec<std::sync::Weak<Delivery>>>,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Queues a run; runs are served in the order of these calls.
    pub(crate) fn submit(&self, spec: RunSpec, rows: &Rows) -> Result<(), Error> {
        let mut runs = self.runs.lock();
        // Checked under the lock that closing takes, so that no run slips in behind it.
        if self.is_closed() {
            return Err(Error::Closed);
        }
        runs.retain(|run| run.upgrade().is_some_and(|run| !run.has_ended()));
        for row in rows.iter() {
            runs.push(Arc::downgrade(row));
            deadlines::mind(row);
        }
        self.send_run(spec, rows)
    }

    /// Goes on with a run that is paused.
    pub(crate) fn resume(&self, spec: RunSpec, rows: &Rows) -> Result<(), Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.send_run(spec, rows)
    }

    fn send_run(&self, spec: RunSpec, rows: &Rows) -> Result<(), Error> {
        let message = Message::Run(Box::new(spec), Arc::clone(rows));
        self.inbox.lock().send(message).map_err(|_| Error::Closed)
    }

    /// Queues a request and returns where its answer will come.
    pub(crate) fn ask(&self, request: Request) -> Result<Answer<Reply>, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let (giver, answer) = answer();
        self.inbox
            .lock()
            .send(Message::Ask(request, giver))
            .map_err(|_| Error::Closed)?;
        Ok(answer)
    }

    /// Makes the actor see that steps have ended.
    pub(crate) fn look(&self) {
        drop(self.inbox.lock().send(Message::Look));
    }

    /// Ends all runs for their readers, asks the library to abort, and lets the actor destroy the
    /// model when the library has come back. Returns at once.
    pub(crate) fn close(&self) {
        let runs = {
            let mut runs = self.runs.lock();
            if self.closed.swap(true, Ordering::AcqRel) {
                return;
            }
            std::mem::take(&mut *runs)
        };
        for run in runs.iter().filter_map(std::sync::Weak::upgrade) {
            run.close();
        }
        self.desk.close();
        // An actor that is gone already has nothing left to close.
        drop(self.inbox.lock().send(Message::Close));
    }
}

/// What an actor says when the library has opened the model.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) effective: Effective,
    pub(crate) info: ModelInfo,
}

/// Starts the actor; what `rkllm_init` says comes through the answer.
pub(crate) fn start(
    runtime: Arc<Runtime>,
    path: PathBuf,
    config: ModelConfig,
) -> Result<(Arc<Shared>, Answer<Opened>), Error> {
    deadlines::start()?;
    let (inbox, messages) = channel();
    let shared = Arc::new(Shared {
        only_one: (!runtime.capabilities().has("multi_instance")).then(|| Arc::clone(&runtime)),
        inbox: Mutex::new(inbox),
        watch: Arc::new(Watch::default()),
        aborter: Arc::new(Aborter::new()),
        desk: Box::leak(Box::default()),
        state: State::new(Template::of(
            config.template.as_ref(),
            runtime.identity().abi,
        )),
        closed: AtomicBool::new(false),
        gone: Gone::default(),
        runs: Mutex::default(),
    });
    let (report, opened) = answer();
    registry::add(&shared)?;
    let actor = Arc::clone(&shared);
    let thread = "a thread for the model could not be started";
    host::spawn("rkllm-model", move || {
        serve::live(&actor, &runtime, &path, &config, &messages, report);
    })
    .map_err(|error| {
        shared.gone.set();
        Error::System {
            what: thread,
            reason: error.to_string(),
        }
    })?;
    Ok((shared, opened))
}

//! One thread for each model: it owns the handle and makes every call on it but `rkllm_abort`.
//!
//! Requests are plain owned data, and so is what comes back, so that the same messages can cross to
//! another process one day.

pub(crate) mod registry;
pub(crate) mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use self::watch::Watch;
use crate::callback::{Aborter, NativeModel, RunSpec};
use crate::config::{Effective, ModelConfig};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::loader::host;
use crate::loader::host::wake::Side;
use crate::runtime::Runtime;

/// What a model can be asked to do besides runs.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    ClearKvCache { keep_system_prompt: bool },
    KvCacheSize,
}

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Done,
    Sizes(Vec<i32>),
}

enum Message {
    Run(Box<RunSpec>, Arc<Delivery>),
    Ask(Request, Sender<Result<Reply, Error>>),
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
    pub(crate) fn submit(&self, spec: RunSpec, delivery: &Arc<Delivery>) -> Result<(), Error> {
        let mut runs = self.runs.lock();
        // Checked under the lock that closing takes, so that no run slips in behind it.
        if self.is_closed() {
            return Err(Error::Closed);
        }
        runs.retain(|run| run.upgrade().is_some_and(|run| !run.has_ended()));
        runs.push(Arc::downgrade(delivery));
        self.watch.mind(delivery);
        let message = Message::Run(Box::new(spec), Arc::clone(delivery));
        self.inbox.lock().send(message).map_err(|_| Error::Closed)
    }

    /// Queues a request and returns where its answer will come.
    pub(crate) fn ask(&self, request: Request) -> Result<Receiver<Result<Reply, Error>>, Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let (reply, answer) = channel();
        self.inbox
            .lock()
            .send(Message::Ask(request, reply))
            .map_err(|_| Error::Closed)?;
        Ok(answer)
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
        // An actor that is gone already has nothing left to close.
        drop(self.inbox.lock().send(Message::Close));
    }
}

/// What an actor says when the library has opened the model, or not.
pub(crate) type Opened = Result<Effective, Error>;

/// Starts the actor; what `rkllm_init` says comes through the receiver.
pub(crate) fn start(
    runtime: Arc<Runtime>,
    path: PathBuf,
    config: ModelConfig,
) -> Result<(Arc<Shared>, Receiver<Opened>), Error> {
    let (inbox, messages) = channel();
    let shared = Arc::new(Shared {
        only_one: (!runtime.capabilities().has("multi_instance")).then(|| Arc::clone(&runtime)),
        inbox: Mutex::new(inbox),
        watch: Arc::new(Watch::default()),
        aborter: Arc::new(Aborter::new()),
        closed: AtomicBool::new(false),
        gone: Gone::default(),
        runs: Mutex::default(),
    });
    let (report, opened) = channel();
    registry::add(&shared)?;
    let actor = Arc::clone(&shared);
    let thread = "a thread for the model could not be started";
    host::spawn("rkllm-model", move || {
        live(&actor, &runtime, &path, &config, &messages, &report);
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

/// The actor's life.
fn live(
    shared: &Arc<Shared>,
    runtime: &Arc<Runtime>,
    path: &std::path::Path,
    config: &ModelConfig,
    messages: &Receiver<Message>,
    report: &Sender<Opened>,
) {
    // Models that were closed before are let go of first: there may be memory for one only.
    registry::wait_for_closing(shared);
    if shared.is_closed() {
        return shared.gone.set();
    }
    match NativeModel::open(runtime, path, config, Arc::clone(&shared.aborter)) {
        Err(error) => {
            // Before the caller knows: it may open another one at once.
            shared.closed.store(true, Ordering::Release);
            drop(report.send(Err(error)));
        }
        Ok(mut model) => {
            registry::guard_exit();
            let watch = Arc::clone(&shared.watch);
            let aborter = Arc::clone(&shared.aborter);
            let watching = host::spawn("rkllm-watch", move || watch.watch(&aborter));
            let ready = watching
                .map(|()| model.effective())
                .map_err(|error| Error::System {
                    what: "a thread for the model could not be started",
                    reason: error.to_string(),
                });
            let usable = ready.is_ok();
            // Nobody may be waiting any more: then the model is destroyed right away.
            if report.send(ready).is_ok() && usable {
                serve(&mut model, shared, messages);
            }
            shared.closed.store(true, Ordering::Release);
            // rkllm_destroy
            drop(model);
        }
    }
    shared.watch.quit();
    // Whoever still waits in line is told.
    while let Ok(message) = messages.try_recv() {
        refuse(message);
    }
    shared.gone.set();
}

fn serve(model: &mut NativeModel, shared: &Shared, messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Run(spec, delivery) => {
                if delivery.has_ended() {
                    continue;
                }
                shared.watch.set_current(Some(Arc::clone(&delivery)));
                let outcome = model.run(&spec, &delivery);
                shared.watch.set_current(None);
                delivery.end(outcome.map_err(Arc::new));
            }
            Message::Ask(request, reply) => drop(reply.send(answer(model, &request))),
            Message::Close => return,
        }
        if shared.is_closed() {
            return;
        }
    }
}

fn answer(model: &mut NativeModel, request: &Request) -> Result<Reply, Error> {
    match request {
        Request::ClearKvCache { keep_system_prompt } => model
            .clear_kv_cache(*keep_system_prompt)
            .map(|()| Reply::Done),
        Request::KvCacheSize => model.kv_cache_size().map(Reply::Sizes),
    }
}

fn refuse(message: Message) {
    match message {
        Message::Run(_, delivery) => delivery.stop(Err(Arc::new(Error::Closed)), Side::Vendor),
        Message::Ask(_, reply) => drop(reply.send(Err(Error::Closed))),
        Message::Close => {}
    }
}

//! The program's side of a model: where the engine's events arrive, and where its readers wait.

mod desk;
mod inbox;
#[cfg(all(test, feature = "interleavings"))]
#[path = "../../tests/shuttle/client.rs"]
mod interleavings;
pub(crate) mod oneshot;
mod reader;
mod source;
mod text_batch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::sync::Mutex;

use self::desk::Questions;
use self::oneshot::{Receiver, Sender, oneshot};
use crate::engine::Outbox;
use crate::host::FloatBlock;
use crate::host::fork;
use crate::host::wake::Side;
use crate::link::Link;
use crate::protocol::error::Failure;
use crate::protocol::info::ModelInfo;
use crate::protocol::message::{Command, Ended, Event, Opened, Reply, Request, RunSpec, Terms};

pub use self::desk::Desk;
pub(crate) use self::inbox::{Ending, Inbox};
pub(crate) use self::reader::Taken;
pub use self::source::{Handle, Poll, Source};
pub(crate) use self::text_batch::{Piece, TextBatch};

/// The inboxes of one run: one for each lane.
pub(crate) type Inboxes = Vec<Arc<Inbox>>;

/// What is done when the answer to a request comes, before whoever waits for it has it.
type Then = Box<dyn FnOnce(&Result<Reply, Failure>) + Send>;

/// The program's side of one model.
pub(crate) struct Client {
    link: OnceLock<Arc<dyn Link>>,
    opened: Mutex<Option<Sender<Opened>>>,
    info: Mutex<ModelInfo>,
    /// Requests that wait for their answer.
    asked: Mutex<HashMap<u64, (Sender<Reply>, Then)>>,
    /// Runs that wait or go on.
    runs: Mutex<Vec<Weak<Inbox>>>,
    questions: Questions,
    /// How many runs and requests there were.
    run_count: AtomicU64,
    ask_count: AtomicU64,
}

impl Client {
    /// A client over the link that `open` makes for its outbox; how the model opens comes through the
    /// receiver.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn over(
        open: impl FnOnce(Arc<dyn Outbox>) -> Result<Arc<dyn Link>, Failure>,
    ) -> Result<(Arc<Self>, Receiver<Opened>), Failure> {
        let (sender, opened) = oneshot();
        let client = Arc::new(Self {
            link: OnceLock::new(),
            opened: Mutex::new(Some(sender)),
            info: Mutex::default(),
            asked: Mutex::default(),
            runs: Mutex::default(),
            questions: Questions::default(),
            run_count: AtomicU64::new(0),
            ask_count: AtomicU64::new(0),
        });
        let link = open(Arc::clone(&client) as _)?;
        // Nothing else sets it, and nobody else has the client yet.
        let _ = client.link.set(link);
        Ok((client, opened))
    }

    fn link(&self) -> Result<&dyn Link, Failure> {
        self.link
            .get()
            .map(AsRef::as_ref)
            .ok_or_else(Failure::closed)
    }

    fn send(&self, command: Command, side: Side) -> Result<(), Failure> {
        self.link()?.send(command, Vec::new(), side)
    }

    /// Inboxes for a run that is to begin.
    pub(crate) fn inboxes_for(
        self: &Arc<Self>,
        lanes: usize,
        stepping: bool,
        timeout: Option<Duration>,
    ) -> Inboxes {
        let run = self.run_count.fetch_add(1, Ordering::Relaxed) + 1;
        let inbox = |lane| Arc::new(Inbox::new(self, run, lane, stepping, timeout));
        (0..lanes).map(inbox).collect()
    }

    /// Begins the run whose events come to `inboxes`. Runs are served in the order of these calls.
    ///
    /// # Errors
    /// `ErrorKind::Closed`, and what is wrong with the run.
    pub(crate) fn begin(
        &self,
        spec: RunSpec,
        terms: Terms,
        inboxes: &[Arc<Inbox>],
    ) -> Result<(), Failure> {
        {
            let mut runs = self.runs.lock();
            runs.retain(|run| run.upgrade().is_some_and(|run| !run.has_ended()));
            runs.extend(inboxes.iter().map(Arc::downgrade));
        }
        let command = Command::Run {
            run: inboxes[0].run(),
            spec: Box::new(spec),
            terms,
        };
        let lanes = inboxes.iter().map(|inbox| Arc::clone(inbox) as _);
        self.link()?.send(command, lanes.collect(), Side::Host)?;
        for inbox in inboxes {
            inbox.begin();
        }
        Ok(())
    }

    /// Sends a command that nobody waits for.
    ///
    /// # Errors
    /// `ErrorKind::Closed`.
    pub(crate) fn tell(&self, command: Command) -> Result<(), Failure> {
        self.send(command, Side::Host)
    }

    /// Sends a request, whose number comes with the way to its answer; `then` sees that first.
    ///
    /// # Errors
    /// `ErrorKind::Closed`.
    pub(crate) fn ask(
        &self,
        request: Request,
        then: impl FnOnce(&Result<Reply, Failure>) + Send + 'static,
    ) -> Result<(u64, Receiver<Reply>), Failure> {
        let number = self.ask_count.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot();
        let waiting = (sender, Box::new(then) as Then);
        self.asked.lock().insert(number, waiting);
        self.send(Command::Ask { number, request }, Side::Host)
            .inspect_err(|_| drop(self.asked.lock().remove(&number)))?;
        Ok((number, answer))
    }

    /// Nobody waits for the answer to a request any more.
    pub(crate) fn leave(&self, number: u64) {
        if let Ok(link) = self.link() {
            link.leave(number);
        }
    }

    /// The inboxes of a run that goes on.
    fn inboxes(&self, run: u64) -> Inboxes {
        let runs = self.runs.lock();
        let all = runs.iter().filter_map(Weak::upgrade);
        all.filter(|inbox| inbox.run() == run).collect()
    }

    /// What is known of the model.
    pub(crate) fn info(&self) -> ModelInfo {
        self.look_at_info(Clone::clone)
    }

    /// What `look` makes of what is known of the model.
    pub(crate) fn look_at_info<T>(&self, look: impl FnOnce(&ModelInfo) -> T) -> T {
        look(&self.info.lock())
    }

    /// Where the library's questions are answered.
    pub(crate) fn desk(self: &Arc<Self>) -> Desk {
        Desk::new(self)
    }

    /// Refuses a call from inside a callback of this model, which would wait for its own caller.
    ///
    /// # Errors
    /// `ErrorKind::Busy`.
    pub(crate) fn check_callbacks(&self) -> Result<(), Failure> {
        self.questions.check_callbacks()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.link().map_or(true, Link::is_closed)
    }

    /// Ends all runs, and gives the model back when the library has come back. Returns at once.
    pub(crate) fn close(&self) {
        // One that is closed already has nothing left to close.
        drop(self.send(Command::Close, Side::Host));
        // What a library is in the middle of it may finish; nobody waits for that any more.
        self.refuse_asked(Side::Host);
    }

    fn refuse_asked(&self, side: Side) {
        let waiting = std::mem::take(&mut *self.asked.lock());
        for (_, (sender, then)) in waiting {
            let closed = Err(Failure::closed());
            then(&closed);
            sender.send(closed, side);
        }
    }

    /// How long closing waits for an idle library.
    pub(crate) fn closing_time(&self) -> Duration {
        self.link().map_or(Duration::ZERO, Link::closing_time)
    }

    /// The process that runs the model, where that is not this one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.link().ok()?.pid()
    }

    /// Waits until the library has let go of the model; false when `limit` has passed first.
    pub(crate) fn wait_until_gone(&self, limit: Duration) -> bool {
        self.link().map_or(true, |link| link.wait_until_gone(limit))
    }
}

impl Outbox for Client {
    fn put(&self, event: Event<'_>, side: Side) {
        match event {
            Event::Opened(opened) => {
                *self.info.lock() = opened.info.clone();
                if let Some(sender) = self.opened.lock().take() {
                    sender.send(Ok(*opened), side);
                }
            }
            Event::OpenFailed(failure) => {
                if let Some(sender) = self.opened.lock().take() {
                    sender.send(Err(*failure), side);
                }
            }
            Event::Asked(asked) => {
                let run = asked.run;
                self.questions.put(asked);
                if let Some(run) = run {
                    for inbox in self.inboxes(run) {
                        inbox.poke();
                    }
                }
            }
            Event::Unasked { number } => self.questions.withdraw(number),
            // It matters where the engine may die alone.
            Event::Working(_) => {}
            Event::Learned { kind, width } => self.info.lock().learn(kind, width),
            Event::Replied { number, outcome } => {
                let waiting = self.asked.lock().remove(&number);
                if let Some((sender, then)) = waiting {
                    then(&outcome);
                    sender.send(outcome, side);
                }
            }
            Event::Gone => {
                self.refuse_asked(side);
                for run in std::mem::take(&mut *self.runs.lock()) {
                    if let Some(run) = run.upgrade() {
                        run.put(
                            Event::Ended(Box::new(Ended::at_once(Err(Failure::closed())))),
                            side,
                        );
                    }
                }
                // Whoever is dropped unanswered is told that the model is closed.
                let opened = self.opened.lock().take();
                drop(opened);
            }
            other => debug_assert!(false, "{other:?} belongs to a run"),
        }
    }

    fn lend(&self, _: u64, block: FloatBlock) {
        debug_assert!(false, "{block:?} belongs to a run");
    }
}

/// Closes a model when the last one who needs it open is dropped: the model itself, and the readers of its
/// runs until these have ended.
pub(crate) struct Keeper {
    client: Arc<Client>,
    forks: u64,
}

impl Keeper {
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        Self {
            client: Arc::clone(client),
            forks: fork::depth(),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // In a forked child it is the parent's, and any lock may be held for ever.
        if self.forks == fork::depth() {
            self.client.close();
        }
    }
}

//! One thread for each model: it owns the handle and makes every call on it but `rkllm_abort`.
//!
//! Commands come in, events go out, and both are plain data of [`crate::protocol`]. What must be decided
//! before the library's callback returns is decided here, beside the library ([`run`]).
//!
//! | to find | look into |
//! |---|---|
//! | what the model's thread does with a message, and around a run | [`serve`] |
//! | what happens to each token, and what a callback returns | [`run`] |
//! | how an answer is kept to a grammar | [`guide`], and `guided` in [`serve`] |
//! | how tokens are chosen here in place of the library | [`choose`], and `own` in [`serve`] |
//! | what the KV cache holds, and what of a prompt is sent | [`held`], and `warm` in [`serve`] for prompt caches in files |
//! | questions of the library to the program | [`desk`] |
//! | ending runs: by abort, by deadline, at the end of the process | [`watch`], [`deadlines`], [`registry`] |
//! | how messages come in and events go out; what is answered beside a run | [`mailbox`], [`outbox`], [`beside`] |

mod beside;
mod choose;
pub(crate) mod deadlines;
mod desk;
mod gate;
mod guide;
mod held;
#[cfg(all(test, feature = "interleavings"))]
#[path = "../../tests/shuttle/engine.rs"]
pub(crate) mod interleavings;
mod mailbox;
mod outbox;
pub(crate) mod registry;
mod run;
mod serve;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};
use rkllm_text::stop::StopStrings;

use self::beside::Beside;
use self::desk::Desk;
pub(crate) use self::gate::Gate;
use self::mailbox::Mailbox;
pub(crate) use self::outbox::Outbox;
use self::run::{Follows, Plan, RunLane};
use self::watch::Watch;
use crate::host;
use crate::host::wake::Side;
use crate::native::{Aborter, Lane, Words};
use crate::protocol::config::ModelConfig;
use crate::protocol::constraint::Constraint;
use crate::protocol::error::Failure;
use crate::protocol::input::Input;
use crate::protocol::message::{Command, Request, RunSpec, Terms};
use crate::runtime::Runtime;

/// The lanes of one run.
type RunLanes = Arc<[Arc<RunLane>]>;

/// What waits for the model's thread.
enum Message {
    Run(Box<RunSpec>, RunLanes),
    Resume {
        run: u64,
        input: Input,
        max_new_tokens: i32,
    },
    Ask {
        number: u64,
        request: Request,
    },
    Look,
    Close,
}

/// The end of a model's life, for those who wait for it.
#[derive(Default)]
struct Gone {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Gone {
    fn set(&self) {
        *self.done.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until the library has let go of the model; false when `limit` has passed first.
    fn wait(&self, limit: Duration) -> bool {
        let mut done = self.done.lock();
        if !*done {
            self.changed.wait_while_for(&mut done, |done| !*done, limit);
        }
        *done
    }
}

/// The engine of one model, as seen from outside its thread.
pub(crate) struct Engine {
    /// The library, if it gives right results for one model in a process only (hazard M6).
    only_one: Option<Arc<Runtime>>,
    messages: Mailbox<Message>,
    /// What is answered beside a run, where the library can.
    beside: Option<Beside>,
    watch: Arc<Watch>,
    aborter: Arc<Aborter>,
    desk: Arc<Desk>,
    closed: AtomicBool,
    gone: Gone,
    /// Lanes that wait or go on, so that they can be ended for their readers at any time.
    lanes: Mutex<Vec<Weak<RunLane>>>,
}

impl registry::Life for Engine {
    fn only_one(&self) -> Option<&Arc<Runtime>> {
        self.only_one.as_ref()
    }
    fn is_closed(&self) -> bool {
        Engine::is_closed(self)
    }
    fn wait_until_gone(&self, limit: Duration) -> bool {
        Engine::wait_until_gone(self, limit)
    }
    fn close(&self, side: Side) {
        Engine::close(self, side);
    }
}

impl Engine {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until the library has let go of the model; false when `limit` has passed first.
    pub(crate) fn wait_until_gone(&self, limit: Duration) -> bool {
        self.gone.wait(limit)
    }

    /// Takes a command. What ends or answers something takes effect at once; the rest waits in line.
    /// `lanes` has where the events of each lane go, for [`Command::Run`].
    ///
    /// # Errors
    /// `ErrorKind::Closed`; `ErrorKind::InvalidArgument` for stop strings that cannot be meant.
    pub(crate) fn take(
        &self,
        command: Command,
        lanes: Vec<Arc<dyn Outbox>>,
        side: Side,
    ) -> Result<(), Failure> {
        match command {
            Command::Run { run, spec, terms } => {
                let follows = follows(&spec, &terms);
                let plan = Arc::new(Plan {
                    run,
                    limit: terms.limit,
                    stop: StopStrings::new(&terms.stop)?,
                    constraint: terms.constraint,
                    choosing: terms.choosing,
                    wants: spec.wants,
                    stepping: terms.stepping,
                    by_token: terms.by_token,
                    batch: spec.lanes.len() > 1,
                    follows,
                    submitted: Instant::now(),
                    desk: Arc::clone(&self.desk),
                    watch: Arc::clone(&self.watch),
                });
                let lane = |(number, out)| Arc::new(RunLane::new(Arc::clone(&plan), number, out));
                self.submit(spec, lanes.into_iter().enumerate().map(lane).collect())
            }
            Command::Resume {
                run,
                input,
                max_new_tokens,
            } => self.send(Message::Resume {
                run,
                input,
                max_new_tokens,
            }),
            Command::Stop { run, lane, reason } => {
                if let Some(lane) = self.lane(run, lane) {
                    lane.stop(reason, side);
                }
                Ok(())
            }
            Command::Ask { number, request } => match &self.beside {
                Some(beside) if request.is_of_words() => {
                    let taken = !self.is_closed() && beside.ask(number, request);
                    taken.then_some(()).ok_or_else(Failure::closed)
                }
                _ => self.send(Message::Ask { number, request }),
            },
            Command::Answer { number, response } => {
                self.desk.answer(number, response);
                Ok(())
            }
            Command::Look => self.send(Message::Look),
            Command::Close => {
                self.close(side);
                Ok(())
            }
        }
    }

    /// Queues a run; runs are served in the order of these calls.
    fn submit(&self, spec: Box<RunSpec>, run: RunLanes) -> Result<(), Failure> {
        let mut lanes = self.lanes.lock();
        // Checked under the lock that closing takes, so that no run slips in behind it.
        if self.is_closed() {
            return Err(Failure::closed());
        }
        lanes.retain(|lane| lane.upgrade().is_some_and(|lane| !lane.has_ended()));
        lanes.extend(run.iter().map(Arc::downgrade));
        self.send(Message::Run(spec, run))
    }

    fn send(&self, message: Message) -> Result<(), Failure> {
        if self.is_closed() {
            return Err(Failure::closed());
        }
        let taken = self.messages.put(message);
        taken.then_some(()).ok_or_else(Failure::closed)
    }

    /// A lane that waits or goes on.
    fn lane(&self, run: u64, lane: usize) -> Option<Arc<RunLane>> {
        let lanes = self.lanes.lock();
        let mut all = lanes.iter().filter_map(Weak::upgrade);
        all.find(|one| one.run() == run && one.number() == lane)
    }

    /// Ends all runs for their readers, asks the library to abort, and lets the thread destroy the model
    /// when the library has come back. Returns at once.
    pub(crate) fn close(&self, side: Side) {
        let lanes = {
            let mut lanes = self.lanes.lock();
            if self.closed.swap(true, Ordering::AcqRel) {
                return;
            }
            std::mem::take(&mut *lanes)
        };
        for lane in lanes.iter().filter_map(Weak::upgrade) {
            lane.close(side);
        }
        self.desk.close();
        // A thread that is gone already has nothing left to close.
        self.messages.put(Message::Close);
    }
}

/// How the tokens of a run are noted, to know what the library holds after it.
fn follows(spec: &RunSpec, terms: &Terms) -> Option<Follows> {
    let [lane] = spec.lanes.as_slice() else {
        return None;
    };
    let follows = match &lane.input {
        Input::Tokens(_) => Follows::Ids,
        Input::Rendered(text) if !text.ends.is_empty() => Follows::Text,
        _ => return None,
    };
    let constraint = terms.constraint.as_ref();
    let is_plain = spec.wants.is_none()
        && !terms.stepping
        && !spec.keep_history
        && !constraint.is_some_and(Constraint::lets_choose);
    is_plain.then_some(follows)
}

/// Starts the engine of one model; what `rkllm_init` says comes to `out`, as all events that belong to no
/// run do. Runs go through `gate`, where the NPU is shared.
///
/// # Errors
/// `ErrorKind::Busy` where the library is good for one model and one is open; `ErrorKind::Model` where the
/// system has no thread to give.
pub(crate) fn start(
    runtime: Arc<Runtime>,
    path: PathBuf,
    config: ModelConfig,
    out: Arc<dyn Outbox>,
    gate: Option<Box<dyn Gate>>,
) -> Result<Arc<Engine>, Failure> {
    deadlines::start()?;
    let engine = Arc::new(Engine {
        only_one: (!runtime.capabilities().has("multi_instance")).then(|| Arc::clone(&runtime)),
        messages: Mailbox::new(),
        beside: Words::are_told_by(&runtime).then(Beside::new),
        watch: Arc::new(Watch::default()),
        aborter: Arc::new(Aborter::new()),
        desk: Arc::new(Desk::new(Arc::clone(&out))),
        closed: AtomicBool::new(false),
        gone: Gone::default(),
        lanes: Mutex::default(),
    });
    registry::add(&(Arc::clone(&engine) as _))?;
    let shared = Arc::clone(&engine);
    host::spawn("rkllm-model", move || {
        serve::live(&shared, &runtime, &path, &config, &out, gate);
    })
    .map_err(|error| {
        engine.gone.set();
        Failure::system("cannot start a thread for the model", error)
    })?;
    Ok(engine)
}

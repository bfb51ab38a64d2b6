//! Where a program finds what the library asks, and answers it.

use std::sync::{Arc, Weak};

use crate::sync::Mutex;

use super::Client;
use crate::host::wake::Side;
use crate::protocol::error::{BusyWith, Failure};
use crate::protocol::message::Command;
use crate::protocol::question::{Asked, Response};

#[derive(Default)]
struct Unanswered {
    asked: Option<Asked>,
    taken: bool,
    /// Threads that are inside a callback of the program's.
    callers: Vec<std::thread::ThreadId>,
}

/// What one model's library asks.
#[derive(Default)]
pub(super) struct Questions(Mutex<Unanswered>);

impl Questions {
    pub(super) fn put(&self, asked: Asked) {
        let mut state = self.0.lock();
        state.taken = false;
        state.asked = Some(asked);
    }

    pub(super) fn withdraw(&self, number: u64) {
        self.0.lock().asked.take_if(|asked| asked.number == number);
    }

    /// Refuses a call from inside a callback of this model, which would wait for its own caller.
    pub(crate) fn check_callbacks(&self) -> Result<(), Failure> {
        let state = self.0.lock();
        if !state.callers.is_empty() && state.callers.contains(&std::thread::current().id()) {
            return Err(Failure::busy(BusyWith::Callback));
        }
        Ok(())
    }
}

/// Where a program answers the questions of one model's library.
#[derive(Clone)]
pub struct Desk(Weak<Client>);

impl Desk {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self(Arc::downgrade(client))
    }

    /// A question that nobody has taken yet.
    #[must_use]
    pub fn take(&self) -> Option<Asked> {
        let client = self.0.upgrade()?;
        let mut state = client.questions.0.lock();
        if state.taken {
            return None;
        }
        let asked = state.asked.clone()?;
        state.taken = true;
        Some(asked)
    }

    /// Whether anybody still reads the run that asked.
    #[must_use]
    pub fn is_wanted(&self, number: u64) -> bool {
        let Some(client) = self.0.upgrade() else {
            return false;
        };
        let run = match &client.questions.0.lock().asked {
            Some(asked) if asked.number == number => asked.run,
            _ => return false,
        };
        run.is_some_and(|run| client.inboxes(run).iter().any(|inbox| !inbox.has_ended()))
    }

    /// Answers it; one that is no longer waiting is left alone.
    pub fn answer(&self, number: u64, response: Response) {
        if let Some(client) = self.0.upgrade() {
            client.questions.withdraw(number);
            // A closed model waits for no answer.
            drop(client.send(Command::Answer { number, response }, Side::Host));
        }
    }

    /// Calls `f` as a callback of this model: calls on the model from inside it fail with
    /// `ErrorKind::Busy` in place of waiting for their own caller.
    pub fn in_callback<T>(&self, f: impl FnOnce() -> T) -> T {
        let Some(client) = self.0.upgrade() else {
            return f();
        };
        let caller = std::thread::current().id();
        client.questions.0.lock().callers.push(caller);
        let _leave = Leave(&client.questions);
        f()
    }

    /// Answers a question, if there is one, with failure: for readers that cannot serve any.
    pub(crate) fn refuse(&self) {
        if let Some(asked) = self.take() {
            self.answer(asked.number, Response::Failed);
        }
    }
}

/// Ends a callback, also one that panics.
struct Leave<'a>(&'a Questions);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let caller = std::thread::current().id();
        let mut state = self.0.0.lock();
        if let Some(at) = state.callers.iter().rposition(|one| *one == caller) {
            state.callers.remove(at);
        }
    }
}

//! What a model answers beside its runs: its words. A thread of its own does it, which ends before the model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::Engine;
use super::mailbox::Mailbox;
use super::outbox::Outbox;
use crate::host;
use crate::host::wake::Side;
use crate::native::Words;
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::message::{Event, Reply, Request};

/// Requests for one model's words, in their order. They wait for the model to be open.
pub(super) struct Beside {
    /// None is the end.
    asked: Mailbox<Option<(u64, Request)>>,
}

impl Beside {
    pub(super) fn new() -> Self {
        Self {
            asked: Mailbox::new(),
        }
    }

    /// Puts a request in line; false where nobody answers any more.
    pub(super) fn ask(&self, number: u64, request: Request) -> bool {
        self.asked.put(Some((number, request)))
    }

    /// Answers nothing more, and tells those who wait.
    pub(super) fn close(&self, out: &dyn Outbox) {
        for (number, _) in self.asked.close().into_iter().flatten() {
            let outcome = Err(Failure::closed());
            out.put(Event::Replied { number, outcome }, Side::Vendor);
        }
    }
}

/// The thread that answers. Dropping it waits for what it is in.
pub(super) struct Answering<'a> {
    beside: &'a Beside,
    over: Receiver<()>,
}

impl<'a> Answering<'a> {
    /// # Errors
    /// `ErrorKind::Model` where the system has no thread to give.
    pub(super) fn start(
        engine: &'a Arc<Engine>,
        beside: &'a Beside,
        words: Words,
        out: &Arc<dyn Outbox>,
    ) -> Result<Self, Failure> {
        let (ends, over) = channel();
        let (engine, out) = (Arc::clone(engine), Arc::clone(out));
        host::spawn("rkllm-words", move || {
            let _ends = ends;
            serve(&engine, &words, out.as_ref());
        })
        .map_err(|error| Failure::system("cannot start a thread for the model", error))?;
        Ok(Self { beside, over })
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.beside.asked.put(None);
        // An error, when the thread has let go of its end.
        let _ = self.over.recv();
    }
}

fn serve(engine: &Engine, words: &Words, out: &dyn Outbox) {
    let Some(beside) = &engine.beside else { return };
    while let Some((number, request)) = beside.asked.take(None).flatten() {
        let answering = AssertUnwindSafe(|| answer(words, request));
        let outcome = if engine.is_closed() {
            Err(Failure::closed())
        } else {
            catch_unwind(answering).unwrap_or_else(|_| {
                let reason = "panicked while it converted text; this is a bug in rkllm_rs";
                Err(Failure::new(ErrorKind::Model, reason)
                    .with_hint("Please report it, with the message on stderr."))
            })
        };
        out.put(Event::Replied { number, outcome }, Side::Vendor);
    }
}

/// The answer to a request that [is of words](Request::is_of_words).
pub(super) fn answer(words: &Words, request: Request) -> Result<Reply, Failure> {
    match request {
        Request::Tokenize { text, leading } => words.tokenize(&text, leading).map(Reply::Numbers),
        Request::Detokenize { ids, skip_special } => {
            words.detokenize(&ids, skip_special).map(Reply::Text)
        }
        _ => unreachable!("not of words"),
    }
}

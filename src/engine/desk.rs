//! Where the library's thread asks and the program answers: the tokenizer and embedding callbacks of
//! 1.3.0.
//!
//! The library waits inside its callback, so the answer must come from another thread: from whoever
//! reads the run, or opens the model. Questions and answers are plain data.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::client::Rows;
use crate::error::{BusyWith, Error};
use crate::protocol::question::{Asked, Question, Response};

/// How often a waiting question looks whether anybody is left who could answer it.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct State {
    number: u64,
    question: Option<Question>,
    taken: bool,
    response: Option<Response>,
    readers: Option<Rows>,
    closed: bool,
    /// Why an answer was refused, for the error of the run.
    problem: Option<String>,
    /// Threads that are inside a callback of the program's.
    callers: Vec<std::thread::ThreadId>,
}

/// One model's desk.
#[derive(Default)]
pub(crate) struct Desk {
    /// Held by the one whose question lies here: a library may ask from several threads.
    asking: Mutex<()>,
    state: Mutex<State>,
    answered: Condvar,
}

impl Desk {
    /// The run whose readers can answer from now on.
    pub(crate) fn set_readers(&self, readers: Option<Rows>) {
        self.state.lock().readers = readers;
    }

    /// Nobody answers any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.answered.notify_all();
    }

    /// Why the last answer was refused, once.
    pub(crate) fn problem(&self) -> Option<String> {
        self.state.lock().problem.take()
    }

    /// Asks, on the library's thread, and waits; questions of several threads are answered in turn.
    pub(crate) fn ask(&self, question: Question) -> Response {
        let _turn = self.asking.lock();
        let mut state = self.state.lock();
        state.number += 1;
        state.taken = false;
        state.response = None;
        state.question = Some(question);
        if let Some(readers) = &state.readers {
            readers.iter().for_each(|reader| reader.poke());
        }
        loop {
            if let Some(response) = state.response.take() {
                let unfit = state
                    .question
                    .take()
                    .and_then(|question| response.unfit(&question));
                return match unfit {
                    None => response,
                    Some(problem) => {
                        state.problem = Some(problem);
                        Response::Failed
                    }
                };
            }
            let readers = state.readers.as_deref();
            let gone = readers.is_some_and(|all| all.iter().all(|reader| reader.has_ended()));
            if gone || state.closed {
                state.question = None;
                return Response::Failed;
            }
            self.answered.wait_for(&mut state, LOOK);
        }
    }

    /// A question that nobody has taken yet.
    pub(crate) fn take(&self) -> Option<Asked> {
        let mut state = self.state.lock();
        if state.taken {
            return None;
        }
        let question = state.question.clone()?;
        state.taken = true;
        Some(Asked {
            number: state.number,
            run: state.readers.as_ref().map(|readers| readers[0].run()),
            question,
        })
    }

    /// Refuses a call from inside a callback of this model, which would wait for its own caller.
    pub(crate) fn check_callbacks(&self) -> Result<(), Error> {
        let state = self.state.lock();
        if !state.callers.is_empty() && state.callers.contains(&std::thread::current().id()) {
            return Err(Error::Busy(BusyWith::Callback));
        }
        Ok(())
    }

    /// Calls `f` as a callback of this model.
    pub(crate) fn in_callback<T>(&self, f: impl FnOnce() -> T) -> T {
        let caller = std::thread::current().id();
        self.state.lock().callers.push(caller);
        let _leave = Leave(self);
        f()
    }

    /// Whether anybody still reads the run that asked.
    pub(crate) fn is_wanted(&self, number: u64) -> bool {
        let state = self.state.lock();
        let readers = state.readers.as_deref().unwrap_or_default();
        state.number == number && readers.iter().any(|reader| !reader.has_ended())
    }

    /// Answers a question; one that is no longer waiting is left alone.
    pub(crate) fn answer(&self, number: u64, response: Response) {
        let mut state = self.state.lock();
        if state.number == number && state.question.is_some() {
            state.response = Some(response);
            self.answered.notify_all();
        }
    }
}

/// Ends a callback, also one that panics.
struct Leave<'a>(&'a Desk);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let caller = std::thread::current().id();
        let mut state = self.0.state.lock();
        if let Some(at) = state.callers.iter().rposition(|one| *one == caller) {
            state.callers.remove(at);
        }
    }
}

/// Where a program answers the questions of one model's library.
#[derive(Clone, Copy)]
pub struct DeskHandle(pub(crate) &'static Desk);

impl DeskHandle {
    /// A question that nobody has taken yet.
    #[must_use]
    pub fn take(self) -> Option<Asked> {
        self.0.take()
    }

    /// Whether anybody still reads the run that asked.
    #[must_use]
    pub fn is_wanted(self, number: u64) -> bool {
        self.0.is_wanted(number)
    }

    /// Answers it.
    pub fn answer(self, number: u64, response: Response) {
        self.0.answer(number, response);
    }

    /// Calls `f` as a callback of this model: calls on the model from inside it fail with
    /// [`Error::Busy`] in place of waiting for their own caller.
    pub fn in_callback<T>(self, f: impl FnOnce() -> T) -> T {
        self.0.in_callback(f)
    }

    /// Answers a question, if there is one, with failure: for readers that cannot serve any.
    pub(crate) fn refuse(self) {
        if let Some(asked) = self.take() {
            self.answer(asked.number, Response::Failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn question() -> Question {
        Question::Tokenize {
            text: "a".to_owned(),
            capacity: 2,
        }
    }

    /// Answers the next question of `desk` with `response`.
    fn serve(desk: &Arc<Desk>, response: Response) -> thread::JoinHandle<()> {
        let desk = Arc::clone(desk);
        thread::spawn(move || {
            let number = loop {
                if let Some(asked) = desk.take() {
                    break asked.number;
                }
                thread::yield_now();
            };
            assert!(desk.take().is_none(), "a question is taken once");
            desk.answer(number + 1, Response::Failed);
            desk.answer(number, response);
        })
    }

    #[test]
    fn questions_are_answered_from_another_thread() {
        let desk = Arc::new(Desk::default());
        let served = serve(&desk, Response::Tokens(vec![7]));
        assert_eq!(desk.ask(question()), Response::Tokens(vec![7]));
        served.join().unwrap();
        assert_eq!(desk.problem(), None);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_told() {
        let desk = Arc::new(Desk::default());
        for (response, word) in [
            (Response::Tokens(vec![1, 2, 3]), "room for 2"),
            (Response::Embeddings(vec![1.0]), "does not belong"),
        ] {
            let served = serve(&desk, response);
            assert_eq!(desk.ask(question()), Response::Failed);
            served.join().unwrap();
            assert!(desk.problem().is_some_and(|problem| problem.contains(word)));
        }
    }

    #[test]
    fn questions_of_several_threads_are_answered_in_turn() {
        let desk = Arc::new(Desk::default());
        let askers: Vec<_> = (0..4)
            .map(|id| {
                let desk = Arc::clone(&desk);
                thread::spawn(move || {
                    let question = Question::Tokenize {
                        text: id.to_string(),
                        capacity: 1,
                    };
                    (id, desk.ask(question))
                })
            })
            .collect();
        let mut answered = 0;
        while answered < 4 {
            let Some(asked) = desk.take() else {
                thread::yield_now();
                continue;
            };
            let Question::Tokenize { text, .. } = asked.question else {
                panic!("nobody asks for embeddings")
            };
            let id = text.parse().unwrap();
            desk.answer(asked.number, Response::Tokens(vec![id]));
            answered += 1;
        }
        for asker in askers {
            let (id, response) = asker.join().unwrap();
            assert_eq!(response, Response::Tokens(vec![id]));
        }
    }

    #[test]
    fn a_closed_desk_fails_at_once() {
        let desk = Desk::default();
        desk.close();
        assert_eq!(desk.ask(question()), Response::Failed);
        assert!(desk.take().is_none());
    }
}

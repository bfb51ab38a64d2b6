//! Where the library's thread asks and waits for the program's answer.
//!
//! The library waits inside its callback, so the answer must come from another thread: from whoever
//! reads the run, or opens the model.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

use super::outbox::Outbox;
use crate::host::wake::Side;
use crate::native::{Asks, Lanes};
use crate::protocol::message::Event;
use crate::protocol::question::{Asked, Question, Response};

/// How often a waiting question looks whether anybody is left who could answer it.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct OnDesk {
    number: u64,
    question: Option<Question>,
    response: Option<Response>,
    /// The run in which the library may ask, and who reads it; none while a model is opened.
    readers: Option<(u64, Lanes)>,
    out: Option<Arc<dyn Outbox>>,
    /// Why an answer was refused, for the error of the run.
    problem: Option<String>,
}

/// One model's desk.
pub(super) struct Desk {
    /// Held by the one whose question lies here: a library may ask from several threads.
    asking: Mutex<()>,
    state: Mutex<OnDesk>,
    answered: Condvar,
}

impl Desk {
    pub(super) fn new(out: Arc<dyn Outbox>) -> Self {
        Self {
            asking: Mutex::new(()),
            state: Mutex::new(OnDesk {
                out: Some(out),
                ..OnDesk::default()
            }),
            answered: Condvar::new(),
        }
    }

    /// The run whose readers can answer from now on.
    pub(super) fn set_readers(&self, readers: Option<(u64, Lanes)>) {
        let mut state = self.state.lock();
        // What an earlier run's answer was refused for is none of this one's errors.
        state.problem = None;
        state.readers = readers;
    }

    /// Nobody answers any more.
    pub(super) fn close(&self) {
        // What is dropped may be the last that refers to the program's side; not under the lock.
        let out = self.state.lock().out.take();
        self.answered.notify_all();
        drop(out);
    }

    /// Answers a question; one that is no longer waiting is left alone.
    pub(super) fn answer(&self, number: u64, response: Response) {
        let mut state = self.state.lock();
        if state.number == number && state.question.is_some() {
            state.response = Some(response);
            self.answered.notify_all();
        }
    }
}

impl Asks for Arc<Desk> {
    /// Asks, on the library's thread, and waits; questions of several threads are answered in turn.
    fn ask(&self, question: Question) -> Response {
        let _turn = self.asking.lock();
        let mut state = self.state.lock();
        let Some(out) = state.out.clone() else {
            return Response::Failed;
        };
        state.number += 1;
        state.response = None;
        let asked = Asked {
            number: state.number,
            run: state.readers.as_ref().map(|(run, _)| *run),
            question: question.clone(),
        };
        state.question = Some(question);
        drop(state);
        let number = asked.number;
        out.put(Event::Asked(asked), Side::Vendor);
        let mut state = self.state.lock();
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
            let gone = state
                .readers
                .as_ref()
                .is_some_and(|(_, lanes)| lanes.iter().all(|lane| lane.has_ended()));
            if gone || state.out.is_none() {
                state.question = None;
                drop(state);
                out.put(Event::Unasked { number }, Side::Vendor);
                return Response::Failed;
            }
            self.answered.wait_for(&mut state, LOOK);
        }
    }

    fn problem(&self) -> Option<String> {
        self.state.lock().problem.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;
    use crate::host::FloatBlock;

    struct Questions(Mutex<Sender<Asked>>);

    impl Outbox for Questions {
        fn put(&self, event: Event<'_>, _side: Side) {
            if let Event::Asked(asked) = event {
                self.0.lock().send(asked).unwrap();
            }
        }
        fn lend(&self, _number: u64, _block: FloatBlock) {
            unreachable!("nobody lends rows here")
        }
    }

    fn desk() -> (Arc<Desk>, Receiver<Asked>) {
        let (sender, questions) = channel();
        let desk = Desk::new(Arc::new(Questions(Mutex::new(sender))));
        (Arc::new(desk), questions)
    }

    fn question() -> Question {
        Question::Tokenize {
            text: "a".to_owned(),
            capacity: 2,
        }
    }

    #[test]
    fn questions_are_answered_from_another_thread() {
        let (desk, questions) = desk();
        let asker = Arc::clone(&desk);
        let asking = thread::spawn(move || asker.ask(question()));
        let number = questions.recv().unwrap().number;
        desk.answer(number + 1, Response::Failed);
        desk.answer(number, Response::Tokens(vec![7]));
        assert_eq!(asking.join().unwrap(), Response::Tokens(vec![7]));
        assert_eq!(desk.problem(), None);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_told() {
        let (desk, questions) = desk();
        for (response, word) in [
            (Response::Tokens(vec![1, 2, 3]), "2"),
            (Response::Embeddings(vec![1.0]), "did not ask"),
        ] {
            let asker = Arc::clone(&desk);
            let asking = thread::spawn(move || asker.ask(question()));
            desk.answer(questions.recv().unwrap().number, response);
            assert_eq!(asking.join().unwrap(), Response::Failed);
            assert!(desk.problem().is_some_and(|problem| problem.contains(word)));
        }
    }

    #[test]
    fn questions_of_several_threads_are_answered_in_turn() {
        let (desk, questions) = desk();
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
        for asked in questions.iter().take(4) {
            let Question::Tokenize { text, .. } = asked.question else {
                panic!("nobody asks for embeddings")
            };
            let id = text.parse().unwrap();
            desk.answer(asked.number, Response::Tokens(vec![id]));
        }
        for asker in askers {
            let (id, response) = asker.join().unwrap();
            assert_eq!(response, Response::Tokens(vec![id]));
        }
    }

    #[test]
    fn a_closed_desk_fails_at_once() {
        let (desk, questions) = desk();
        desk.close();
        assert_eq!(desk.ask(question()), Response::Failed);
        assert!(questions.try_recv().is_err());
    }
}

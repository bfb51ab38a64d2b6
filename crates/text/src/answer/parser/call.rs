//! Tool calls: which of the format's forms one has, and whether it is one at all.

use super::{Mode, Parser, State};
use crate::answer::Event;
use crate::answer::calls::Record;
use crate::answer::check::{self, CallProblem};
use crate::answer::input::{Hit, Input, after_space};
use crate::answer::reader::{Reader, Step, begins};

const NO_CALL: &str = "what begins like a tool call is none; its text is part of the content";

impl Parser {
    /// Goes on in the call. True if there is more to do.
    pub(super) fn call(&mut self, is_last: bool, out: &mut Vec<Event>) -> bool {
        let State::Call(body) = &mut self.state else {
            return true;
        };
        let input = Input {
            text: &self.buffer,
            is_last,
            marks: &self.marks,
        };
        if body.reader.is_none() {
            self.at = input.after_space(self.at);
            for &form in &body.forms {
                match begins(&self.format.calls[form], &input, self.at) {
                    Hit::No => {}
                    Hit::Partial => return false,
                    Hit::Yes(_) => {
                        let reader = Reader::new(&self.format.calls[form].body);
                        body.reader = Some((form, reader));
                        break;
                    }
                }
            }
        }
        let step = match &mut body.reader {
            None => Step::Reject,
            Some((form, reader)) => {
                let form = &self.format.calls[*form];
                let step = reader.step(form, &input, &mut self.at, &mut self.calls);
                let is_cut = step == Step::More && is_last;
                if is_cut || step == Step::Reject {
                    reader.finish(form, &mut self.calls);
                }
                if is_cut {
                    // What may have been the beginning of a marker.
                    let rest = self.buffer[self.at..].trim();
                    if !form.close.iter().any(|close| close.starts_with(rest)) {
                        self.calls.other(rest);
                    }
                }
                step
            }
        };
        let named = || {
            let calls = &self.calls.list[body.first..];
            calls.iter().any(|call| call.name.is_some())
        };
        if self.mode == Mode::Content && (body.is_certain || named()) {
            body.is_certain = true;
            self.calls.tell(out);
        }
        match step {
            Step::More if !is_last => return false,
            Step::More => {
                self.at = self.buffer.len();
                self.leave_call(out);
            }
            Step::Done => self.done(out),
            Step::Reject => self.reject(out),
            Step::Prose => {
                self.took('m', self.at);
                self.enter(Mode::Content);
                self.newlines = 0;
            }
        }
        true
    }

    /// The call and its markers are over.
    fn done(&mut self, out: &mut Vec<Event>) {
        let State::Call(body) = &self.state else {
            return;
        };
        let first = body.first;
        if self.mode == Mode::Reasoning && !self.counts_in_reasoning(first) {
            return self.reject(out);
        }
        if self.calls.list.len() == first {
            return self.reject(out);
        }
        if self.mode == Mode::Reasoning {
            self.may_close_again = true;
        }
        self.calls.cut(self.at);
        self.calls.tell(out);
        self.took('c', self.at);
        self.enter(Mode::Content);
    }

    /// Calls within reasoning count if they are well formed and name known tools.
    fn counts_in_reasoning(&self, first: usize) -> bool {
        let calls = &self.calls.list[first..];
        let counts = |call: &Record| {
            let name = call.name.as_deref().unwrap_or_default();
            let problem = check::check(name, &call.arguments, &self.calls.tools);
            let is_well_formed = !call.is_incomplete && call.odd.is_none();
            let is_fit = problem.is_none_or(|(kind, _)| kind == CallProblem::DoesNotFit);
            self.calls.tools.is_known(name) && is_well_formed && is_fit
        };
        !calls.is_empty() && self.calls.current().is_none() && calls.iter().all(counts)
    }

    /// This is no call: its text is what it would be without. What was certain stays.
    fn reject(&mut self, out: &mut Vec<Event>) {
        let State::Call(body) = &self.state else {
            return;
        };
        let (start, first, is_certain) = (body.start, body.first, body.is_certain);
        self.no_calls_before = self.at;
        if is_certain {
            let is_named = self.calls.current().is_some_and(|call| call.name.is_some());
            if !is_named {
                self.at = self.calls.over_at;
            }
            self.calls.cut(self.at);
            self.calls.tell(out);
            self.took('c', self.at);
            self.enter(Mode::Content);
        } else {
            let begun = |&form: &usize| !self.format.calls[form].open.is_empty();
            let is_told = self.calls.notes.iter().any(|note| note == NO_CALL);
            if !is_told && self.mode == Mode::Content && body.forms.iter().any(begun) {
                self.calls.notes.push(NO_CALL.to_owned());
            }
            // Behind the place where it began, which white space may stand before: else it begins there again.
            self.no_calls_before = self.at.max(after_space(&self.buffer, start) + 1);
            self.calls.list.truncate(first);
            self.at = start;
            self.state = State::Text;
        }
    }

    /// Nothing more comes of a call that is being read.
    pub(super) fn leave_call(&mut self, out: &mut Vec<Event>) {
        let State::Call(body) = &self.state else {
            return;
        };
        if !body.is_certain {
            return self.reject(out);
        }
        let is_named = self.calls.current().is_some_and(|call| call.name.is_some());
        if !is_named {
            return self.reject(out);
        }
        self.calls.cut(self.at);
        self.calls.tell(out);
        self.took('c', self.at);
        self.enter(Mode::Content);
    }
}

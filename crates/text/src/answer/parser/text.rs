//! Content and reasoning: text up to the next marker.

use super::watch::Kind;
use super::{Body, Mode, Parser, State};
use crate::answer::Event;
use crate::answer::input::{Hit, Input};
use crate::answer::reader::begins;

/// Newlines before a marker that belong to it.
const NEWLINES: usize = 2;

/// What was found at a place.
enum Seen {
    Marker(Kind, usize),
    Bare,
    Partial,
    Nothing,
}

impl Parser {
    /// Goes on with text. True if something else follows in the buffer.
    pub(super) fn text(&mut self, is_last: bool, out: &mut Vec<Event>) -> bool {
        while self.newlines > 0 && self.at < self.buffer.len() {
            if self.buffer.as_bytes()[self.at] == b'\n' {
                self.at += 1;
                self.newlines -= 1;
                self.took('m', self.at);
            } else {
                self.newlines = 0;
            }
        }
        let mut place = self.at;
        loop {
            place = self.candidate(place);
            if place >= self.buffer.len() {
                self.tell(place, out);
                return false;
            }
            if self.is_blank {
                // Some markers count only where nothing but white space came before.
                self.tell(place, out);
            }
            let newlines = self.buffer.as_bytes()[place..]
                .iter()
                .take_while(|&&byte| byte == b'\n')
                .count();
            let after = place + newlines;
            let from = place.max(after.saturating_sub(NEWLINES));
            if after == self.buffer.len() {
                self.tell(if is_last { after } else { from }, out);
                return false;
            }
            let starts_line = newlines > 0 || self.is_blank;
            match self.look(after, starts_line, is_last) {
                Seen::Nothing if newlines > 0 => {
                    place = after;
                    if !self.is_candidate(after) {
                        continue;
                    }
                    place = after + 1;
                }
                Seen::Nothing => place += 1,
                Seen::Partial => {
                    self.tell(from, out);
                    return false;
                }
                Seen::Bare => {
                    self.tell(from, out);
                    self.begin_call(from, after, self.watches.bare.clone());
                    return true;
                }
                Seen::Marker(kind, length) => {
                    // An end mark leaves the text before it as it is.
                    let from = if kind == Kind::Stop { after } else { from };
                    self.tell(from, out);
                    self.marker(kind, from, after, length);
                    return true;
                }
            }
        }
    }

    /// The next place from `place` on where a marker can begin.
    #[inline]
    fn candidate(&self, mut place: usize) -> usize {
        let bytes = self.buffer.as_bytes();
        if self.is_blank {
            while place < bytes.len() && !self.is_candidate(place) {
                place += 1;
            }
            return place;
        }
        let first = match self.mode {
            Mode::Content => &self.watches.content.first,
            Mode::Reasoning => &self.watches.reasoning.first,
        };
        while place < bytes.len() && !first[usize::from(bytes[place])] {
            place += 1;
        }
        place
    }

    fn is_candidate(&self, place: usize) -> bool {
        let byte = usize::from(self.buffer.as_bytes()[place]);
        match self.mode {
            Mode::Content => {
                self.watches.content.first[byte] || (self.is_blank && self.watches.bare_first[byte])
            }
            Mode::Reasoning => self.watches.reasoning.first[byte],
        }
    }

    /// What stands at `place`.
    fn look(&self, place: usize, starts_line: bool, is_last: bool) -> Seen {
        let input = Input {
            text: &self.buffer,
            is_last,
            marks: &self.marks,
        };
        let watch = match self.mode {
            Mode::Content => &self.watches.content,
            Mode::Reasoning => &self.watches.reasoning,
        };
        for (text, kind) in &watch.markers {
            let counts = match (kind, self.mode) {
                (Kind::Open, _) => self.is_blank,
                (Kind::Close, Mode::Content) => self.may_close_again && self.is_blank,
                (Kind::Close, Mode::Reasoning) | (Kind::Skip, _) => true,
                (Kind::Call, Mode::Content) => place >= self.no_calls_before,
                (Kind::Call, Mode::Reasoning) => starts_line && place >= self.no_calls_before,
                (Kind::Stop, _) => place >= self.no_end_before,
            };
            if !counts {
                continue;
            }
            match input.hit(place, text) {
                Hit::No => {}
                Hit::Partial => return Seen::Partial,
                Hit::Yes(length) => return Seen::Marker(*kind, length),
            }
        }
        if self.mode == Mode::Content && self.is_blank && place >= self.no_calls_before {
            for &form in &self.watches.bare {
                match begins(&self.format.calls[form], &input, place) {
                    Hit::No => {}
                    Hit::Partial => return Seen::Partial,
                    Hit::Yes(_) => return Seen::Bare,
                }
            }
        }
        Seen::Nothing
    }

    fn marker(&mut self, kind: Kind, from: usize, place: usize, length: usize) {
        let end = place + length;
        self.at = end;
        match kind {
            Kind::Open | Kind::Close => {
                self.took('m', end);
                self.enter(match kind {
                    Kind::Open => Mode::Reasoning,
                    _ => Mode::Content,
                });
            }
            Kind::Skip => {
                self.took('m', end);
                self.newlines = 2;
            }
            Kind::Stop => self.state = State::Ended { start: place },
            Kind::Call => {
                let text = &self.buffer[place..end];
                let calls = self.format.calls.iter().enumerate();
                let forms = calls.filter(|(_, call)| call.open.iter().any(|open| open == text));
                let forms = forms.map(|(number, _)| number).collect();
                self.begin_call(from, end, forms);
            }
        }
    }

    fn begin_call(&mut self, start: usize, at: usize, forms: Vec<usize>) {
        self.at = at;
        self.calls.over_at = start;
        self.state = State::Call(Body {
            start,
            forms,
            reader: None,
            first: self.calls.list.len(),
            is_certain: false,
        });
    }

    /// Goes on after an end mark.
    pub(super) fn ended(&mut self, is_last: bool) -> bool {
        let State::Ended { start } = self.state else {
            return true;
        };
        let input = Input {
            text: &self.buffer,
            is_last,
            marks: &self.marks,
        };
        loop {
            self.at = if self.ends_at_mark {
                self.buffer.len()
            } else {
                input.after_space(self.at)
            };
            if self.at == self.buffer.len() {
                if is_last {
                    self.took('m', self.at);
                    self.state = State::Text;
                }
                return false;
            }
            match input.any(self.at, &self.format.stops) {
                Hit::Yes(length) => self.at += length,
                Hit::Partial => return false,
                Hit::No => break,
            }
        }
        self.no_end_before = self.at;
        self.at = start;
        self.state = State::Text;
        true
    }

    /// Tells the text before `end`.
    fn tell(&mut self, end: usize, out: &mut Vec<Event>) {
        if end <= self.at {
            return;
        }
        let text = &self.buffer[self.at..end];
        self.is_blank = self.is_blank && text.bytes().all(|byte| byte.is_ascii_whitespace());
        match self.mode {
            Mode::Content => {
                self.content.push_str(text);
                match out.last_mut() {
                    Some(Event::Content { text: last }) => last.push_str(text),
                    _ => out.push(Event::Content {
                        text: text.to_owned(),
                    }),
                }
            }
            Mode::Reasoning => {
                self.reasoning.push_str(text);
                match out.last_mut() {
                    Some(Event::Reasoning { text: last }) => last.push_str(text),
                    _ => out.push(Event::Reasoning {
                        text: text.to_owned(),
                    }),
                }
            }
        }
        self.at = end;
        let kind = if self.mode == Mode::Content { 't' } else { 'r' };
        self.took(kind, end);
    }
}

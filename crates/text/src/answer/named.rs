//! Reads calls that give the name first, then the arguments as one object.

use super::calls::Calls;
use super::format::{Body, CallForm};
use super::input::{Hit, Input};
use super::literal;
use super::reader::{After, LONGEST_NAME, Step, after};
use super::scan::{Found, Scan};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Prefix,
    Name,
    /// In an id of the model's own.
    Id,
    /// Before the arguments; perhaps in the line that opens a block of code.
    Before,
    Fence,
    Object,
    /// Arguments that are no object, up to a marker.
    Text,
    Tail,
}

/// The reader.
#[derive(Debug, Clone, Default)]
pub(super) struct NamedReader {
    place: Place,
    name: String,
    scan: Scan,
    /// Arguments that are to be written as JSON.
    raw: String,
    /// The word that says what kind of call it is has been read.
    is_after_kind: bool,
}

impl NamedReader {
    pub(super) fn step(
        &mut self,
        form: &CallForm,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Step {
        let Body::Named {
            prefix,
            name_end,
            quotes,
            ..
        } = &form.body
        else {
            return Step::Reject;
        };
        while let Some(byte) = input.byte(*at) {
            match self.place {
                Place::Prefix => match input.hit(*at, prefix) {
                    Hit::Yes(length) => {
                        *at += length;
                        self.place = Place::Name;
                    }
                    Hit::Partial => return Step::More,
                    Hit::No => return Step::Reject,
                },
                Place::Name => match self.name(form, byte, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Id => match input.any(*at, &name_end[name_end.len().saturating_sub(1)..]) {
                    Hit::Partial => return Step::More,
                    Hit::Yes(length) => {
                        *at += length;
                        self.place = Place::Before;
                    }
                    Hit::No if byte == b'{' => self.place = Place::Before,
                    Hit::No => *at += 1,
                },
                Place::Before if byte.is_ascii_whitespace() => *at += 1,
                Place::Before => match self.before(form, byte, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Fence if byte.is_ascii_alphanumeric() => *at += 1,
                Place::Fence => self.place = Place::Before,
                Place::Object => match self.object(form, quotes, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Text => match self.text(form, byte, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Tail => match after(form, input, *at, calls) {
                    After::More => return Step::More,
                    After::Closed(end) => {
                        *at = end;
                        return Step::Done;
                    }
                    _ => return Step::Done,
                },
            }
        }
        match self.place {
            Place::Tail if input.is_last => Step::Done,
            _ => Step::More,
        }
    }

    fn name(
        &mut self,
        form: &CallForm,
        byte: u8,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        let Body::Named {
            name_end,
            kind,
            id_open,
            prose,
            ..
        } = &form.body
        else {
            return Some(Step::Reject);
        };
        let length = match self.end_of_name(name_end, id_open.as_deref(), input, *at) {
            Hit::Yes(length) => length,
            Hit::Partial => return Some(Step::More),
            Hit::No if is_of_name(byte) && self.name.len() < LONGEST_NAME => {
                let next = input.text[*at..].chars().next().unwrap_or_default();
                self.name.push(next);
                *at += next.len_utf8();
                return None;
            }
            Hit::No if self.name.is_empty() => return Some(Step::Reject),
            Hit::No => match input.any(*at, &form.close) {
                Hit::Partial => return Some(Step::More),
                Hit::No => return Some(Step::Reject),
                Hit::Yes(_) => {
                    calls.name(self.name.trim());
                    calls.end(false, *at);
                    self.place = Place::Tail;
                    return None;
                }
            },
        };
        let (name, end) = (self.name.trim(), &input.text[*at..*at + length]);
        *at += length;
        if prose.as_deref() == Some(name) {
            return Some(Step::Prose);
        }
        if kind.as_deref() == Some(name) && !self.is_after_kind {
            self.is_after_kind = true;
            self.name.clear();
            return None;
        }
        if name.is_empty() {
            return Some(Step::Reject);
        }
        calls.name(name);
        let is_id = id_open.as_deref() == Some(end);
        self.place = if is_id { Place::Id } else { Place::Before };
        None
    }

    fn before(
        &mut self,
        form: &CallForm,
        byte: u8,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        let ends = input.any(*at, &form.close);
        match (byte, ends, input.hit(*at, "```")) {
            (b'{', ..) => {
                self.scan = Scan::default();
                self.place = Place::Object;
            }
            (_, Hit::Partial, _) | (_, _, Hit::Partial) => return Some(Step::More),
            (_, Hit::Yes(_), _) => {
                calls.end(false, *at);
                self.place = Place::Tail;
            }
            (_, _, Hit::Yes(length)) => {
                *at += length;
                self.place = Place::Fence;
            }
            _ => self.place = Place::Text,
        }
        None
    }

    /// Arguments that are no object go up to the call's end, or to the next call.
    fn text(
        &mut self,
        form: &CallForm,
        byte: u8,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        match input.any(*at, &form.close) {
            Hit::Partial => return Some(Step::More),
            Hit::Yes(_) => {
                calls.end(false, *at);
                self.place = Place::Tail;
                return None;
            }
            Hit::No => {}
        }
        let may_open = form.close.is_empty() && form.open.iter().any(|o| o.as_bytes()[0] == byte);
        match may_open.then(|| input.any(*at, &form.open)) {
            Some(Hit::Partial) => Some(Step::More),
            Some(Hit::Yes(_)) => {
                calls.end(false, *at);
                Some(Step::Done)
            }
            _ => {
                take_char(input, at, calls);
                None
            }
        }
    }

    /// What ends the name. Without a marker for it the arguments' bracket does, and is not taken.
    fn end_of_name(
        &self,
        name_end: &[String],
        id_open: Option<&str>,
        input: &Input,
        at: usize,
    ) -> Hit {
        if input.byte(at) == Some(b'{') && !self.name.is_empty() {
            return Hit::Yes(0);
        }
        if self.is_after_kind && input.byte(at) == Some(b'\n') {
            return Hit::Yes(1);
        }
        match (input.any(at, name_end), id_open) {
            (Hit::No, Some(id)) => input.hit(at, id),
            (found, _) => found,
        }
    }

    fn object(
        &mut self,
        form: &CallForm,
        quotes: &[[String; 2]],
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        let start = *at;
        let found = self.scan.run(input, start, quotes);
        let (Found::End(end) | Found::Odd(end) | Found::More(end)) = found;
        self.take(&input.text[start..end], quotes, calls);
        *at = end;
        match found {
            Found::More(_) => Some(Step::More),
            Found::End(_) => {
                self.convert(quotes, calls);
                calls.end(false, end);
                self.place = Place::Tail;
                None
            }
            Found::Odd(_) => match input.any(end, &form.close) {
                Hit::Partial => Some(Step::More),
                Hit::Yes(_) => {
                    self.convert(quotes, calls);
                    calls.end(true, end);
                    self.place = Place::Tail;
                    None
                }
                Hit::No => {
                    *at += 1;
                    self.take(&input.text[end..*at], quotes, calls);
                    None
                }
            },
        }
    }

    fn take(&mut self, text: &str, quotes: &[[String; 2]], calls: &mut Calls) {
        match quotes {
            [] => calls.arguments(text),
            _ => self.raw.push_str(text),
        }
    }

    /// Writes arguments in another spelling as JSON; what cannot be read stays as it is.
    pub(super) fn convert(&mut self, quotes: &[[String; 2]], calls: &mut Calls) {
        let raw = std::mem::take(&mut self.raw);
        if raw.is_empty() {
            return;
        }
        match literal::object(&raw, literal::Dialect::Marked(quotes)) {
            Ok(read) => {
                calls.arguments(&read.json);
                if let Some(odd) = read.odd {
                    calls.odd(odd);
                }
            }
            Err(why) => {
                calls.arguments(&raw);
                calls.odd(why);
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, form: &CallForm, calls: &mut Calls) {
        if let Body::Named { quotes, .. } = &form.body {
            self.convert(quotes, calls);
        }
    }
}

/// Whether a tool's name can have this byte. White space within is cut off or refused with the tool.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"_-.:/ ".contains(&byte)
}

/// Takes one character into the arguments.
fn take_char(input: &Input, at: &mut usize, calls: &mut Calls) {
    let next = input.text[*at..].chars().next().unwrap_or_default();
    let end = *at + next.len_utf8();
    calls.arguments(&input.text[*at..end]);
    *at = end;
}

//! Reads calls with keyword arguments as Python writes them. Nothing is evaluated.

use super::calls::Calls;
use super::format::CallForm;
use super::input::{Hit, Input};
use super::literal;
use super::reader::{After, LONGEST_NAME, Step, after};
use super::scan::{Found, Scan};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    Fence,
    Name,
    /// Between the line with the name and the code that calls its stand-in.
    StandIn,
    Arguments,
    Tail,
}

/// The reader.
#[derive(Debug, Clone, Default)]
pub(super) struct PythonReader {
    place: Place,
    name: String,
    raw: String,
    scan: Scan,
    /// A list has been opened and not closed.
    is_in_list: bool,
    is_named: bool,
}

impl PythonReader {
    pub(super) fn step(
        &mut self,
        form: &CallForm,
        (in_list, stand_in): (bool, Option<&str>),
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Step {
        while let Some(byte) = input.byte(*at) {
            match self.place {
                Place::Start | Place::StandIn if byte.is_ascii_whitespace() => *at += 1,
                Place::Start => match (byte, input.hit(*at, "```")) {
                    (b'[', _) if stand_in.is_none() && !self.is_in_list => {
                        self.is_in_list = true;
                        *at += 1;
                    }
                    (_, Hit::Partial) => return Step::More,
                    (_, Hit::Yes(length)) if !form.open.is_empty() => {
                        *at += length;
                        self.place = Place::Fence;
                    }
                    _ if in_list && !self.is_in_list => return Step::Reject,
                    _ => {
                        self.name.clear();
                        self.place = Place::Name;
                    }
                },
                Place::Fence if byte.is_ascii_alphanumeric() => *at += 1,
                Place::Fence => self.place = Place::Start,
                Place::Name => match byte {
                    _ if is_of_name(byte) && self.name.len() < LONGEST_NAME => {
                        self.name.push(byte as char);
                        *at += 1;
                    }
                    b'(' if stand_in.is_none() && self.is_name() => self.begin(calls),
                    b'\n' if stand_in.is_some() && self.is_name() => self.place = Place::StandIn,
                    _ => return Step::Reject,
                },
                Place::StandIn => {
                    let opening = ["```python\n", "\n"].map(|line| {
                        format!("{}{}(", line.trim_start(), stand_in.unwrap_or_default())
                    });
                    match input.any(*at, &opening) {
                        Hit::Partial => return Step::More,
                        Hit::No => return Step::Reject,
                        Hit::Yes(length) => {
                            *at += length - 1;
                            self.begin(calls);
                        }
                    }
                }
                Place::Arguments => match self.arguments(form, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Tail => match self.tail(form, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
            }
        }
        match self.place {
            Place::Tail if input.is_last => Step::Done,
            _ => Step::More,
        }
    }

    fn is_name(&self) -> bool {
        let first = self.name.as_bytes().first();
        first.is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_')
    }

    /// The arguments begin. Prose can look like a call: an unknown tool is one only if its arguments are.
    fn begin(&mut self, calls: &mut Calls) {
        self.scan = Scan::default();
        self.raw.clear();
        self.place = Place::Arguments;
        self.is_named = calls.tools.is_known(&self.name);
        if self.is_named {
            calls.name(&self.name);
        }
    }

    fn arguments(
        &mut self,
        form: &CallForm,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        let start = *at;
        let found = self.scan.run(input, start, &[]);
        let (Found::End(end) | Found::Odd(end) | Found::More(end)) = found;
        self.raw.push_str(&input.text[start..end]);
        *at = end;
        match found {
            Found::More(_) => Some(Step::More),
            Found::End(_) => {
                let is_call = self.convert(calls);
                if !is_call {
                    return Some(Step::Reject);
                }
                calls.end(false, end);
                self.place = Place::Tail;
                None
            }
            Found::Odd(_) => match input.any(end, &form.close) {
                Hit::Partial => Some(Step::More),
                Hit::Yes(_) if self.is_named => {
                    self.finish(calls);
                    calls.end(true, end);
                    self.place = Place::Tail;
                    None
                }
                Hit::Yes(_) => Some(Step::Reject),
                Hit::No => {
                    *at += 1;
                    self.raw.push_str(&input.text[end..*at]);
                    None
                }
            },
        }
    }

    /// Writes the arguments as JSON; what cannot be read stays as it is. False if this is no call.
    fn convert(&mut self, calls: &mut Calls) -> bool {
        let raw = std::mem::take(&mut self.raw);
        let inside = raw.strip_prefix('(').unwrap_or(&raw);
        let inside = inside.strip_suffix(')').unwrap_or(inside);
        match literal::object(inside, literal::Dialect::Keywords) {
            Ok(read) => {
                if !self.is_named {
                    calls.name(&self.name);
                }
                calls.arguments(&read.json);
                if let Some(odd) = read.odd {
                    calls.odd(odd);
                }
            }
            Err(_) if !self.is_named => return false,
            Err(why) => {
                calls.arguments(inside);
                calls.odd(why);
            }
        }
        true
    }

    /// Nothing more comes: what there is of arguments is told as it is.
    pub(super) fn finish(&mut self, calls: &mut Calls) {
        if self.is_named && self.place == Place::Arguments {
            calls.arguments(self.raw.strip_prefix('(').unwrap_or(&self.raw));
        }
    }

    fn tail(
        &mut self,
        form: &CallForm,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        if self.is_in_list {
            match input.byte(*at) {
                Some(byte) if byte.is_ascii_whitespace() => {
                    *at += 1;
                    return None;
                }
                Some(b',') => {
                    let next = input.near_space(*at + 1);
                    if input.must_wait(next) {
                        return Some(Step::More);
                    }
                    if input.byte(next).is_some_and(is_of_name) {
                        *at = next;
                        self.name.clear();
                        self.place = Place::Name;
                        return None;
                    }
                }
                Some(b']') => {
                    *at += 1;
                    calls.over_at = *at;
                    self.is_in_list = false;
                    return None;
                }
                _ => {}
            }
            return Some(Step::Done);
        }
        match after(form, input, *at, calls) {
            After::More => Some(Step::More),
            After::Closed(end) => {
                *at = end;
                Some(Step::Done)
            }
            After::Next(next)
                if !form.open.is_empty() && input.byte(next).is_some_and(is_of_name) =>
            {
                *at = next;
                self.name.clear();
                self.place = Place::Name;
                None
            }
            _ => {
                skip_fence(input, at);
                Some(Step::Done)
            }
        }
    }
}

/// The end of the block of code that the call stood in, where nothing else closes it.
fn skip_fence(input: &Input, at: &mut usize) {
    let place = input.near_space(*at);
    if input.hit(place, "```") == Hit::Yes(3) {
        *at = place + 3;
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)
}

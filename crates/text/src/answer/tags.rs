//! Reads calls that have a marked value for each argument, and writes the arguments as JSON.

use super::calls::Calls;
use super::format::{CallForm, Tags};
use super::input::{Hit, Input};
use super::literal;
use super::reader::{After, Step, after};

/// Longer names are none.
const LONGEST_NAME: usize = 256;
/// `CDATA` after more white space than this is text.
const CDATA_WITHIN: usize = 64;
const CDATA: [&str; 2] = ["<![CDATA[", "]]>"];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Open,
    Name,
    /// Before an argument or the end.
    Between,
    Key,
    /// Between an argument's name and its value.
    ValueOpen,
    Value,
    CData,
    Tail,
}

/// The reader.
#[derive(Debug, Clone, Default)]
pub(super) struct TagsReader {
    place: Place,
    name: String,
    key: String,
    value: String,
    /// The first bytes of all that may end a value.
    firsts: Vec<u8>,
    has_arguments: bool,
    /// How many bytes of a string's value are told already; none if the value waits for its end.
    told: Option<usize>,
}

impl TagsReader {
    pub(super) fn step(
        &mut self,
        form: &CallForm,
        tags: &Tags,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Step {
        while let Some(byte) = input.byte(*at) {
            match self.place {
                Place::Open => match input.hit(*at, &tags.name_open) {
                    Hit::Yes(length) => {
                        *at += length;
                        self.name.clear();
                        self.has_arguments = false;
                        self.place = Place::Name;
                    }
                    Hit::Partial => return Step::More,
                    Hit::No => return Step::Reject,
                },
                Place::Name => match self.name(form, tags, byte, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Between if byte.is_ascii_whitespace() => *at += 1,
                Place::Between => match self.between(form, tags, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Key => match input.hit(*at, &tags.key[1]) {
                    Hit::Partial => return Step::More,
                    Hit::Yes(length) => {
                        *at += length;
                        self.place = Place::ValueOpen;
                    }
                    Hit::No if self.key.len() < LONGEST_NAME => {
                        let next = next_char(input, *at);
                        self.key.push(next);
                        *at += next.len_utf8();
                    }
                    Hit::No => return Step::Reject,
                },
                Place::ValueOpen if byte.is_ascii_whitespace() && !tags.value_open.is_empty() => {
                    *at += 1;
                }
                Place::ValueOpen => match input.hit(*at, &tags.value_open) {
                    Hit::Partial => return Step::More,
                    Hit::No => return Step::Reject,
                    Hit::Yes(length) => {
                        *at += length;
                        self.firsts = firsts(form, tags);
                        self.begin_value(calls);
                    }
                },
                Place::Value => match self.value(form, tags, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::CData => match input.hit(*at, CDATA[1]) {
                    Hit::Partial => return Step::More,
                    Hit::Yes(length) => {
                        *at += length;
                        self.firsts = firsts(form, tags);
                        self.place = Place::Value;
                    }
                    Hit::No => self.take(input, at, calls),
                },
                Place::Tail => match after(form, input, *at, calls) {
                    After::More => return Step::More,
                    After::Closed(end) => {
                        *at = end;
                        return Step::Done;
                    }
                    After::Next(next) if !tags.name_open.is_empty() => {
                        match input.hit(next, &tags.name_open) {
                            Hit::Partial => return Step::More,
                            Hit::Yes(_) => {
                                *at = next;
                                self.place = Place::Open;
                            }
                            Hit::No => return Step::Done,
                        }
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
        tags: &Tags,
        byte: u8,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        let mut found = input.any(*at, &tags.name_close);
        if tags.name_open.is_empty() && found == Hit::No {
            // Whatever may come next ends the name as well, and is read then.
            found = match input.any(*at, &[&tags.key[0], &tags.end]) {
                Hit::Yes(_) => Hit::Yes(0),
                other => other,
            };
        }
        match found {
            Hit::Partial => return Some(Step::More),
            Hit::Yes(length) if !self.name.trim().is_empty() => {
                *at += length;
                calls.name(self.name.trim());
                calls.arguments("{");
                self.place = Place::Between;
            }
            Hit::No
                if self.name.len() < LONGEST_NAME
                    && !b"<>\n\"{}".contains(&byte)
                    && input.any(*at, &form.close) == Hit::No =>
            {
                let next = next_char(input, *at);
                self.name.push(next);
                *at += next.len_utf8();
            }
            _ => return Some(Step::Reject),
        }
        None
    }

    fn between(
        &mut self,
        form: &CallForm,
        tags: &Tags,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        match input.hit(*at, &tags.key[0]) {
            Hit::Partial => return Some(Step::More),
            Hit::Yes(length) => {
                *at += length;
                self.key.clear();
                self.place = Place::Key;
                return None;
            }
            Hit::No => {}
        }
        match input.hit(*at, &tags.end) {
            Hit::Partial => return Some(Step::More),
            Hit::Yes(length) => {
                *at += length;
                calls.arguments("}");
                calls.end(false, *at);
                self.place = Place::Tail;
                return None;
            }
            Hit::No => {}
        }
        match input.any(*at, &form.close) {
            Hit::Partial => Some(Step::More),
            Hit::Yes(_) => {
                calls.arguments("}");
                calls.end(false, *at);
                self.place = Place::Tail;
                None
            }
            Hit::No => {
                // Text between arguments belongs to none; the call is kept, and says so.
                calls.stray(next_char(input, *at));
                *at += next_char(input, *at).len_utf8();
                None
            }
        }
    }

    fn begin_value(&mut self, calls: &mut Calls) {
        if self.has_arguments {
            calls.arguments(", ");
        }
        self.has_arguments = true;
        calls.arguments(&literal::quote(self.key.trim()));
        calls.arguments(": ");
        self.value.clear();
        self.place = Place::Value;
        let types = calls.tools.types(&current_name(calls), self.key.trim());
        self.told = match types.as_slice() {
            ["string"] => {
                calls.arguments("\"");
                Some(0)
            }
            _ => None,
        };
    }

    fn value(
        &mut self,
        form: &CallForm,
        tags: &Tags,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        if self.value.len() < CDATA_WITHIN && self.value.trim().is_empty() {
            match input.hit(*at, CDATA[0]) {
                Hit::Partial => return Some(Step::More),
                Hit::Yes(length) => {
                    *at += length;
                    self.value.clear();
                    self.firsts = vec![b']'];
                    self.place = Place::CData;
                    return None;
                }
                Hit::No => {}
            }
        }
        // A value whose end is missing ends where the next thing begins.
        let ends: [(&str, bool); 3] = [
            (&tags.value_close, true),
            (&tags.key[0], false),
            (&tags.end, false),
        ];
        // Nearly all of a value begins none of these.
        let byte = input.text.as_bytes()[*at];
        if !self.firsts.contains(&byte) {
            self.take(input, at, calls);
            return None;
        }
        for (end, is_taken) in ends {
            match input.hit(*at, end) {
                Hit::Partial => return Some(Step::More),
                Hit::Yes(length) => {
                    *at += if is_taken { length } else { 0 };
                    self.end_value(calls);
                    return None;
                }
                Hit::No => {}
            }
        }
        match input.any(*at, &form.close) {
            Hit::Partial => return Some(Step::More),
            Hit::Yes(_) => {
                self.end_value(calls);
                return None;
            }
            Hit::No => {}
        }
        self.take(input, at, calls);
        None
    }

    /// Takes one character into the value, and all after it before a byte that may begin a marker.
    fn take(&mut self, input: &Input, at: &mut usize, calls: &mut Calls) {
        // The other bytes of a longer character begin nothing.
        let rest = &input.text.as_bytes()[*at + 1..];
        let next = match *self.firsts {
            [only] => rest.iter().position(|&byte| byte == only),
            _ => rest.iter().position(|byte| self.firsts.contains(byte)),
        };
        let end = next.map_or(input.text.len(), |next| *at + 1 + next);
        self.value.push_str(&input.text[*at..end]);
        *at = end;
        self.tell(false, calls);
    }

    /// Tells what is certain of a string: not a newline at its end, which may belong to the markers.
    fn tell(&mut self, is_over: bool, calls: &mut Calls) {
        let Some(told) = self.told else { return };
        let start = usize::from(told == 0 && self.value.starts_with('\n')).max(told);
        let end = self.value.len() - usize::from(self.value.ends_with('\n'));
        if start < end {
            let quoted = literal::quote(&self.value[start..end]);
            calls.arguments(&quoted[1..quoted.len() - 1]);
            self.told = Some(end);
        }
        if is_over {
            calls.arguments("\"");
        }
    }

    fn end_value(&mut self, calls: &mut Calls) {
        self.place = Place::Between;
        if self.told.is_some() {
            return self.tell(true, calls);
        }
        let value = std::mem::take(&mut self.value);
        let value = value.strip_prefix('\n').unwrap_or(&value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let name = current_name(calls);
        let json = calls.tools.spell(&name, self.key.trim(), value);
        calls.arguments(&json);
    }

    /// Nothing more comes: what there is of a value is told.
    pub(super) fn finish(&mut self, calls: &mut Calls) {
        match self.place {
            Place::Value | Place::CData if self.told.is_none() => {
                let quoted = literal::quote(&self.value);
                calls.arguments(&quoted[..quoted.len() - 1]);
            }
            Place::Value | Place::CData => {
                let value = self.value.clone();
                if value.ends_with('\n') && self.told != Some(value.len()) {
                    calls.arguments("\\n");
                }
            }
            Place::Key | Place::ValueOpen if !self.key.is_empty() => {
                if self.has_arguments {
                    calls.arguments(", ");
                }
                let quoted = literal::quote(&self.key);
                calls.arguments(&quoted[..quoted.len() - 1]);
            }
            _ => {}
        }
    }
}

/// The first bytes of what ends a value, or would if its end is missing.
fn firsts(form: &CallForm, tags: &Tags) -> Vec<u8> {
    let ends = [&tags.value_close, &tags.key[0], &tags.end];
    let all = ends.into_iter().chain(&form.close);
    let mut firsts: Vec<u8> = all.filter_map(|end| end.bytes().next()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    firsts
}

fn next_char(input: &Input, at: usize) -> char {
    input.text[at..].chars().next().unwrap_or_default()
}

fn current_name(calls: &Calls) -> String {
    let name = calls.current().and_then(|call| call.name.clone());
    name.unwrap_or_default()
}

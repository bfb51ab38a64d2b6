//! Reads calls that are JSON objects with a name and arguments.

mod place;

use place::{Place, Role};

use super::calls::Calls;
use super::format::CallForm;
use super::input::{Hit, Input};
use super::literal;
use super::reader::{After, LONGEST_NAME, Step, after};
use super::scan::{Found, Scan};

/// Longer keys are none that a call has.
const LONGEST_KEY: usize = 64;

/// The reader.
#[derive(Debug, Clone, Default)]
pub(super) struct JsonReader {
    place: Place,
    role: Role,
    text: String,
    scan: Scan,
    in_list: bool,
    name: Option<String>,
    has_arguments: bool,
    /// Text that is neither the name nor arguments: other members, and comments.
    other: String,
    is_kept: bool,
}

impl JsonReader {
    pub(super) fn step(
        &mut self,
        form: &CallForm,
        keys: [&[String]; 2],
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Step {
        let is_bare = form.open.is_empty();
        while let Some(byte) = input.byte(*at) {
            match &self.place {
                Place::Start | Place::Item | Place::Key | Place::Colon | Place::Value
                    if byte.is_ascii_whitespace() =>
                {
                    *at += 1;
                }
                Place::Start | Place::Key if byte == b'/' && !is_bare => {
                    let back = std::mem::take(&mut self.place);
                    self.place = Place::Comment(Box::new(back));
                    self.keep("");
                }
                Place::Comment(back) => {
                    let rest = &input.text[*at..];
                    let end = rest.find('\n').unwrap_or(rest.len());
                    self.other.push_str(&rest[..end]);
                    *at += end;
                    if end < rest.len() {
                        self.place = (**back).clone();
                    }
                }
                Place::Start => match (byte, input.hit(*at, "```")) {
                    (b'{', _) => self.begin(at),
                    (b'[', _) => {
                        self.in_list = true;
                        self.place = Place::Item;
                        *at += 1;
                    }
                    (_, Hit::Partial) => return Step::More,
                    (_, Hit::Yes(length)) if !is_bare => {
                        self.place = Place::Fence;
                        self.keep("```");
                        *at += length;
                    }
                    _ => return Step::Reject,
                },
                Place::Fence if byte.is_ascii_alphanumeric() => *at += 1,
                Place::Fence => self.place = Place::Start,
                Place::Item => match byte {
                    b'{' => self.begin(at),
                    _ => return Step::Reject,
                },
                Place::Key => {
                    if let Some(step) = self.key(form, byte, input, at, calls) {
                        return step;
                    }
                }
                Place::Colon if byte == b':' => {
                    self.place = Place::Value;
                    *at += 1;
                }
                Place::Colon => return Step::Reject,
                Place::Value => self.value(byte, at, is_bare, calls),
                Place::Text { .. } => {
                    let wrong = self.string(keys, is_bare, input, at, calls);
                    if wrong {
                        return Step::Reject;
                    }
                }
                Place::Nested => match self.nested(form, input, at, calls) {
                    None => {}
                    Some(step) => return step,
                },
                Place::Scalar => self.scalar(input, at, calls),
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

    /// An object begins.
    fn begin(&mut self, at: &mut usize) {
        *at += 1;
        self.place = Place::Key;
        self.role = Role::Key;
        self.name = None;
        self.has_arguments = false;
    }

    fn key(
        &mut self,
        form: &CallForm,
        byte: u8,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        match byte {
            b',' => *at += 1,
            b'"' | b'\'' => {
                self.role = Role::Key;
                self.collect(byte);
                *at += 1;
            }
            b'}' => {
                *at += 1;
                return self.end(form, *at, calls);
            }
            _ => match input.any(*at, &form.close) {
                Hit::Partial => return Some(Step::More),
                // A bracket is missing. What the arguments are is known all the same.
                Hit::Yes(_) if self.name.is_some() => {
                    calls.odd("the call's last bracket is missing");
                    return self.end(form, *at, calls);
                }
                _ => return Some(Step::Reject),
            },
        }
        None
    }

    fn collect(&mut self, quote: u8) {
        self.text.clear();
        self.text.push(quote as char);
        self.place = Place::Text {
            quote,
            is_escaped: false,
        };
    }

    /// The object is over.
    fn end(&mut self, form: &CallForm, at: usize, calls: &mut Calls) -> Option<Step> {
        self.place = Place::Tail;
        let is_bare = form.open.is_empty();
        if self.name.is_some() && (self.has_arguments || !is_bare) {
            calls.other(std::mem::take(&mut self.other));
            calls.end(false, at);
            return None;
        }
        Some(Step::Reject)
    }

    fn value(&mut self, byte: u8, at: &mut usize, is_bare: bool, calls: &mut Calls) {
        if self.role == Role::Arguments {
            self.has_arguments = true;
            if let (true, Some(name)) = (is_bare, &self.name) {
                calls.name(name);
            }
        }
        match byte {
            b'{' | b'[' => {
                self.scan = Scan::default();
                self.place = Place::Nested;
            }
            b'"' | b'\'' => {
                self.collect(byte);
                *at += 1;
            }
            _ => {
                self.text.clear();
                self.place = Place::Scalar;
            }
        }
    }

    /// Reads on in a string. True if there can be no call in this.
    fn string(
        &mut self,
        [name_keys, argument_keys]: [&[String]; 2],
        is_bare: bool,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> bool {
        let Place::Text { quote, is_escaped } = &mut self.place else {
            return false;
        };
        let (rest, start) = (input.text.as_bytes(), *at);
        let mut is_over = false;
        while let Some(&byte) = rest.get(*at) {
            *at += 1;
            match byte {
                _ if *is_escaped => *is_escaped = false,
                b'\\' => *is_escaped = true,
                _ if byte == *quote => {
                    is_over = true;
                    break;
                }
                _ => {}
            }
        }
        let is_bounded = matches!(self.role, Role::Key | Role::Name);
        if is_bounded && self.text.len() + *at - start > LONGEST_NAME {
            // At the same place, however the text came.
            *at = start + LONGEST_NAME.saturating_sub(self.text.len());
            while !input.text.is_char_boundary(*at) {
                *at -= 1;
            }
            self.text.push_str(&input.text[start..*at]);
            return true;
        }
        self.text.push_str(&input.text[start..*at]);
        if !is_over {
            return false;
        }
        self.place = Place::Key;
        match self.role {
            Role::Key => {
                let key = literal::unquote(&self.text).filter(|key| key.len() <= LONGEST_KEY);
                let is = |keys: &[String]| key.as_ref().is_some_and(|key| keys.contains(key));
                self.role = match () {
                    () if is(argument_keys) && !self.has_arguments => Role::Arguments,
                    () if is(name_keys) && self.name.is_none() => Role::Name,
                    () => Role::Other,
                };
                let is_usual = ["id", "type", "tool_call_id"]
                    .iter()
                    .any(|usual| key.as_deref() == Some(usual));
                self.is_kept = self.role == Role::Other && !is_usual;
                if is_bare && self.is_kept {
                    return true;
                }
                if self.is_kept {
                    let key = format!("{}: ", self.text);
                    self.keep(&key);
                }
                self.place = Place::Colon;
            }
            Role::Name => {
                let name = literal::unquote(&self.text).filter(|name| !name.trim().is_empty());
                let Some(name) = name else { return true };
                if !is_bare || self.has_arguments {
                    calls.name(name.trim());
                }
                self.name = Some(name.trim().to_owned());
            }
            // JSON in a string is read when the call is checked.
            Role::Arguments => calls.arguments(&self.text),
            Role::Other if self.is_kept => self.other.push_str(&self.text),
            Role::Other => {}
        }
        false
    }

    fn nested(
        &mut self,
        form: &CallForm,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        let start = *at;
        let found = self.scan.run(input, start, &[]);
        let (Found::End(end) | Found::Odd(end) | Found::More(end)) = found;
        self.take(&input.text[start..end], calls);
        *at = end;
        match found {
            Found::More(_) => Some(Step::More),
            Found::End(_) => {
                self.place = Place::Key;
                None
            }
            Found::Odd(_) => match input.any(end, &form.close) {
                Hit::Partial => Some(Step::More),
                Hit::Yes(_) if self.name.is_some() => {
                    calls.other(std::mem::take(&mut self.other));
                    calls.end(true, end);
                    self.place = Place::Tail;
                    None
                }
                Hit::Yes(_) => Some(Step::Reject),
                Hit::No => {
                    *at += 1;
                    self.take(&input.text[end..*at], calls);
                    None
                }
            },
        }
    }

    fn scalar(&mut self, input: &Input, at: &mut usize, calls: &mut Calls) {
        let rest = &input.text[*at..];
        let is_end = |c: char| c.is_ascii_whitespace() || ",}]<".contains(c);
        let end = rest.find(is_end).unwrap_or(rest.len());
        self.text.push_str(&rest[..end]);
        *at += end;
        if end < rest.len() {
            let text = std::mem::take(&mut self.text);
            self.take(&text, calls);
            self.place = Place::Key;
        }
    }

    /// A part of a value.
    fn take(&mut self, text: &str, calls: &mut Calls) {
        match self.role {
            Role::Arguments => calls.arguments(text),
            Role::Other if self.is_kept => self.other.push_str(text),
            _ => {}
        }
    }

    /// Text that is neither name nor arguments begins.
    fn keep(&mut self, text: &str) {
        if !self.other.is_empty() {
            self.other.push_str(", ");
        }
        self.other.push_str(text);
    }

    /// Nothing more comes of an object that is not over.
    pub(super) fn finish(&mut self, calls: &mut Calls) {
        let text = std::mem::take(&mut self.text);
        match (&self.place, self.role) {
            (Place::Text { .. } | Place::Scalar, Role::Arguments | Role::Other) => {
                self.take(&text, calls);
            }
            (Place::Text { .. }, Role::Key) => self.keep(&text),
            _ => {}
        }
        calls.other(std::mem::take(&mut self.other));
    }

    fn tail(
        &mut self,
        form: &CallForm,
        input: &Input,
        at: &mut usize,
        calls: &mut Calls,
    ) -> Option<Step> {
        match input.byte(*at) {
            Some(b']') if self.in_list => {
                self.in_list = false;
                *at += 1;
                return None;
            }
            Some(byte) if self.in_list && byte.is_ascii_whitespace() => {
                *at += 1;
                return None;
            }
            _ => {}
        }
        match after(form, input, *at, calls) {
            After::More => Some(Step::More),
            After::Closed(end) => {
                *at = end;
                Some(Step::Done)
            }
            After::Next(next) if input.byte(next) == Some(b'{') => {
                *at = next;
                self.begin(at);
                None
            }
            _ => Some(Step::Done),
        }
    }
}

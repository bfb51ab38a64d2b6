//! Writes values in the spellings that models use as JSON: Python's, bare keys, marked strings, and JSON
//! that is slightly wrong. Nothing is evaluated, and nesting is bounded.

mod words;

use std::fmt::Write as _;

/// Deeper nesting is refused.
const DEEPEST: usize = 100;
const UNNAMED: &str = "arguments must be given by name";
const UNCLOSED: &str = "its end is missing";

/// A spelling.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dialect<'a> {
    /// JSON; all else is odd.
    Json,
    /// Bare keys, and strings between these markers.
    Marked(&'a [[String; 2]]),
    /// `key=value, …` as in a call, and Python's literals.
    Keywords,
}

/// A value as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) json: String,
    /// What the dialect does not have, if anything.
    pub(super) odd: Option<String>,
}

/// Reads all of `text` as one object.
pub(super) fn object(text: &str, dialect: Dialect) -> Result<Read, String> {
    let mut reader = Reader {
        rest: text,
        dialect,
        json: String::with_capacity(text.len() + 2),
        odd: None,
    };
    reader.space();
    match dialect {
        Dialect::Keywords => reader.members("", 0)?,
        _ if reader.take("{") => reader.members("}", 1)?,
        _ => return Err("the arguments are not an object".to_owned()),
    }
    reader.space();
    let over = reader
        .rest
        .trim_matches(|c: char| c.is_whitespace() || "}]`".contains(c));
    if !over.is_empty() {
        return Err("there is text after the arguments".to_owned());
    }
    if !reader.rest.is_empty() {
        reader.note("something stands after the arguments");
    }
    Ok(Read {
        json: reader.json,
        odd: reader.odd.map(str::to_owned),
    })
}

/// `text` as a JSON string.
pub(super) fn quote(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_quoted(&mut json, text);
    json
}

/// The text of a string in single or double quotes, if it is whole.
pub(super) fn unquote(text: &str) -> Option<String> {
    if let Ok(plain) = serde_json::from_str(text) {
        return Some(plain);
    }
    let mut reader = Reader {
        rest: text,
        dialect: Dialect::Json,
        json: String::new(),
        odd: None,
    };
    let quote = text.chars().next().filter(|c| "\"'".contains(*c))?;
    reader.take_char();
    reader.string(quote).ok()
}

fn push_quoted(json: &mut String, text: &str) {
    json.push('"');
    let mut rest = text;
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    while let Some(at) = rest.bytes().position(is_special) {
        json.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'\n' => json.push_str("\\n"),
            b'\r' => json.push_str("\\r"),
            b'\t' => json.push_str("\\t"),
            control if control < b' ' => {
                let _ = write!(json, "\\u{control:04x}");
            }
            other => {
                json.push('\\');
                json.push(other as char);
            }
        }
        rest = &rest[at + 1..];
    }
    json.push_str(rest);
    json.push('"');
}

struct Reader<'a> {
    rest: &'a str,
    dialect: Dialect<'a>,
    json: String,
    odd: Option<&'static str>,
}

impl Reader<'_> {
    fn note(&mut self, odd: &'static str) {
        self.odd.get_or_insert(odd);
    }

    /// What is odd in JSON only.
    fn note_json(&mut self, odd: &'static str) {
        if matches!(self.dialect, Dialect::Json) {
            self.note(odd);
        }
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take_char(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// Skips white space and comments.
    fn space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let end = match self.rest.as_bytes() {
                [b'/', b'/', ..] | [b'#', ..] => self.rest.find('\n'),
                [b'/', b'*', ..] => self.rest.find("*/").map(|at| at + 2),
                _ => return,
            };
            self.note("there is a comment");
            self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
        }
    }

    /// The members of an object up to `close`, or keywords up to the end.
    fn members(&mut self, close: &str, depth: usize) -> Result<(), String> {
        self.json.push('{');
        let is_call = close.is_empty();
        let mut is_first = true;
        loop {
            self.space();
            if !is_call && self.take(close) {
                break;
            }
            if !is_first && !self.rest.is_empty() {
                if !self.take(",") {
                    return Err("a comma is missing between two arguments".to_owned());
                }
                self.space();
                if !is_call && self.take(close) {
                    self.note_json("there is a comma too many");
                    break;
                }
            }
            if self.rest.is_empty() {
                if !is_call {
                    self.note(UNCLOSED);
                }
                break;
            }
            if !is_first {
                self.json.push_str(", ");
            }
            is_first = false;
            self.key(is_call)?;
            self.space();
            if !self.take(if is_call { "=" } else { ":" }) {
                let wrong = if is_call {
                    UNNAMED
                } else {
                    "a key has no value"
                };
                return Err(wrong.to_owned());
            }
            self.json.push_str(": ");
            self.space();
            self.value(depth)?;
        }
        self.json.push('}');
        Ok(())
    }

    fn key(&mut self, is_call: bool) -> Result<(), String> {
        let next = self.rest.chars().next().unwrap_or_default();
        if let (false, Some(text)) = (is_call, self.marked()) {
            push_quoted(&mut self.json, &text);
            return Ok(());
        }
        if !is_call && (next == '"' || next == '\'') {
            self.take_char();
            if next == '\'' {
                self.note_json("a string stands in single quotes");
            }
            let key = self.string(next)?;
            push_quoted(&mut self.json, &key);
            return Ok(());
        }
        let is_word = |c: char| c.is_alphanumeric() || "_-.$".contains(c);
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        if end == 0 {
            let wrong = if is_call {
                UNNAMED
            } else {
                "a key is not a string"
            };
            return Err(wrong.to_owned());
        }
        self.note_json("a key stands without quotes");
        let (key, rest) = self.rest.split_at(end);
        push_quoted(&mut self.json, key);
        self.rest = rest;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        if let Some(text) = self.marked() {
            push_quoted(&mut self.json, &text);
            return Ok(());
        }
        let is_python = matches!(self.dialect, Dialect::Keywords);
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                self.take_char();
                if quote == '\'' && !is_python {
                    self.note("a string stands in single quotes");
                }
                let text = self.string(quote)?;
                push_quoted(&mut self.json, &text);
                Ok(())
            }
            Some('{' | '[' | '(') if depth >= DEEPEST => {
                Err("the arguments are nested too deeply".to_owned())
            }
            Some('{') => {
                self.take_char();
                self.members("}", depth + 1)
            }
            Some('[') => {
                self.take_char();
                self.list("]", depth + 1)
            }
            Some('(') if is_python => {
                self.take_char();
                self.list(")", depth + 1)
            }
            Some(_) => self.word(),
            None => {
                self.note(UNCLOSED);
                self.json.push_str("null");
                Ok(())
            }
        }
    }

    fn list(&mut self, close: &str, depth: usize) -> Result<(), String> {
        self.json.push('[');
        let mut is_first = true;
        loop {
            self.space();
            if self.take(close) {
                break;
            }
            if !is_first && !self.rest.is_empty() {
                if !self.take(",") {
                    return Err("a comma is missing in a list".to_owned());
                }
                self.space();
                if self.take(close) {
                    self.note_json("there is a comma too many");
                    break;
                }
            }
            if self.rest.is_empty() {
                self.note(UNCLOSED);
                break;
            }
            if !is_first {
                self.json.push_str(", ");
            }
            is_first = false;
            self.value(depth)?;
        }
        self.json.push(']');
        Ok(())
    }

    /// A string between the dialect's markers, if one begins here.
    fn marked(&mut self) -> Option<String> {
        let Dialect::Marked(quotes) = self.dialect else {
            return None;
        };
        for [open, close] in quotes {
            if self.take(open) {
                let end = self.rest.find(close.as_str());
                let text = &self.rest[..end.unwrap_or(self.rest.len())];
                let text = text.to_owned();
                self.rest = &self.rest[text.len()..];
                if !self.take(close) {
                    self.note(UNCLOSED);
                }
                return Some(text);
            }
        }
        None
    }
}

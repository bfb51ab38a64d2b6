//! Writes the rules of a grammar.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::schema::bounded;
use super::{Calls, FreeText};

/// The rules so far.
pub(super) struct Writer<'a> {
    rules: String,
    count: usize,
    /// The texts that are read by their tokens where they are single ones.
    known: &'a [&'a str],
    markers: Vec<String>,
    texts: Vec<FreeText>,
    has_space: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(known: &'a [&'a str]) -> Self {
        Self {
            rules: String::new(),
            count: 0,
            known,
            markers: Vec::new(),
            texts: Vec::new(),
            has_space: false,
        }
    }

    pub(super) fn finish(self) -> Calls {
        Calls {
            rules: self.rules,
            markers: self.markers,
            texts: self.texts,
        }
    }

    pub(super) fn start(&mut self, body: &str) {
        let _ = writeln!(self.rules, "start: {body}");
    }

    /// The name of a new rule.
    pub(super) fn name(&mut self) -> String {
        self.count += 1;
        format!("rule_{}", self.count)
    }

    /// Adds a rule, and gives its name.
    pub(super) fn rule(&mut self, body: &str) -> String {
        let name = self.name();
        self.define(&name, body);
        name
    }

    pub(super) fn define(&mut self, name: &str, body: &str) {
        let _ = writeln!(self.rules, "{name}: {body}");
    }

    /// A little white space.
    pub(super) fn space(&mut self) -> &'static str {
        if !self.has_space {
            self.has_space = true;
            self.rules.push_str("SPACE: /[ \\n]{1,2}/\n");
        }
        "SPACE"
    }

    /// A marker, as what it is in the model's vocabulary.
    pub(super) fn marker(&mut self, text: &str) -> String {
        if !self.known.contains(&text) {
            return quoted(text);
        }
        format!("mark_{}", self.number(text))
    }

    fn number(&mut self, marker: &str) -> usize {
        let known = self.markers.iter().position(|one| one == marker);
        known.unwrap_or_else(|| {
            self.markers.push(marker.to_owned());
            self.markers.len() - 1
        })
    }

    /// A text up to a marker, and the marker.
    pub(super) fn text(
        &mut self,
        terminal: String,
        may_be_empty: bool,
        before: &str,
        close: &str,
    ) -> String {
        let text = FreeText {
            terminal,
            may_be_empty,
            before: before.to_owned(),
            close: self.number(close),
        };
        self.texts.push(text);
        format!("text_{}", self.texts.len() - 1)
    }

    /// A JSON value that fits a schema.
    pub(super) fn json(&mut self, schema: &Value) -> String {
        let schema = bounded(schema.clone());
        self.rule(&format!("%json {schema}"))
    }
}

/// A text as it stands in a grammar; nothing for none.
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    quoted_json(text)
}

/// A text as a JSON string.
pub(super) fn quoted_json(text: &str) -> String {
    Value::from(text).to_string()
}

/// A regular expression as it stands in a grammar.
pub(super) fn regex(pattern: &str) -> String {
    let mut written = String::from("/");
    let mut all = pattern.chars();
    while let Some(next) = all.next() {
        match next {
            '/' => written.push_str("\\x2F"),
            '\n' => written.push_str("\\n"),
            '\\' => match all.next() {
                Some('/') => written.push_str("\\x2F"),
                Some(escaped) => written.extend(['\\', escaped]),
                None => written.push_str("\\\\"),
            },
            other => written.push(other),
        }
    }
    written.push('/');
    written
}

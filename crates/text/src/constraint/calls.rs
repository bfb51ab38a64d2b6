//! The calls of tools that an answer is to consist of: a grammar, in the spelling of the model's family.
//!
//! Names and arguments are those of the tools; what stands around them is what the model's own template writes.
//! A marker that is a token of its own in the model's vocabulary can come as that token alone, since it is read as
//! such: what it is there is known only with the vocabulary, so it is put in when the grammar is compiled.

mod names;
mod parts;
mod schema;
#[cfg(test)]
mod tests;
mod values;
mod writer;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use self::names::Names;
use self::values::{Place, Style};
use self::writer::{Writer, quoted, quoted_json};
use super::{Marks, Refusal, Vocabulary};
use crate::answer::{Body, CallForm, Format, Tags};
use crate::schema::Tools;

/// The most calls of one answer, so that a model does not lose itself in them.
const MOST_CALLS: usize = 16;

/// Why calls cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schema of the tool {tool:?} {refusal}")]
pub struct CallsProblem {
    /// The tool.
    pub tool: String,
    /// What is wrong with its name or its schema.
    pub refusal: Refusal,
}

/// Calls of tools, and nothing else: one at least.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// A grammar in llguidance's form of Lark, without the rules of markers and of free texts.
    rules: String,
    markers: Vec<String>,
    texts: Vec<FreeText>,
}

/// A text up to a marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FreeText {
    /// What it may be, as a terminal; it does not match an empty text.
    terminal: String,
    may_be_empty: bool,
    /// What stands before the marker, where that is text.
    before: String,
    /// The marker, by its number.
    close: usize,
}

impl Calls {
    /// Calls of these tools: of `only` one, or of any; and a single one, or `many`.
    ///
    /// # Errors
    /// There is no tool, or none of that name; or a tool's arguments cannot be kept to its schema in the way in
    /// which this family calls tools.
    pub fn new(
        format: &Format,
        tools: &Tools,
        only: Option<&str>,
        many: bool,
    ) -> Result<Self, CallsProblem> {
        let all: Vec<Tool> = tools
            .schemas()
            .filter(|(name, _)| only.is_none_or(|only| only == *name))
            .map(|(name, parameters)| Tool::new(name, parameters))
            .collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err(CallsProblem {
                tool: only.unwrap_or_default().to_owned(),
                refusal: Refusal::invalid("cannot be asked for: there is no such tool"),
            });
        }
        let known: Vec<&str> = format.markers();
        let own = format.calls.iter().filter(|form| form.is_own);
        let others = format.calls.iter().filter(|form| !form.is_own);
        let mut problem = None;
        for form in own.chain(others) {
            let mut writer = Writer::new(&known);
            match writer.calls(form, &all, many) {
                Ok(()) => return Ok(writer.finish()),
                Err(found) => drop(problem.get_or_insert(found)),
            }
        }
        Err(problem.unwrap_or_else(|| CallsProblem {
            tool: all[0].name.clone(),
            refusal: values::inexpressible(
                "cannot be asked for: this model's family has no way to call tools",
            ),
        }))
    }

    /// Texts that stand around a call, some of which are tokens of their own.
    #[must_use]
    pub fn markers(&self) -> &[String] {
        &self.markers
    }

    /// What ends the texts in it that would not end by themselves.
    pub(super) fn closings(&self, spelling: Spelling<'_>) -> Vec<String> {
        let closing = |text: &FreeText| {
            let marker = spelling.text(&self.markers[text.close]);
            format!("{}{marker}", text.before)
        };
        self.texts.iter().map(closing).collect()
    }

    /// What it is written with, but for the markers.
    pub(super) fn text(&self) -> &str {
        &self.rules
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// The grammar as Lark.
    pub(super) fn lark(&self, spelling: Spelling<'_>) -> String {
        let mut lark = self.rules.clone();
        for (number, marker) in self.markers.iter().enumerate() {
            let _ = writeln!(lark, "mark_{number}: {}", spelling.marker(marker));
        }
        for (number, text) in self.texts.iter().enumerate() {
            let marker = &self.markers[text.close];
            let _ = writeln!(lark, "TEXT_{number}: {}", text.terminal);
            let _ = if spelling.is_token(marker) {
                let may = if text.may_be_empty { "?" } else { "" };
                writeln!(
                    lark,
                    "text_{number}: TEXT_{number}{may} mark_{}",
                    text.close
                )
            } else {
                let close = quoted(&format!("{}{}", text.before, spelling.text(marker)));
                let _ = writeln!(lark, "full_{number}[suffix={close}]: TEXT_{number}");
                let empty = if text.may_be_empty {
                    format!(" | {close}")
                } else {
                    String::new()
                };
                writeln!(lark, "text_{number}: full_{number}{empty}")
            };
        }
        lark
    }
}

/// How markers are spelled in a grammar.
#[derive(Clone, Copy)]
pub(super) enum Spelling<'a> {
    /// As their text: no model is there yet.
    Unknown,
    /// As their text: the model's tokens are not known.
    Text,
    /// As the tokens that they are, by their ids.
    Tokens(&'a Vocabulary),
    /// As the tokens that they are, by characters that stand for those.
    Marks(&'a Vocabulary, &'a Marks),
}

impl Spelling<'_> {
    pub(super) fn marker(self, marker: &str) -> String {
        match self {
            Self::Unknown | Self::Text | Self::Marks(..) => quoted(&self.text(marker)),
            Self::Tokens(vocabulary) => {
                let parts = vocabulary.marks_in(marker).into_iter();
                let written = parts.map(|part| part.map_or_else(|id| format!("<[{id}]>"), quoted));
                written.collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// A marker as text, where it is no token by its id.
    fn text(self, marker: &str) -> String {
        let Self::Marks(vocabulary, marks) = self else {
            return marker.to_owned();
        };
        let mut text = String::new();
        for part in vocabulary.marks_in(marker) {
            match part {
                Ok(part) => text.push_str(part),
                Err(id) => text.extend(marks.character(id)),
            }
        }
        text
    }

    fn is_token(self, marker: &str) -> bool {
        let Self::Tokens(vocabulary) = self else {
            return false;
        };
        matches!(vocabulary.marks_in(marker).as_slice(), [Err(_)])
    }
}

/// A tool, with the schema of its arguments as they are checked when the call is read.
struct Tool {
    name: String,
    schema: serde_json::Value,
}

impl Tool {
    fn new(name: &str, parameters: &serde_json::Value) -> Result<Self, CallsProblem> {
        let tool = Self {
            name: name.to_owned(),
            schema: schema::of_arguments(parameters),
        };
        let grammar = super::Grammar::JsonSchema(tool.schema.to_string());
        grammar.check().map_err(|refusal| tool.problem(refusal))?;
        Ok(tool)
    }

    fn problem(&self, refusal: Refusal) -> CallsProblem {
        CallsProblem {
            tool: self.name.clone(),
            refusal,
        }
    }
}

impl Writer<'_> {
    /// Writes the calls of these tools in one of the family's ways.
    fn calls(&mut self, form: &CallForm, tools: &[Tool], many: bool) -> Result<(), CallsProblem> {
        let names = Names::of(form);
        let mut bodies = Vec::new();
        for tool in tools {
            names
                .check(&tool.name)
                .map_err(|refusal| tool.problem(refusal))?;
            let body = self
                .body(form, tool)
                .map_err(|refusal| tool.problem(refusal))?;
            bodies.push(self.rule(&body));
        }
        let one = self.rule(&bodies.join(" | "));
        let more = |separator: &str| format!("({separator} {one}){{0,{}}}", MOST_CALLS - 1);
        let space = self.space();
        // The most that may stand between the markers of a call.
        let inside = match &form.body {
            Body::Json { .. } => {
                let listed = if many {
                    more(&format!("{space}? \",\" {space}?"))
                } else {
                    String::new()
                };
                let list = format!("\"[\" {space}? {one} {listed} {space}? \"]\"");
                if form.open.is_empty() && !many {
                    one.clone()
                } else {
                    format!("({one} | {list})")
                }
            }
            Body::Python { in_list: true, .. } => {
                let listed = if many { more("\", \"") } else { String::new() };
                format!("\"[\" {one} {listed} \"]\"")
            }
            _ => one.clone(),
        };
        let Some(open) = form.open.first() else {
            let close = self.close(form);
            self.start(&format!("{inside} {close}"));
            return Ok(());
        };
        let open = self.marker(open);
        let close = self.close(form);
        let around = match &form.body {
            Body::Json { .. } | Body::Tags(_) => format!("{space}?"),
            Body::Python { .. } if open.contains('\n') || form.open[0].ends_with('\n') => {
                "\"\\n\"?".to_owned()
            }
            _ => String::new(),
        };
        let before = match &form.body {
            Body::Tags(tags) if tags.name_open.is_empty() => String::new(),
            Body::Python { .. } => String::new(),
            _ => around.clone(),
        };
        let after = if close.is_empty() {
            String::new()
        } else {
            around
        };
        let call = self.rule(&format!("{open} {before} {inside} {after} {close}"));
        // Without an end of its own, a call may be read on into the next.
        let ends =
            !form.close.is_empty() || matches!(form.body, Body::Tags(_) | Body::Named { .. });
        if many && ends {
            self.start(&format!("{call} ({space}? {call}){{0,{}}}", MOST_CALLS - 1));
        } else {
            self.start(&call);
        }
        Ok(())
    }

    fn close(&mut self, form: &CallForm) -> String {
        form.close
            .first()
            .map_or_else(String::new, |close| self.marker(close))
    }

    /// One call, without the markers around it.
    fn body(&mut self, form: &CallForm, tool: &Tool) -> Result<String, Refusal> {
        let place = Place::new(&tool.schema);
        Ok(match &form.body {
            Body::Json {
                name_keys,
                argument_keys,
            } => {
                let name = quoted_json(&tool.name);
                let (name_key, argument_key) =
                    (quoted_json(&name_keys[0]), quoted_json(&argument_keys[0]));
                let before = quoted(&format!("{{{name_key}: {name}, {argument_key}: "));
                let json = self.json(&tool.schema);
                format!("{before} {json} \"}}\"")
            }
            Body::Named {
                prefix,
                name_end,
                kind,
                quotes,
                ..
            } => {
                let end = name_end
                    .first()
                    .map_or_else(String::new, |end| self.marker(end));
                let arguments = if quotes.is_empty() {
                    self.json(&tool.schema)
                } else {
                    self.arguments(&Style::Marked(&quotes[0]), place)?
                };
                let name = quoted(&format!("{prefix}{}", tool.name));
                let plain = format!("{name} {end} {arguments}");
                match kind {
                    None => plain,
                    Some(kind) => {
                        let (kind, name) =
                            (quoted(kind), quoted(&format!("{}\n```json\n", tool.name)));
                        format!("{plain} | {kind} {end} {name} {arguments} \"\\n```\"")
                    }
                }
            }
            Body::Tags(tags) => self.tags(form, tags, tool)?,
            Body::Python { stand_in, .. } => {
                let arguments = self.arguments(&Style::Python, place)?;
                match stand_in {
                    None => format!("{} {arguments} \")\"", quoted(&format!("{}(", tool.name))),
                    Some(stand_in) => {
                        let before = quoted(&format!("{}\n```python\n{stand_in}(", tool.name));
                        format!("{before} {arguments} \")\\n```\"")
                    }
                }
            }
        })
    }

    fn tags(&mut self, form: &CallForm, tags: &Tags, tool: &Tool) -> Result<String, Refusal> {
        let arguments = self.arguments(&Style::Tags(form, tags), Place::new(&tool.schema))?;
        let name = quoted(&format!("{}{}", tags.name_open, tool.name));
        let is_apart = values::is_apart(form, tags);
        let close = match tags.name_close.first() {
            None => String::new(),
            // The first argument ends it as well.
            Some(close) if close.trim().is_empty() => format!("{}?", quoted(close)),
            Some(close) if is_apart => quoted(&format!("{close}\n")),
            Some(close) => quoted(close),
        };
        let end = self.marker(&tags.end);
        Ok(format!("{name} {close} {arguments} {end}"))
    }
}

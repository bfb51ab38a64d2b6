//! The arguments of a call in spellings other than JSON: Python's, strings between markers, and values between tags.

use serde_json::{Map, Value, json};

use super::super::Refusal;
use super::parts::{Part, flatten, has_only, may_be_text, text};
use super::schema::without_tags;
use super::writer::{Writer, quoted, quoted_json};
use crate::answer::{CallForm, Tags};

/// What stands in a value is not read as the reader of tags reads it.
const CDATA: &str = "<![CDATA[";
/// Keywords of an object that decide which arguments there are.
const DECIDING: &[&str] = &[
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "not",
    "if",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
];
/// A spelling of arguments.
#[derive(Clone, Copy)]
pub(super) enum Style<'a> {
    /// `key=value, …` with Python's literals.
    Python,
    /// An object with bare keys, and strings between these markers.
    Marked(&'a [String; 2]),
    /// Values between tags.
    Tags(&'a CallForm, &'a Tags),
}

/// A schema, and where its references lead.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    schema: &'a Value,
    root: &'a Value,
}

impl<'a> Place<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { schema: root, root }
    }

    fn at(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    /// The schema by itself.
    fn alone(self, schema: &Value) -> Value {
        let mut alone = schema.clone();
        if let Some(all) = alone.as_object_mut() {
            for shared in ["$defs", "definitions"] {
                if let (Some(value), false) = (self.root.get(shared), all.contains_key(shared)) {
                    all.insert(shared.to_owned(), value.clone());
                }
            }
        }
        alone
    }
}

/// What a tool's arguments would need, and this family's way to call has not.
pub(super) fn inexpressible(reason: impl Into<String>) -> Refusal {
    Refusal {
        reason: reason.into(),
        hint: "Pass tool_choice=\"auto\", or give the tool a simpler name or simpler parameters.",
        unsupported: true,
    }
}

/// Whether values stand on lines of their own between their tags.
pub(super) fn is_apart(form: &CallForm, tags: &Tags) -> bool {
    tags.value_open.is_empty() && tags.key[0].ends_with('=') && !form.open.is_empty()
}

impl Writer<'_> {
    /// All arguments of a call.
    pub(super) fn arguments(
        &mut self,
        style: &Style<'_>,
        place: Place<'_>,
    ) -> Result<String, Refusal> {
        let Some(schema) = place.schema.as_object() else {
            return Err(inexpressible("must be described by a schema"));
        };
        if let Some(keyword) = DECIDING
            .iter()
            .find(|keyword| schema.contains_key(**keyword))
        {
            return Err(inexpressible(format!(
                "cannot be asked for: {keyword} beside the properties has no place in this model's way to call tools"
            )));
        }
        let mut items = Vec::new();
        for (key, schema, is_required) in members(schema) {
            if schema == Value::Bool(false) {
                continue;
            }
            let item = self.member(style, &key, place.at(&schema))?;
            items.push((self.rule(&item), is_required));
        }
        Ok(match style {
            Style::Python => self.separated(&items, "\", \""),
            Style::Marked(_) => {
                let all = self.separated(&items, "\",\"");
                format!("\"{{\" {all} \"}}\"")
            }
            Style::Tags(..) => {
                let all: Vec<String> = items
                    .into_iter()
                    .map(|(item, is_required)| {
                        if is_required {
                            item
                        } else {
                            format!("{item}?")
                        }
                    })
                    .collect();
                all.join(" ")
            }
        })
    }

    /// Things in this order, of which some may be left out, with separators between them.
    fn separated(&mut self, items: &[(String, bool)], separator: &str) -> String {
        let (mut first, mut later) = (String::new(), String::new());
        for (item, is_required) in items.iter().rev() {
            let (begun, gone_on) = (
                format!("{item} {later}"),
                format!("{separator} {item} {later}"),
            );
            let (one, other) = if *is_required {
                (begun, gone_on)
            } else {
                (either(&begun, &first), either(&gone_on, &later))
            };
            first = self.rule(&one);
            later = self.rule(&other);
        }
        first
    }

    fn member(
        &mut self,
        style: &Style<'_>,
        key: &str,
        place: Place<'_>,
    ) -> Result<String, Refusal> {
        let is_word = |c: char| c.is_alphanumeric() || "_-.$".contains(c);
        let is_plain = !key.is_empty() && key.chars().all(is_word);
        let unspeakable = || {
            inexpressible(format!(
                "cannot be asked for: this model's way to call tools cannot spell the name {key:?}"
            ))
        };
        match style {
            Style::Python | Style::Marked(_) if !is_plain => Err(unspeakable()),
            Style::Python => {
                let value = self.value(style, place)?;
                Ok(format!("{} {value}", quoted(&format!("{key}="))))
            }
            Style::Marked(_) => {
                let value = self.value(style, place)?;
                Ok(format!("{} {value}", quoted(&format!("{key}:"))))
            }
            Style::Tags(_, tags) => {
                let is_told = key == key.trim() && !key.is_empty() && key.len() <= 128;
                if !is_told || key.contains(['<', '>', '\n']) || key.contains(tags.key[1].as_str())
                {
                    return Err(unspeakable());
                }
                let (before, after) = (self.marker(&tags.key[0]), self.marker(&tags.key[1]));
                let space = if tags.value_open.is_empty() {
                    ""
                } else {
                    "\"\\n\"?"
                };
                let open = if tags.value_open.is_empty() {
                    String::new()
                } else {
                    self.marker(&tags.value_open)
                };
                let value = self.value(style, place)?;
                Ok(format!(
                    "{before} {} {after} {space} {open} {value} \"\\n\"?",
                    quoted(key)
                ))
            }
        }
    }

    fn value(&mut self, style: &Style<'_>, place: Place<'_>) -> Result<String, Refusal> {
        let mut parts = Vec::new();
        flatten(place.schema, place.root, 0, &mut parts);
        let mut all = Vec::new();
        for part in &parts {
            all.push(match style {
                Style::Python => self.python(part, place),
                Style::Marked(quotes) => self.marked(quotes, part, place)?,
                Style::Tags(form, tags) => self.tagged(form, tags, part, place)?,
            });
        }
        if all.is_empty() {
            return Err(inexpressible("cannot be asked for: no value fits"));
        }
        Ok(self.rule(&all.join(" | ")))
    }

    fn python(&mut self, part: &Part, place: Place<'_>) -> String {
        match part {
            Part::Any => self.json(&json!({})),
            Part::Only(value) => quoted(&as_python(value)),
            Part::Other(schema) if schema["type"] == "boolean" => "\"True\" | \"False\"".to_owned(),
            Part::Other(schema) if schema["type"] == "null" => "\"None\"".to_owned(),
            Part::Text(schema) | Part::Other(schema) => self.json(&place.alone(schema)),
        }
    }

    fn marked(
        &mut self,
        [open, close]: &[String; 2],
        part: &Part,
        place: Place<'_>,
    ) -> Result<String, Refusal> {
        Ok(match part {
            Part::Any => self.json(&json!({})),
            Part::Only(Value::String(text)) if !text.contains(close.as_str()) => {
                format!(
                    "{} {} {}",
                    self.marker(open),
                    quoted(text),
                    self.marker(close)
                )
            }
            Part::Only(value) => quoted(&value.to_string()),
            Part::Text(schema) => {
                let (terminal, may_be_empty) = text(schema, &[open, close])?;
                let open = self.marker(open);
                format!("{open} {}", self.text(terminal, may_be_empty, "", close))
            }
            Part::Other(schema) => {
                let style = Style::Marked(&[open.clone(), close.clone()]);
                match schema["type"].as_str() {
                    Some("array")
                        if has_only(schema, &["type", "items", "minItems", "maxItems"]) =>
                    {
                        self.list(&style, schema, place)?
                    }
                    Some("object")
                        if has_only(
                            schema,
                            &["type", "properties", "required", "additionalProperties"],
                        ) && schema.get("properties").is_some() =>
                    {
                        self.arguments(&style, place.at(schema))?
                    }
                    _ => self.json(&place.alone(schema)),
                }
            }
        })
    }

    fn list(
        &mut self,
        style: &Style<'_>,
        schema: &Value,
        place: Place<'_>,
    ) -> Result<String, Refusal> {
        let any = Value::Bool(true);
        let item = self.value(style, place.at(schema.get("items").unwrap_or(&any)))?;
        let count = |key: &str| schema.get(key).and_then(Value::as_u64);
        let (least, most) = (count("minItems").unwrap_or(0), count("maxItems"));
        if most == Some(0) {
            return Ok("\"[]\"".to_owned());
        }
        let from = least.saturating_sub(1);
        let to = most.map_or_else(String::new, |most| (most - 1).to_string());
        let full = format!("\"[\" {item} (\",\" {item}){{{from},{to}}} \"]\"");
        Ok(if least == 0 {
            format!("\"[]\" | {full}")
        } else {
            full
        })
    }

    /// A value between tags, with the tag that ends it.
    fn tagged(
        &mut self,
        form: &CallForm,
        tags: &Tags,
        part: &Part,
        place: Place<'_>,
    ) -> Result<String, Refusal> {
        let line = if is_apart(form, tags) { "\n" } else { "" };
        let close = self.marker(&tags.value_close);
        // What would end the value where it stands.
        let mut ends = vec![tags.value_close.as_str(), &tags.key[0], &tags.end, CDATA];
        ends.extend(form.close.iter().map(String::as_str));
        let only = |written: &str| format!("{} {close}", quoted(&format!("{line}{written}{line}")));
        let (terminal, may_be_empty) = match part {
            Part::Any => text(&json!({}), &ends)?,
            Part::Text(schema) => text(schema, &ends)?,
            Part::Only(Value::String(written)) => {
                let is_read = !ends.iter().any(|end| written.contains(end))
                    && written.trim_matches('\n') == written;
                return if is_read {
                    Ok(only(written))
                } else {
                    Err(inexpressible(format!(
                        "cannot be asked for: this model's way to call tools cannot spell {written:?}"
                    )))
                };
            }
            Part::Only(value) => return Ok(only(&value.to_string())),
            Part::Other(schema) if may_be_text(schema, place.root) => {
                return Err(inexpressible(
                    "cannot be asked for: this model writes strings without quotes, and one of them may be a string or something else by rules that cannot be told apart",
                ));
            }
            Part::Other(schema) => {
                let json = self.json(&without_tags(&place.alone(schema)));
                let line = quoted(line);
                return Ok(format!("{line} {json} {line} {close}"));
            }
        };
        let text = self.text(terminal, may_be_empty, line, &tags.value_close);
        Ok(format!("{} {text}", quoted(line)))
    }
}

fn either(one: &str, other: &str) -> String {
    if other.is_empty() {
        format!("[{one}]")
    } else {
        format!("{one} | {other}")
    }
}

/// The arguments of an object: key, schema, and whether it must come.
fn members(schema: &Map<String, Value>) -> Vec<(String, Value, bool)> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let named = properties.into_iter().flatten();
    let mut all: Vec<(String, Value, bool)> = named
        .map(|(key, schema)| {
            (
                key.clone(),
                schema.clone(),
                required.contains(&key.as_str()),
            )
        })
        .collect();
    for key in required {
        if !all.iter().any(|(known, _, _)| known == key) {
            all.push((key.to_owned(), Value::Bool(true), true));
        }
    }
    all
}

/// A value as Python's literal.
fn as_python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(as_python).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Object(all) => {
            let all: Vec<String> = all
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted_json(key), as_python(value)))
                .collect();
            format!("{{{}}}", all.join(", "))
        }
        other => other.to_string(),
    }
}

//! What a value may be by its schema: taken apart into what is spelled alike.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::super::Refusal;
use super::super::references::referred;
use super::values::inexpressible;
use super::writer::{quoted_json, regex};

/// References within unions are followed so far.
const DEEPEST: usize = 8;
/// Keywords that say nothing of a value.
const SILENT: &[&str] = &[
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "$defs",
    "definitions",
    "$id",
    "$schema",
    "format",
    "nullable",
    "strict",
    "discriminator",
];

/// One of the things that a value may be.
pub(super) enum Part {
    Any,
    Only(Value),
    /// A string; its schema.
    Text(Value),
    Other(Value),
}

/// What a value may be, taken apart as far as unions go.
pub(super) fn flatten(schema: &Value, root: &Value, depth: usize, parts: &mut Vec<Part>) {
    let Some(all) = schema.as_object() else {
        if schema == &Value::Bool(true) {
            parts.push(Part::Any);
        }
        return;
    };
    let told: Vec<&str> = all
        .keys()
        .map(String::as_str)
        .filter(|key| !SILENT.contains(key))
        .collect();
    let one = match told.as_slice() {
        [] => return parts.push(Part::Any),
        [one] => *one,
        _ => "",
    };
    if let (Some(values), true) = (
        all.get("enum").and_then(Value::as_array),
        told.iter().all(|key| matches!(*key, "enum" | "type")),
    ) {
        let fits = values
            .iter()
            .filter(|value| is_of_type(value, all.get("type")));
        return parts.extend(fits.cloned().map(Part::Only));
    }
    if let (Some(value), true) = (
        all.get("const"),
        told.iter().all(|key| matches!(*key, "const" | "type")),
    ) {
        return parts.push(Part::Only(value.clone()));
    }
    match (one, all.get("type")) {
        _ if depth > DEEPEST => parts.push(Part::Other(schema.clone())),
        ("$ref", _) => match root.as_object().and_then(|root| referred(all, root)) {
            Some(found) => flatten(&Value::Object(found.clone()), root, depth + 1, parts),
            None => parts.push(Part::Other(schema.clone())),
        },
        ("anyOf" | "oneOf", _) => {
            let choices = all[one].as_array().into_iter().flatten();
            for choice in choices {
                flatten(choice, root, depth + 1, parts);
            }
        }
        ("allOf", _) if all[one].as_array().is_some_and(|all| all.len() == 1) => {
            flatten(&all[one][0], root, depth + 1, parts);
        }
        (_, Some(Value::Array(kinds)))
            if !all.contains_key("enum") && !all.contains_key("const") =>
        {
            for kind in kinds {
                let mut single = all.clone();
                single.insert("type".to_owned(), kind.clone());
                flatten(&Value::Object(single), root, depth + 1, parts);
            }
        }
        (_, Some(Value::String(kind))) if kind == "string" => {
            let known = ["type", "minLength", "maxLength", "pattern"];
            parts.push(if told.iter().all(|key| known.contains(key)) {
                Part::Text(schema.clone())
            } else {
                Part::Other(schema.clone())
            });
        }
        _ => parts.push(Part::Other(schema.clone())),
    }
}

fn is_of_type(value: &Value, kind: Option<&Value>) -> bool {
    let is = |kind: &str| match kind {
        "string" => value.is_string(),
        "integer" | "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => true,
    };
    match kind {
        Some(Value::String(kind)) => is(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

pub(super) fn has_only(schema: &Value, known: &[&str]) -> bool {
    let keys = schema.as_object().into_iter().flat_map(Map::keys);
    let mut told = keys.map(String::as_str).filter(|key| !SILENT.contains(key));
    told.all(|key| known.contains(&key))
}

/// Whether a value that fits may be a string.
pub(super) fn may_be_text(schema: &Value, root: &Value) -> bool {
    let Some(all) = schema.as_object() else {
        return true;
    };
    match all.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => match root.as_object().and_then(|root| referred(all, root)) {
            Some(found) => found
                .get("type")
                .is_none_or(|kind| kind != "object" && kind != "array"),
            None => true,
        },
    }
}

/// A string without quotes as a terminal, which does not match an empty one; and whether it may be empty.
pub(super) fn text(schema: &Value, without: &[&str]) -> Result<(String, bool), Refusal> {
    let count = |key: &str| schema.get(key).and_then(Value::as_u64);
    let (least, most) = (count("minLength").unwrap_or(0), count("maxLength"));
    let to = most.map_or_else(String::new, |most| most.to_string());
    let mut terminal = format!("/(?s:.{{{},{to}}})/", least.max(1));
    let pattern = schema.get("pattern").and_then(Value::as_str);
    if let Some(pattern) = pattern {
        let Some(whole) = whole(pattern) else {
            return Err(inexpressible(format!(
                "cannot be asked for: the pattern {pattern:?} cannot be enforced in a string without quotes"
            )));
        };
        terminal.push_str(" & ");
        terminal.push_str(&regex(&whole));
    }
    if most == Some(0) {
        return Err(inexpressible(
            "cannot be asked for: one of them must be an empty string",
        ));
    }
    let all: Vec<String> = without.iter().map(|text| quoted_json(text)).collect();
    let _ = write!(terminal, " & ~(/(?s:.*)/ ({}) /(?s:.*)/)", all.join(" | "));
    Ok((terminal, least == 0 && pattern.is_none()))
}

/// A pattern that a text contains, as one that it matches as a whole.
fn whole(pattern: &str) -> Option<String> {
    let (begins, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let is_escaped = |text: &str| text.len() - text.trim_end_matches('\\').len();
    let (ends, rest) = match rest.strip_suffix('$') {
        Some(inner) if is_escaped(inner) % 2 == 0 => (true, inner),
        _ => (false, rest),
    };
    if (begins || ends) && has_alternatives(rest) {
        return None;
    }
    let any = |is_there: bool| if is_there { "" } else { "(?s:.*)" };
    let inner = llguidance::regex_to_lark(rest, "dw");
    Some(format!("{}(?:{inner}){}", any(begins), any(ends)))
}

/// Whether it is several patterns.
fn has_alternatives(pattern: &str) -> bool {
    let (mut depth, mut in_class, mut all) = (0_usize, false, pattern.chars());
    while let Some(next) = all.next() {
        match next {
            '\\' => drop(all.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => depth = depth.saturating_sub(1),
            '|' if !in_class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

//! Whether a value that fits a schema can ever be whole: one that must contain itself cannot.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::schema::{named, parts};
use crate::schema::reference::target;

/// A reference of a schema to a part that no value of finite length fits, with its place, if all values are of it.
pub(super) fn endless(root: &Value) -> Option<(String, String)> {
    let mut references = Vec::new();
    gather(root, "", &mut references);
    let mut ending = HashSet::new();
    loop {
        let known = ending.len();
        for (to, _) in &references {
            if !ending.contains(to.as_str())
                && target(root, to).is_none_or(|part| ends(part, &ending))
            {
                ending.insert(to.as_str());
            }
        }
        if ending.len() == known {
            break;
        }
    }
    if ends(root, &ending) {
        return None;
    }
    let found = references
        .iter()
        .find(|(to, _)| !ending.contains(to.as_str()));
    found.cloned()
}

/// All references in a schema, each with its place.
pub(super) fn gather(schema: &Value, place: &str, references: &mut Vec<(String, String)>) {
    if let Some(to) = schema.get("$ref").and_then(Value::as_str) {
        references.push((to.to_owned(), place.to_owned()));
    }
    for (name, part) in parts(schema) {
        gather(part, &format!("{place}{}", named(&name)), references);
    }
}

/// Whether a value can be whole, where those of these references can; in doubt it can.
fn ends(schema: &Value, ending: &HashSet<&str>) -> bool {
    let Some(schema) = schema.as_object() else {
        return true;
    };
    if schema.contains_key("enum") || schema.contains_key("const") {
        return true;
    }
    let refers = schema.get("$ref").and_then(Value::as_str);
    let all = |name: &str| {
        schema
            .get(name)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
    };
    let any = |name: &str| {
        all(name).is_none_or(|all| all.is_empty() || all.iter().any(|part| ends(part, ending)))
    };
    refers.is_none_or(|to| ending.contains(to))
        && all("allOf")
            .unwrap_or_default()
            .iter()
            .all(|part| ends(part, ending))
        && any("anyOf")
        && any("oneOf")
        && object_ends(schema, ending)
        && list_ends(schema, ending)
}

fn object_ends(schema: &Map<String, Value>, ending: &HashSet<&str>) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    let properties = schema.get("properties").and_then(Value::as_object);
    let (Some("object"), Some(required), Some(properties)) = (kind(schema), required, properties)
    else {
        return true;
    };
    let names = required.iter().filter_map(Value::as_str);
    names
        .filter_map(|name| properties.get(name))
        .all(|part| ends(part, ending))
}

fn list_ends(schema: &Map<String, Value>, ending: &HashSet<&str>) -> bool {
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    let (Some("array"), Ok(least)) = (kind(schema), usize::try_from(least)) else {
        return true;
    };
    let first = schema.get("prefixItems").and_then(Value::as_array);
    let first = first.map(Vec::as_slice).unwrap_or_default();
    first.iter().take(least).all(|part| ends(part, ending))
        && (least <= first.len() || schema.get("items").is_none_or(|part| ends(part, ending)))
}

fn kind(schema: &Map<String, Value>) -> Option<&str> {
    schema.get("type").and_then(Value::as_str)
}

//! The schema of a tool's arguments, with all that is checked when a call of it is read.

use serde_json::{Value, json};

use super::super::references::referred;

/// References that lead to references end after so many.
const DEEPEST: usize = 8;

/// The schema that arguments are kept to: an object, which has no arguments but those that are named.
pub(super) fn of_arguments(parameters: &Value) -> Value {
    let mut root = parameters.clone();
    close_tuples(&mut root);
    let Value::Object(mut root) = root else {
        // A tool without a schema takes none.
        return json!({"type": "object", "properties": {}, "additionalProperties": false});
    };
    for _ in 0..DEEPEST {
        let Some(target) = referred(&root, &root) else {
            break;
        };
        let mut target = target.clone();
        for shared in ["$defs", "definitions"] {
            if let (Some(value), false) = (root.get(shared), target.contains_key(shared)) {
                target.insert(shared.to_owned(), value.clone());
            }
        }
        root = target;
    }
    let is_composed = ["anyOf", "oneOf", "allOf", "$ref"]
        .iter()
        .any(|key| root.contains_key(*key));
    if !is_composed {
        root.entry("type").or_insert_with(|| "object".into());
        root.entry("properties").or_insert_with(|| json!({}));
    }
    let is_open =
        root.contains_key("patternProperties") || root.contains_key("additionalProperties");
    if root.contains_key("properties") && !is_open {
        root.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Value::Object(root)
}

/// A tuple has all its items, and no more.
fn close_tuples(schema: &mut Value) {
    match schema {
        Value::Object(all) => {
            let length = all
                .get("prefixItems")
                .and_then(Value::as_array)
                .map(Vec::len);
            if let (Some(length), false) = (length, all.contains_key("items")) {
                all.insert("items".to_owned(), Value::Bool(false));
                all.entry("minItems").or_insert_with(|| length.into());
            }
            for (key, part) in all.iter_mut() {
                if !matches!(key.as_str(), "enum" | "const" | "default" | "examples") {
                    close_tuples(part);
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(close_tuples),
        _ => {}
    }
}

/// A string that no tag can stand in.
const WITHOUT_TAGS: &str = "^[^<]*$";

/// The same schema for strings in which no tag can stand: a value between tags would end there.
pub(super) fn without_tags(schema: &Value) -> Value {
    let Value::Object(all) = schema else {
        return if schema == &Value::Bool(true) {
            any()
        } else {
            schema.clone()
        };
    };
    let mut all = all.clone();
    for (key, part) in &mut all {
        match (key.as_str(), part) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(parts),
            ) => {
                for part in parts.values_mut() {
                    *part = without_tags(part);
                }
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(parts)) => {
                for part in parts.iter_mut() {
                    *part = without_tags(part);
                }
            }
            ("items", part) => *part = without_tags(part),
            _ => {}
        }
    }
    let is = |kind: &str| match all.get("type") {
        Some(Value::String(only)) => only == kind,
        Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
        _ => false,
    };
    let (text, object, array) = (is("string"), is("object"), is("array"));
    let is_told = ["type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"];
    if !is_told.iter().any(|key| all.contains_key(*key)) {
        return any();
    }
    if array && !all.contains_key("items") && !all.contains_key("prefixItems") {
        all.insert("items".to_owned(), any());
    }
    if object {
        let more = all
            .remove("additionalProperties")
            .unwrap_or(Value::Bool(true));
        let is_named = all
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|named| !named.is_empty());
        if !is_named && !all.contains_key("patternProperties") && more != Value::Bool(false) {
            all.insert(
                "patternProperties".to_owned(),
                json!({ WITHOUT_TAGS: without_tags(&more) }),
            );
        }
        all.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if !text || all.contains_key("enum") || all.contains_key("const") {
        return Value::Object(all);
    }
    if all.contains_key("pattern") {
        return json!({"allOf": [all, {"type": "string", "pattern": WITHOUT_TAGS}]});
    }
    all.insert("pattern".to_owned(), WITHOUT_TAGS.into());
    Value::Object(all)
}

fn any() -> Value {
    json!({"anyOf": [{"type": "string", "pattern": WITHOUT_TAGS}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}]})
}

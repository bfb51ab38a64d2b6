//! JSON schemas as llguidance takes them, and where in one a fault is.

use serde_json::{Map, Value, json};

use super::Refusal;

/// White space between the parts of a value: enough for an indented answer, too little to lose oneself in.
const WHITE_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,16}";
/// The most properties of one object: the time that they take grows with their square.
const PROPERTIES: usize = 1000;
/// The most schemas in a schema.
const SCHEMAS: usize = 5000;
/// Schemas with more parts are not searched for the place of a fault.
const SEARCHED: usize = 400;

pub(super) fn parsed(text: &str) -> Result<Value, Refusal> {
    let schema: Value = serde_json::from_str(text)
        .map_err(|error| Refusal::invalid(format!("must be JSON: {error}")))?;
    if !schema.is_object() && !schema.is_boolean() {
        return Err(Refusal::invalid("must be a JSON object"));
    }
    let mut schemas = 0;
    count(&schema, &mut schemas)?;
    Ok(schema)
}

/// Refuses what would take too long.
fn count(schema: &Value, schemas: &mut usize) -> Result<(), Refusal> {
    *schemas += 1;
    if *schemas > SCHEMAS {
        return Err(Refusal::too_large(format!(
            "must have at most {SCHEMAS} parts"
        )));
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        if properties.len() > PROPERTIES {
            return Err(Refusal::too_large(format!(
                "must have at most {PROPERTIES} properties in an object, got {}",
                properties.len()
            )));
        }
    }
    parts(schema)
        .iter()
        .try_for_each(|(_, part)| count(part, schemas))
}

/// The schema with white space that ends.
pub(super) fn bounded(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        Value::Bool(true) => Map::new(),
        other => return other,
    };
    let options = json!({ "whitespace_flexible": true, "whitespace_pattern": WHITE_SPACE });
    schema.insert("x-guidance".to_owned(), options);
    Value::Object(schema)
}

/// The refusal of a schema, with the place in it: the innermost part that is refused for the same reason.
pub(super) fn placed(text: &str, refusal: Refusal) -> Refusal {
    let Ok(Value::Object(root)) = parsed(text) else {
        return refusal;
    };
    let mut place = String::new();
    let mut here = Value::Object(root.clone());
    let mut left = SEARCHED;
    'deeper: loop {
        for (name, part) in parts(&here) {
            if left == 0 {
                return refusal;
            }
            left -= 1;
            if refused_alike(&root, &part, &refusal) {
                place.push_str(&name);
                here = part;
                continue 'deeper;
            }
        }
        break;
    }
    if place.is_empty() {
        return refusal;
    }
    let place = place.trim_start_matches('.');
    Refusal {
        reason: format!("{} (at {place})", refusal.reason),
        ..refusal
    }
}

/// The schemas within a schema, with what leads to them.
fn parts(schema: &Value) -> Vec<(String, Value)> {
    let Some(schema) = schema.as_object() else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    for (name, value) in schema {
        match (name.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(all)) => {
                let named =
                    |(key, part): (&String, &Value)| (format!(".{name}.{key}"), part.clone());
                parts.extend(all.iter().map(named));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(all)) => {
                let placed = |(at, part): (usize, &Value)| (format!(".{name}[{at}]"), part.clone());
                parts.extend(all.iter().enumerate().map(placed));
            }
            ("items" | "additionalItems" | "additionalProperties", Value::Object(_)) => {
                parts.push((format!(".{name}"), value.clone()));
            }
            _ => {}
        }
    }
    parts
}

/// Whether a part is refused by itself for the same reason; what it refers to is there as in the whole.
fn refused_alike(root: &Map<String, Value>, part: &Value, refusal: &Refusal) -> bool {
    let Value::Object(mut part) = part.clone() else {
        return false;
    };
    for shared in ["$defs", "definitions", "$schema"] {
        if let (Some(value), false) = (root.get(shared), part.contains_key(shared)) {
            part.insert(shared.to_owned(), value.clone());
        }
    }
    let grammar = llguidance::api::TopLevelGrammar::from_json_schema(bounded(Value::Object(part)));
    let made = super::plain().and_then(|factory| {
        let made = factory.create_parser(grammar);
        made.map_err(|error| Refusal::of(&error.to_string()))
    });
    made.err()
        .is_some_and(|other| other.reason == refusal.reason)
}

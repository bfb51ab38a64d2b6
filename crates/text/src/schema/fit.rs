//! Whether a value fits a schema.

use std::fmt;

use serde_json::{Map, Value};

use super::json::{Json, Object};
use super::reference;

/// How deep schema and value may be nested together.
const DEEPEST: usize = 64;
/// How many schemas are looked at before the rest is taken as fitting.
const STEPS: usize = 100_000;

/// Each item of a longer list is not compared with each other.
const MOST_COMPARED: usize = 1000;

/// Whether `arguments` fit `schema`, the schema of a tool.
pub(super) fn arguments(schema: &Value, arguments: &Object<'_>) -> Result<(), String> {
    let mut fit = Fit {
        root: schema,
        steps: 0,
    };
    fit.object(schema, arguments, &At::Arguments, 0)
}

/// What is looked at. Words are made of it only for an error.
enum At<'a> {
    /// All of the arguments.
    Arguments,
    Key(&'a str, &'a At<'a>),
    Item(usize, &'a At<'a>),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments => Ok(()),
            Self::Key(key, Self::Arguments) => write!(f, "argument {key:?}"),
            Self::Key(key, of) => write!(f, "{key:?} of {of}"),
            Self::Item(index, of) => write!(f, "item {index} of {of}"),
        }
    }
}

/// The types that a schema allows, also through unions and references.
pub(super) fn types<'a>(schema: &'a Value, root: &'a Value) -> Vec<&'a str> {
    let mut all = Vec::new();
    add_types(schema, root, 0, &mut all);
    all
}

fn add_types<'a>(schema: &'a Value, root: &'a Value, depth: usize, all: &mut Vec<&'a str>) {
    if depth > 8 || all.len() > 16 {
        return;
    }
    match schema.get("type") {
        Some(Value::String(kind)) => all.push(kind),
        Some(Value::Array(kinds)) => all.extend(kinds.iter().filter_map(Value::as_str).take(8)),
        _ => {}
    }
    if let (true, Some(list)) = (all.is_empty(), schema.get("enum").and_then(Value::as_array)) {
        if !list.is_empty() && list.iter().all(Value::is_string) {
            all.push("string");
        }
    }
    for union in ["anyOf", "oneOf"] {
        let choices = schema.get(union).and_then(Value::as_array);
        for choice in choices.into_iter().flatten().take(16) {
            add_types(choice, root, depth + 1, all);
        }
    }
    if let Some(target) = target(schema, root) {
        add_types(target, root, depth + 1, all);
    }
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        all.push("null");
    }
}

/// What a `$ref` within the schema points to.
fn target<'a>(schema: &Value, root: &'a Value) -> Option<&'a Value> {
    reference::target(root, schema.get("$ref")?.as_str()?)
}

struct Fit<'a> {
    root: &'a Value,
    steps: usize,
}

impl Fit<'_> {
    /// Whether `value` fits `schema`; `at` says what it is.
    fn value(
        &mut self,
        schema: &Value,
        value: &Json<'_>,
        at: &At<'_>,
        depth: usize,
    ) -> Result<(), String> {
        self.steps += 1;
        if self.steps > STEPS {
            return Ok(());
        }
        if depth > DEEPEST {
            return Err(format!("{at} is nested too deeply"));
        }
        if schema == &Value::Bool(false) {
            return Err(format!("{at} is not allowed"));
        }
        let Some(rules) = schema.as_object() else {
            return Ok(());
        };
        if matches!(value, Json::Null) && rules.get("nullable") == Some(&Value::Bool(true)) {
            return Ok(());
        }
        if rules.contains_key("$ref") {
            return match target(schema, self.root) {
                Some(target) => self.value(target, value, at, depth + 1),
                None => Ok(()),
            };
        }
        if let Some(kinds) = rules.get("type") {
            is_of_type(kinds, value, at)?;
        }
        if let Some(allowed) = rules.get("enum").and_then(Value::as_array) {
            if !allowed.contains(&value.to_value()) {
                let list = Value::from(allowed.iter().take(20).cloned().collect::<Vec<_>>());
                return Err(format!("{at} must be one of {list}, got {}", shown(value)));
            }
        }
        if let Some(only) = rules.get("const") {
            if *only != value.to_value() {
                return Err(format!("{at} must be {only}, got {}", shown(value)));
            }
        }
        self.unions(rules, value, at, depth)?;
        match value {
            Json::Object(object) => self.object(schema, object, at, depth),
            Json::List(items) => self.list(rules, items, at, depth),
            Json::Text(text) => {
                let length = text.chars().count() as f64;
                bounds(rules, length, ["minLength", "maxLength"], at, "characters")
            }
            Json::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                in_range(rules, number, at)?;
                match rules.get("multipleOf").and_then(Value::as_f64) {
                    Some(step) if step != 0.0 && !is_multiple(number, step) => {
                        Err(format!("{at} must be a multiple of {step}, got {number}"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn unions(
        &mut self,
        rules: &Map<String, Value>,
        value: &Json<'_>,
        at: &At<'_>,
        depth: usize,
    ) -> Result<(), String> {
        for every in rules
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.value(every, value, at, depth + 1)?;
        }
        for union in ["anyOf", "oneOf"] {
            let Some(choices) = rules.get(union).and_then(Value::as_array) else {
                continue;
            };
            let mut wrong = None;
            let does_fit = choices.iter().any(|choice| {
                let found = self.value(choice, value, at, depth + 1);
                let fits = found.is_ok();
                wrong = found.err().or(wrong.take());
                fits
            });
            if !does_fit && !choices.is_empty() {
                return Err(match (choices.len(), wrong) {
                    (1, Some(wrong)) => wrong,
                    _ => format!("{at} fits none of the {} kinds allowed", choices.len()),
                });
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        schema: &Value,
        object: &Object<'_>,
        at: &At<'_>,
        depth: usize,
    ) -> Result<(), String> {
        let is_root = matches!(at, At::Arguments);
        if is_root && schema.get("$ref").is_some() {
            if let (Some(target), true) = (target(schema, self.root), depth < 8) {
                return self.object(target, object, at, depth + 1);
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        // What they match is not looked at here.
        let has_patterns = schema.get("patternProperties").is_some();
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !object.iter().any(|(name, _)| name == key) {
                return Err(format!("{} is missing", At::Key(key, at)));
            }
        }
        for (key, value) in object {
            if let Some(schema) = properties.and_then(|all| all.get(&**key)) {
                self.value(schema, value, &At::Key(key, at), depth + 1)?;
                continue;
            }
            match schema.get("additionalProperties") {
                _ if has_patterns => {}
                Some(Value::Bool(false)) => return Err(unknown(key, at, properties)),
                // A tool takes no arguments but those it names.
                None if is_root && properties.is_some() => {
                    return Err(unknown(key, at, properties));
                }
                Some(more @ Value::Object(_)) => {
                    self.value(more, value, &At::Key(key, at), depth + 1)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        rules: &Map<String, Value>,
        items: &[Json<'_>],
        at: &At<'_>,
        depth: usize,
    ) -> Result<(), String> {
        bounds(
            rules,
            items.len() as f64,
            ["minItems", "maxItems"],
            at,
            "items",
        )?;
        let first = rules.get("prefixItems").and_then(Value::as_array);
        if let (Some(first), None) = (first, rules.get("items")) {
            // A tuple, whose length is known.
            if items.len() != first.len() {
                let (wanted, got) = (first.len(), items.len());
                return Err(format!("{at} must have {wanted} items, got {got}"));
            }
        }
        let is_unique = rules.get("uniqueItems") == Some(&Value::Bool(true));
        if is_unique && items.len() <= MOST_COMPARED {
            let items: Vec<Value> = items.iter().map(Json::to_value).collect();
            let mut rest = &items[..];
            while let [one, more @ ..] = rest {
                if more.contains(one) {
                    return Err(format!("{at} must not contain an item twice"));
                }
                rest = more;
            }
        }
        let first = first.map_or(&[][..], Vec::as_slice);
        for (index, item) in items.iter().enumerate() {
            if self.steps > STEPS {
                break;
            }
            if let Some(schema) = first.get(index).or(rules.get("items")) {
                self.value(schema, item, &At::Item(index, at), depth + 1)?;
            }
        }
        Ok(())
    }
}

fn unknown(key: &str, at: &At<'_>, properties: Option<&Map<String, Value>>) -> String {
    let known: Vec<&str> = properties
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    let of = match at {
        At::Arguments => String::new(),
        at => format!(" of {at}"),
    };
    match known.as_slice() {
        [] => format!("there is no argument {key:?}{of}; there are none"),
        known => format!(
            "there is no argument {key:?}{of}; the arguments are: {}",
            known.join(", ")
        ),
    }
}

fn is_of_type(kinds: &Value, value: &Json<'_>, at: &At<'_>) -> Result<(), String> {
    let kinds = match kinds {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    };
    let kinds = kinds.iter().filter_map(Value::as_str);
    let is = |kind: &str| match (kind, value) {
        ("integer", Json::Number(number)) => number.as_f64().is_some_and(|one| one.fract() == 0.0),
        ("string", found) => matches!(found, Json::Text(_)),
        ("number", found) => matches!(found, Json::Number(_)),
        ("boolean", found) => matches!(found, Json::Bool(_)),
        ("null", found) => matches!(found, Json::Null),
        ("object", found) => matches!(found, Json::Object(_)),
        ("array", found) => matches!(found, Json::List(_)),
        ("integer", _) => false,
        _ => true,
    };
    if kinds.clone().next().is_none() || kinds.clone().any(is) {
        return Ok(());
    }
    let list: Vec<&str> = kinds.map(named).collect();
    Err(format!(
        "{at} must be {}, got {}",
        list.join(" or "),
        shown(value)
    ))
}

fn named(kind: &str) -> &str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "object" => "an object",
        "array" => "a list",
        other => other,
    }
}

/// A value in an error: its kind, and what it is if that is short.
fn shown(value: &Json<'_>) -> String {
    match value {
        Json::Object(_) => "an object".to_owned(),
        Json::List(_) => "a list".to_owned(),
        Json::Text(text) if text.chars().count() > 40 => "a long string".to_owned(),
        Json::Text(text) => format!("the string {text:?}"),
        other => other.to_value().to_string(),
    }
}

fn bounds(
    rules: &Map<String, Value>,
    count: f64,
    [least, most]: [&str; 2],
    at: &At<'_>,
    of: &str,
) -> Result<(), String> {
    let rule = |name: &str| rules.get(name).and_then(Value::as_f64);
    if let Some(least) = rule(least).filter(|&least| count < least) {
        return Err(format!("{at} must have at least {least} {of}, got {count}"));
    }
    if let Some(most) = rule(most).filter(|&most| count > most) {
        return Err(format!("{at} must have at most {most} {of}, got {count}"));
    }
    Ok(())
}

/// Whether a number is one, as far as floats can tell.
fn is_multiple(number: f64, step: f64) -> bool {
    let count = number / step;
    (count - count.round()).abs() <= 1e-9
}

fn in_range(rules: &Map<String, Value>, number: f64, at: &At<'_>) -> Result<(), String> {
    type Breaks = fn(f64, f64) -> bool;
    let all: [(&str, &str, Breaks); 4] = [
        ("minimum", "at least", |number, bound| number < bound),
        ("maximum", "at most", |number, bound| number > bound),
        ("exclusiveMinimum", "more than", |number, bound| {
            number <= bound
        }),
        ("exclusiveMaximum", "less than", |number, bound| {
            number >= bound
        }),
    ];
    for (rule, words, breaks) in all {
        if let Some(bound) = rules
            .get(rule)
            .and_then(Value::as_f64)
            .filter(|&b| breaks(number, b))
        {
            return Err(format!("{at} must be {words} {bound}, got {number}"));
        }
    }
    Ok(())
}

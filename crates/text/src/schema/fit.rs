//! Whether a value fits a schema.

use serde_json::{Map, Value};

/// How deep schema and value may be nested together.
const DEEPEST: usize = 64;
/// How many schemas are looked at before the rest is taken as fitting.
const STEPS: usize = 100_000;

/// Each item of a longer list is not compared with each other.
const MOST_COMPARED: usize = 1000;

/// Whether `arguments` fit `schema`, the schema of a tool.
pub(super) fn arguments(schema: &Value, arguments: &Map<String, Value>) -> Result<(), String> {
    let mut fit = Fit {
        root: schema,
        steps: 0,
    };
    fit.object(schema, arguments, "", 0)
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
    let reference = schema.get("$ref")?.as_str()?;
    root.pointer(reference.strip_prefix('#')?)
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
        value: &Value,
        at: &str,
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
        if value.is_null() && rules.get("nullable") == Some(&Value::Bool(true)) {
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
            if !allowed.contains(value) {
                let list = Value::from(allowed.iter().take(20).cloned().collect::<Vec<_>>());
                return Err(format!("{at} must be one of {list}, got {}", shown(value)));
            }
        }
        if let Some(only) = rules.get("const") {
            if only != value {
                return Err(format!("{at} must be {only}, got {}", shown(value)));
            }
        }
        self.unions(rules, value, at, depth)?;
        match value {
            Value::Object(object) => self.object(schema, object, at, depth),
            Value::Array(items) => self.list(rules, items, at, depth),
            Value::String(text) => {
                let length = text.chars().count() as f64;
                bounds(rules, length, ["minLength", "maxLength"], at, "characters")
            }
            Value::Number(number) => {
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
        value: &Value,
        at: &str,
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
        object: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<(), String> {
        if at.is_empty() && schema.get("$ref").is_some() {
            if let (Some(target), true) = (target(schema, self.root), depth < 8) {
                return self.object(target, object, at, depth + 1);
            }
        }
        let inside = |key: &str| match at {
            "" => format!("argument {key:?}"),
            _ => format!("{key:?} of {at}"),
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        // What they match is not looked at here.
        let has_patterns = schema.get("patternProperties").is_some();
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(key) {
                return Err(format!("{} is missing", inside(key)));
            }
        }
        for (key, value) in object {
            if let Some(schema) = properties.and_then(|all| all.get(key)) {
                self.value(schema, value, &inside(key), depth + 1)?;
                continue;
            }
            match schema.get("additionalProperties") {
                _ if has_patterns => {}
                Some(Value::Bool(false)) => return Err(unknown(key, at, properties)),
                // A tool takes no arguments but those it names.
                None if at.is_empty() && properties.is_some() => {
                    return Err(unknown(key, at, properties));
                }
                Some(more @ Value::Object(_)) => {
                    self.value(more, value, &inside(key), depth + 1)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        rules: &Map<String, Value>,
        items: &[Value],
        at: &str,
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
            let mut rest = items;
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
                self.value(schema, item, &format!("item {index} of {at}"), depth + 1)?;
            }
        }
        Ok(())
    }
}

fn unknown(key: &str, at: &str, properties: Option<&Map<String, Value>>) -> String {
    let known: Vec<&str> = properties
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    let of = if at.is_empty() {
        String::new()
    } else {
        format!(" of {at}")
    };
    match known.as_slice() {
        [] => format!("there is no argument {key:?}{of}; there are none"),
        known => format!(
            "there is no argument {key:?}{of}; the arguments are: {}",
            known.join(", ")
        ),
    }
}

fn is_of_type(kinds: &Value, value: &Value, at: &str) -> Result<(), String> {
    let kinds: Vec<&str> = match kinds {
        Value::String(kind) => vec![kind],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let is = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => true,
    };
    if kinds.is_empty() || kinds.iter().any(is) {
        return Ok(());
    }
    let list: Vec<&str> = kinds.iter().map(|kind| named(kind)).collect();
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
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.chars().count() > 40 => "a long string".to_owned(),
        Value::String(text) => format!("the string {text:?}"),
        other => other.to_string(),
    }
}

fn bounds(
    rules: &Map<String, Value>,
    count: f64,
    [least, most]: [&str; 2],
    at: &str,
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

fn in_range(rules: &Map<String, Value>, number: f64, at: &str) -> Result<(), String> {
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

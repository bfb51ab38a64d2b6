//! JSON schemas as llguidance takes them, and where in one a fault is.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::blame::with_keywords;
use super::references::with_escaped_names;
use super::refusal::shortened;
use super::{Refusal, ends, together};

/// White space between the parts of a value: enough for an indented answer, too little to lose oneself in.
const WHITE_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,16}";
/// The most properties of one object: the time that they take grows with their square.
const PROPERTIES: usize = 1000;
/// The most schemas in a schema.
const SCHEMAS: usize = 5000;
/// The most remainders that `multipleOf` may have: each takes memory.
const MULTIPLE: u64 = 10_000;
/// How deep the JSON of a schema may be.
const DEPTH: usize = 127;
/// Keywords of numbers, below which size they must be: the engine has no more digits.
const NUMBERS: [(&str, f64, &str); 6] = [
    ("minimum", 1e18, "above -1e18 and below 1e18"),
    ("maximum", 1e18, "above -1e18 and below 1e18"),
    ("exclusiveMinimum", 1e18, "above -1e18 and below 1e18"),
    ("exclusiveMaximum", 1e18, "above -1e18 and below 1e18"),
    ("minLength", 4_294_967_296.0, "below 4294967296"),
    ("maxLength", 4_294_967_296.0, "below 4294967296"),
];
/// How long the place of a fault is searched for at most.
const SEARCHED: Duration = Duration::from_secs(1);
/// What restricts nothing, though the engine refuses it.
const IDLE: [(&str, bool); 4] = [
    ("uniqueItems", false),
    ("unevaluatedItems", true),
    ("unevaluatedProperties", true),
    ("propertyNames", true),
];

pub(super) fn parsed(text: &str) -> Result<Value, Refusal> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| {
        let error = error.to_string();
        match error.strip_prefix("recursion limit exceeded") {
            Some(at) => Refusal::too_large(format!("must be at most {DEPTH} levels deep,{at}")),
            None => Refusal::invalid(format!("must be JSON: {error}")),
        }
    })?;
    if !schema.is_object() && !schema.is_boolean() {
        return Err(Refusal::invalid("must be a JSON object"));
    }
    let mut counted = Counted::default();
    counted.add(&schema, "")?;
    counted.check_multiples()?;
    if let Some((to, place)) = ends::endless(&schema) {
        let at = at(&place);
        return Err(Refusal::invalid(format!(
            "is invalid: a value of $ref {to} would contain itself without end{at}"
        )));
    }
    if together::too_many(&schema) {
        return Err(Refusal::too_large(format!(
            "is too complex: a text must fit more than {} patterns and formats at once",
            together::PATTERNS
        )));
    }
    without_idle(&mut schema);
    Ok(schema)
}

/// Takes out what restricts nothing.
fn without_idle(schema: &mut Value) {
    if let Value::Object(schema) = schema {
        schema.retain(|name, value| {
            !IDLE
                .iter()
                .any(|(idle, at)| name == idle && *value == Value::Bool(*at))
        });
    }
    for part in parts_mut(schema) {
        without_idle(part);
    }
}

/// What is in a schema.
#[derive(Default)]
struct Counted {
    schemas: usize,
    /// The values of `multipleOf`, each with its place.
    multiples: Vec<(f64, String)>,
    /// Several of them may hold for one number.
    joins: bool,
}

impl Counted {
    /// Refuses what would take too long.
    fn add(&mut self, schema: &Value, place: &str) -> Result<(), Refusal> {
        if !schema.is_object() && !schema.is_boolean() {
            let at = at(place);
            return Err(Refusal::invalid(format!(
                "is invalid: a schema must be an object, true or false, got {schema}{at}"
            )));
        }
        // Each name that must be there is a part of its own.
        let required = schema.get("required").and_then(Value::as_array);
        let required = required.map_or(0, Vec::len);
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.map_or(0, Map::len).max(required);
        if properties > PROPERTIES {
            return Err(Refusal::too_large(format!(
                "must have at most {PROPERTIES} properties in an object, got {properties}{}",
                at(place)
            )));
        }
        self.schemas += 1 + required;
        if self.schemas > SCHEMAS {
            return Err(Refusal::too_large(format!(
                "must have at most {SCHEMAS} parts"
            )));
        }
        for name in ["enum", "type", "anyOf", "oneOf"] {
            if schema.get(name).is_some_and(|value| *value == json!([])) {
                let at = at(place);
                return Err(Refusal::invalid(format!(
                    "is invalid: {name} must not be empty{at}"
                )));
            }
        }
        for (name, bound, told) in NUMBERS {
            let value = schema.get(name);
            if let Some(value) =
                value.filter(|value| value.as_f64().is_some_and(|it| it.abs() >= bound))
            {
                return Err(Refusal::too_large(format!(
                    "is too complex: {name} must be {told}, got {value}{}",
                    at(place)
                )));
            }
        }
        self.joins |= schema.get("allOf").is_some() || schema.get("$ref").is_some();
        if let Some(value) = schema.get("multipleOf").and_then(Value::as_f64) {
            self.multiples.push((value, place.to_owned()));
        }
        parts(schema)
            .iter()
            .try_for_each(|(name, part)| self.add(part, &format!("{place}{}", named(name))))
    }

    /// Refuses divisions that the engine cannot take, or that would take too much memory: each by itself, and those
    /// that one number must meet.
    fn check_multiples(&self) -> Result<(), Refusal> {
        let mut together = Some(Multiple::ONE);
        for (value, place) in &self.multiples {
            let refused = |why| {
                let at = at(place);
                Refusal::too_large(format!("is too complex: multipleOf {value} has {why}{at}"))
            };
            if *value <= 0.0 {
                let at = at(place);
                return Err(Refusal::invalid(format!(
                    "is invalid: multipleOf must be greater than 0, got {value}{at}"
                )));
            }
            let own = Multiple::of(*value).ok_or_else(|| refused("too many digits"))?;
            together = together.and_then(|all| all.and(&own));
            if own.remainders() > MULTIPLE || (self.joins && together.is_none()) {
                return Err(refused("too many remainders"));
            }
        }
        Ok(())
    }
}

/// A decimal number as the engine for grammars reads it: digits and how many of them are behind the point.
struct Multiple {
    digits: u64,
    behind: u32,
}

impl Multiple {
    const ONE: Self = Self {
        digits: 1,
        behind: 0,
    };

    /// Nothing for a number that the engine refuses: for it 0.07 has 17 digits, as its product with 10 has.
    fn of(value: f64) -> Option<Self> {
        let (mut value, mut behind) = (value.abs(), 0);
        while value.fract() != 0.0 {
            value *= 10.0;
            behind += 1;
        }
        (value <= f64::from(u32::MAX)).then_some(Self {
            digits: value as u64,
            behind,
        })
    }

    /// How many remainders are told apart digit by digit: those of 2 and 5 end soon.
    fn remainders(&self) -> u64 {
        let mut left = self.digits;
        for factor in [2, 5] {
            while left > 0 && left.is_multiple_of(factor) {
                left /= factor;
            }
        }
        left.max(1)
    }

    /// What both divide, if it is not too much; the engine multiplies in 32 bits on its way.
    fn and(&self, other: &Self) -> Option<Self> {
        let behind = self.behind.max(other.behind);
        let scaled = |one: &Self| {
            one.digits
                .checked_mul(10_u64.checked_pow(behind - one.behind)?)
        };
        let (one, other) = (scaled(self)?, scaled(other)?);
        let product = u32::try_from(one.checked_mul(other)?).ok()?;
        let (mut a, mut b) = (one, other);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let all = Self {
            digits: u64::from(product).checked_div(a).unwrap_or(0),
            behind,
        };
        (all.remainders() <= MULTIPLE).then_some(all)
    }
}
/// The schema with white space that ends.
pub(super) fn bounded(mut schema: Value) -> Value {
    with_escaped_names(&mut schema);
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
pub(super) fn placed(text: &str, mut refusal: Refusal) -> Refusal {
    let Ok(Value::Object(root)) = parsed(text) else {
        return refusal;
    };
    let mut place = String::new();
    let mut here = Value::Object(root.clone());
    let began = Instant::now();
    'deeper: loop {
        for (name, part) in parts(&here) {
            if began.elapsed() > SEARCHED {
                return refusal;
            }
            if let Some(inner) = refused_alike(&root, part, &refusal) {
                refusal = inner;
                place.push_str(&named(&name));
                here = part.clone();
                continue 'deeper;
            }
        }
        break;
    }
    Refusal {
        reason: shortened(&(with_keywords(&here, &refusal.reason) + &at(&place))),
        ..refusal
    }
}

/// Where a part is, to stand behind what is wrong with it.
fn at(place: &str) -> String {
    let place = place.trim_start_matches('.');
    if place.is_empty() {
        String::new()
    } else {
        format!(" (at {place})")
    }
}

/// Where a part of a schema is: under a keyword, by name or by number.
type Step<'a> = (&'a str, Option<&'a str>, Option<usize>);

/// A step as the end of a place.
pub(super) fn named((keyword, key, at): &Step<'_>) -> String {
    match (key, at) {
        (Some(key), _) => format!(".{keyword}.{key}"),
        (_, Some(at)) => format!(".{keyword}[{at}]"),
        _ => format!(".{keyword}"),
    }
}

/// How the schemas stand in the value of a keyword.
enum Holds {
    Named,
    Listed,
    One,
}

fn holds(keyword: &str, value: &Value) -> Option<Holds> {
    match (keyword, value) {
        ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(_)) => {
            Some(Holds::Named)
        }
        ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(_)) => {
            Some(Holds::Listed)
        }
        ("items" | "additionalItems" | "additionalProperties", value) if !value.is_boolean() => {
            Some(Holds::One)
        }
        _ => None,
    }
}

/// The schemas within a schema, with what leads to them.
pub(super) fn parts(schema: &Value) -> Vec<(Step<'_>, &Value)> {
    let mut parts = Vec::new();
    for (name, value) in schema.as_object().into_iter().flatten() {
        let name = name.as_str();
        match (holds(name, value), value) {
            (Some(Holds::Named), Value::Object(all)) => {
                parts.extend(
                    all.iter()
                        .map(|(key, part)| ((name, Some(key.as_str()), None), part)),
                );
            }
            (Some(Holds::Listed), Value::Array(all)) => {
                let all = all.iter().enumerate();
                parts.extend(all.map(|(at, part)| ((name, None, Some(at)), part)));
            }
            (Some(_), part) => parts.push(((name, None, None), part)),
            (None, _) => {}
        }
    }
    parts
}

fn parts_mut(schema: &mut Value) -> Vec<&mut Value> {
    let mut parts = Vec::new();
    for (name, value) in schema.as_object_mut().into_iter().flatten() {
        match (holds(name, value), value) {
            (Some(Holds::Named), Value::Object(all)) => parts.extend(all.values_mut()),
            (Some(Holds::Listed), Value::Array(all)) => parts.extend(all),
            (Some(_), part) => parts.push(part),
            (None, _) => {}
        }
    }
    parts
}

/// The refusal of a part by itself, if it is for the same reason; what it refers to is there as in the whole.
fn refused_alike(root: &Map<String, Value>, part: &Value, refusal: &Refusal) -> Option<Refusal> {
    let Value::Object(mut part) = part.clone() else {
        return None;
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
    // What cannot be satisfied is told of the whole in other words.
    let contradicts = |refusal: &Refusal| refusal.reason.contains("Unsatisfiable schema");
    made.err().filter(|other| {
        other.reason == refusal.reason || (contradicts(other) && contradicts(refusal))
    })
}

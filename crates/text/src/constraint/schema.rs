//! JSON schemas as llguidance takes them, and where in one a fault is.

use serde_json::{Map, Value, json};

use super::{Refusal, together};

/// White space between the parts of a value: enough for an indented answer, too little to lose oneself in.
const WHITE_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,16}";
/// The most properties of one object: the time that they take grows with their square.
const PROPERTIES: usize = 1000;
/// The most schemas in a schema.
const SCHEMAS: usize = 5000;
/// The most remainders that `multipleOf` may have: each takes memory.
const MULTIPLE: u64 = 10_000;
/// Schemas with more parts are not searched for the place of a fault.
const SEARCHED: usize = 400;

pub(super) fn parsed(text: &str) -> Result<Value, Refusal> {
    let schema: Value = serde_json::from_str(text).map_err(|error| {
        if error.to_string().contains("recursion limit") {
            return Refusal::too_large("is nested too deep");
        }
        Refusal::invalid(format!("must be JSON: {error}"))
    })?;
    if !schema.is_object() && !schema.is_boolean() {
        return Err(Refusal::invalid("must be a JSON object"));
    }
    let mut counted = Counted::default();
    counted.add(&schema, "")?;
    counted.check_multiples()?;
    if together::too_many(&schema) {
        return Err(Refusal::too_large(format!(
            "is too complex: a text must fit more than {} patterns and formats at once",
            together::PATTERNS
        )));
    }
    Ok(schema)
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
        self.schemas += 1;
        if self.schemas > SCHEMAS {
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
        self.joins |= schema.get("allOf").is_some() || schema.get("$ref").is_some();
        if let Some(value) = schema.get("multipleOf").and_then(Value::as_f64) {
            let place = place.trim_start_matches('.').to_owned();
            self.multiples.push((value, place));
        }
        parts(schema)
            .iter()
            .try_for_each(|(name, part)| self.add(part, &format!("{place}{name}")))
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
pub(super) fn placed(text: &str, mut refusal: Refusal) -> Refusal {
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
            if let Some(inner) = refused_alike(&root, &part, &refusal) {
                refusal = inner;
                place.push_str(&name);
                here = part;
                continue 'deeper;
            }
        }
        break;
    }
    // The one fault whose keyword llguidance does not name.
    let named = refusal
        .reason
        .replacen(": regex parse error", ": pattern: regex parse error", 1);
    Refusal {
        reason: named + &at(place.trim_start_matches('.')),
        ..refusal
    }
}

fn at(place: &str) -> String {
    if place.is_empty() {
        String::new()
    } else {
        format!(" (at {place})")
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

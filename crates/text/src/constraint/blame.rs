//! Which keywords of a schema the engine's words for a fault mean.

use serde_json::Value;

const VALUES: &[&str] = &["type", "enum", "const"];
const BOUNDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
const TEXTS: &[&str] = &["pattern", "format", "minLength", "maxLength"];
const ITEMS: &[&str] = &["minItems", "maxItems", "prefixItems", "items"];
const PROPERTIES: &[&str] = &[
    "required",
    "properties",
    "minProperties",
    "maxProperties",
    "additionalProperties",
];
const PATTERNS: &[&str] = &["pattern", "patternProperties"];
/// What brings the keywords of other parts with it.
const JOINS: &[&str] = &["allOf", "anyOf", "oneOf", "$ref"];

/// What the engine says for a text that has to meet what no text meets; its own form of it follows.
const NO_TEXT: &str = "Regex is empty";

/// Words of the engine's for a fault, and the keywords that can be to blame for it.
const BLAMED: &[(&str, &[&[&str]])] = &[
    ("incompatible", &[VALUES, JOINS]),
    ("integer interval", &[VALUES, BOUNDS, JOINS]),
    ("does not contain a multiple", &[VALUES, BOUNDS, JOINS]),
    ("minimum (", &[VALUES, BOUNDS, JOINS]),
    ("xclusiveMinimum (", &[VALUES, BOUNDS, JOINS]),
    (NO_TEXT, &[VALUES, TEXTS, JOINS]),
    ("if regex is empty", &[VALUES, TEXTS, JOINS]),
    ("length constraints", &[VALUES, TEXTS, JOINS]),
    ("minLength (", &[VALUES, TEXTS, JOINS]),
    ("minItems (", &[ITEMS, JOINS]),
    ("item is unsatisfiable", &[ITEMS, JOINS]),
    ("required property", &[PROPERTIES, JOINS]),
    ("maxProperties", &[PROPERTIES, JOINS]),
    ("minProperties (", &[PROPERTIES, JOINS]),
    ("in regex", &[PATTERNS, JOINS]),
    ("patternProperty", &[PATTERNS, JOINS]),
    ("Reference segment", &[&["$ref"]]),
];
/// What the engine says before it shows a pattern that is none.
const NO_PATTERN: &str = ": regex parse error";

/// The reason why a part is refused, with the keywords that are to blame.
pub(super) fn with_keywords(part: &Value, reason: &str) -> String {
    let keywords = blamed(part, reason);
    let reason = match reason.split_once(NO_TEXT) {
        Some((before, _)) => format!("{before}no text fits all of it"),
        // Here the engine names the pattern, but not its keyword.
        None => match PATTERNS.iter().find(|name| part.get(**name).is_some()) {
            Some(name) => reason.replacen(NO_PATTERN, &format!(": {name}{NO_PATTERN}"), 1),
            None => reason.to_owned(),
        },
    };
    if keywords.is_empty() {
        return reason;
    }
    format!("{reason}; see {}", keywords.join(", "))
}

/// The keywords of a part that can be to blame for a fault, unless its words name those that the part has.
fn blamed(part: &Value, reason: &str) -> Vec<&'static str> {
    let Some((_, groups)) = BLAMED.iter().find(|(words, _)| reason.contains(words)) else {
        return Vec::new();
    };
    let has = |name: &&str| part.get(*name).is_some();
    let words = || reason.split(|c: char| !c.is_ascii_alphanumeric() && c != '$');
    let candidates = || groups.iter().copied().flatten().copied();
    let mut named = candidates().filter(|name| words().any(|word| word == *name));
    if let Some(first) = named.next() {
        if has(&first) && named.all(|name| has(&name)) {
            return Vec::new();
        }
    }
    candidates().filter(has).collect()
}

//! Schemas that contradict themselves are told with their keywords and their place, and not at any length.

use super::*;

#[test]
fn what_contradicts_itself_is_said_with_its_keywords_and_its_place() {
    let nested = |part: &str| {
        format!(
            r#"{{"type": "object", "required": ["o"], "properties": {{"o":
                {{"type": "object", "required": ["n"], "properties": {{"n": {part}}}}}}}}}"#
        )
    };
    for (part, keyword) in [
        (
            r#"{"type": "integer", "minimum": 5, "maximum": 1}"#,
            "minimum",
        ),
        (
            r#"{"type": "string", "minLength": 5, "maxLength": 1}"#,
            "minLength",
        ),
        (
            r#"{"type": "array", "minItems": 5, "maxItems": 1}"#,
            "minItems",
        ),
        (r#"{"type": "integer", "multipleOf": 999983}"#, "multipleOf"),
        // Times ten it is 0.7000000000000001.
        (
            r#"{"type": "number", "multipleOf": 0.07}"#,
            "multipleOf 0.07",
        ),
        (r#"{"type": "integer", "multipleOf": 0}"#, "multipleOf"),
        (r#"{"type": "number", "multipleOf": -2.5}"#, "multipleOf"),
        (r#"{"type": "number", "minimum": -1e300}"#, "minimum"),
        (
            r#"{"type": "number", "exclusiveMaximum": 1e300, "minimum": 0}"#,
            "exclusiveMaximum",
        ),
        (r#"{"type": "string", "pattern": "(?=a)b"}"#, "pattern"),
        (r#"{"type": "string", "pattern": "a^b"}"#, "pattern"),
        (r#"{"enum": []}"#, "enum must not be empty"),
        (r#"{"type": []}"#, "type must not be empty"),
        (r#"{"type": "integer", "enum": ["a"]}"#, "type, enum"),
        (
            r#"{"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4}"#,
            "exclusiveMinimum, exclusiveMaximum",
        ),
        (
            r#"{"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6}"#,
            "minimum, maximum, multipleOf",
        ),
        (
            r#"{"type": "array", "prefixItems": [true], "items": false, "minItems": 2}"#,
            "minItems",
        ),
        (r##"{"$ref": "#/$defs/missing"}"##, "missing'; see $ref"),
        (r#"{"$ref": "other.json"}"#, "$ref"),
        // The engine tells these by what it has made of them.
        (r#"{"enum": ["x"], "pattern": "^y$"}"#, "see enum, pattern"),
        (
            r#"{"type": "string", "format": "date", "maxLength": 3}"#,
            "see type, format, maxLength",
        ),
        (r#"{"const": "a", "minLength": 5}"#, "see const, minLength"),
        (r#"{"enum": [1, 2], "minimum": 5}"#, "see enum, minimum"),
        (r#"{"type": "integer", "const": 1.5}"#, "see type, const"),
        (r#"{"allOf": [{"const": 1}, {"const": 2}]}"#, "see allOf"),
        (
            r#"{"allOf": [{"minItems": 5}, {"maxItems": 1}], "type": "array"}"#,
            "see allOf",
        ),
        (
            r#"{"type": "object", "allOf": [{"required": ["a"]}, {"properties": {"a": false}}]}"#,
            "see allOf",
        ),
        (
            r#"{"type": "object", "patternProperties": {"(": {}}}"#,
            "patternProperties: regex",
        ),
        (
            r#"{"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"type": "null"}}}"#,
            "see patternProperties",
        ),
        (
            r#"{"oneOf": [{"type": "integer"}, {"type": "number"}]}"#,
            "oneOf",
        ),
        (
            r#"{"properties": {"a": 5}}"#,
            "got 5 (at properties.o.properties.n.properties.a)",
        ),
        (
            r#"{"items": "text"}"#,
            r#"got "text" (at properties.o.properties.n.items)"#,
        ),
    ] {
        let refusal = Grammar::JsonSchema(nested(part)).check().expect_err(part);
        for wanted in [keyword, "properties.o.properties.n"] {
            assert!(refusal.reason.contains(wanted), "{refusal}");
        }
    }
}

#[test]
fn what_divides_too_finely_together_is_said_with_its_place() {
    let both = |one: &str, other: &str| {
        let schema = format!(
            r#"{{"allOf": [{{"type": "number", "multipleOf": {one}}}, {{"multipleOf": {other}}}]}}"#
        );
        Grammar::JsonSchema(schema).check()
    };
    assert_eq!(both("0.5", "1000"), Ok(()));
    for (one, other) in [("9973", "9967"), ("1000000", "0.000001")] {
        let refusal = both(one, other).unwrap_err();
        assert!(refusal.reason.contains("allOf["), "{refusal}");
    }
    for served in ["100000", "0.01", "12.345", "9973"] {
        let schema = format!(r#"{{"type": "number", "multipleOf": {served}}}"#);
        assert_eq!(Grammar::JsonSchema(schema).check(), Ok(()), "{served}");
    }
}

#[test]
fn an_error_does_not_repeat_all_of_what_is_wrong() {
    let long = "é(".repeat(60_000);
    for grammar in [
        Grammar::Regex(long.clone()),
        Grammar::Lark(format!("start: /{long}/")),
        Grammar::JsonSchema(format!(r#"{{"pattern": "{long}"}}"#)),
        Grammar::JsonSchema(format!(r#"{{"items": "{long}"}}"#)),
        Grammar::JsonSchema(format!(r#"{{"properties": {{"{long}": {{"type": 3}}}}}}"#)),
    ] {
        let refusal = grammar.check().unwrap_err();
        assert!(refusal.reason.len() < 1000, "{}", refusal.reason.len());
    }
}

//! Calls that keep to their grammar are read as what they should be, in all families.

mod tokens;

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Follower, Grammar};
use super::{Calls, CallsProblem};
use crate::answer::{Answer, Body, Format, Options, Parser};
use crate::families;
use crate::schema::Tools;

/// Tools with about all that schemas of arguments have.
fn tools() -> Tools {
    let tool = |name: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    Tools::new(&json!([
        tool("get_weather", json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "exact": {"type": "boolean"}
            },
            "required": ["city", "days"]
        })),
        tool("send", json!({
            "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "number"}, "name": {"type": "string"}},
                "required": ["x"], "additionalProperties": false}},
            "type": "object",
            "properties": {
                "to": {"type": "array", "items": {"type": "string", "maxLength": 8}, "minItems": 1, "maxItems": 3},
                "at": {"$ref": "#/$defs/Place"},
                "note": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}], "default": null},
                "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"},
                "mode": {"const": "fast"}
            },
            "required": ["to", "mode"]
        })),
        tool("now", Value::Null)
    ]))
    .unwrap()
}

fn calls(family: &str, only: Option<&str>, many: bool) -> Grammar {
    let family = families::named(family).unwrap();
    Grammar::Calls(Calls::new(&family.format, &tools(), only, many).unwrap())
}

fn read(format: &Arc<Format>, text: &str) -> Answer {
    let options = Options {
        tools: Arc::new(tools()),
        ..Options::default()
    };
    let mut parser = Parser::new(Arc::clone(format), options);
    let mut events = Vec::new();
    parser.push(text, &mut events);
    parser.finish(&mut events)
}

/// How many bytes of a text fit, and whether the answer may end behind it.
fn follow(grammar: &Grammar, text: &str) -> (usize, bool) {
    let mut follower = Follower::new(grammar).unwrap();
    let fits = follower.take(text.as_bytes()).unwrap();
    (fits, fits == text.len() && follower.may_end())
}

fn fits(grammar: &Grammar, text: &str) -> bool {
    follow(grammar, text).1
}

/// An answer that keeps to its grammar, at random.
fn some_answer(grammar: &Grammar, mut seed: u64) -> String {
    let mut follower = Follower::new(grammar).unwrap();
    let mut text = Vec::new();
    for _ in 0..40 + seed % 60 {
        let forced = follower.forced().to_vec();
        let next = if forced.is_empty() {
            if follower.is_over() {
                break;
            }
            let all = follower.next();
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // What is neither letter nor digit decides, and is to come often.
            let odd: Vec<u8> = all
                .iter()
                .copied()
                .filter(|byte| !byte.is_ascii_alphanumeric() && *byte < 128)
                .collect();
            let from = if seed >> 62 == 0 || odd.is_empty() {
                &all
            } else {
                &odd
            };
            vec![from[usize::try_from(seed >> 33).unwrap() % from.len()]]
        } else {
            forced
        };
        assert_eq!(follower.take(&next).unwrap(), next.len());
        text.extend(next);
    }
    let Some(ending) = follower.ending(4000) else {
        panic!("it does not end: {:?}", String::from_utf8_lossy(&text));
    };
    text.extend(ending);
    String::from_utf8(text).unwrap()
}

#[test]
fn whatever_keeps_to_it_is_read_as_calls_that_fit() {
    for family in families::all() {
        for (only, many) in [
            (None, true),
            (Some("get_weather"), false),
            (Some("send"), false),
        ] {
            let made = Calls::new(&family.format, &tools(), only, many);
            let grammar =
                Grammar::Calls(made.unwrap_or_else(|problem| panic!("{}: {problem}", family.name)));
            for seed in 1..7 {
                let text = some_answer(&grammar, seed);
                let answer = read(&family.format, &text);
                let about = format!("{}: {text:?} {answer:?}", family.name);
                assert!(!answer.tool_calls.is_empty(), "{about}");
                assert_eq!(
                    (answer.content.trim(), &answer.reasoning, answer.notes.len()),
                    ("", &None, 0),
                    "{about}"
                );
                for call in &answer.tool_calls {
                    assert_eq!(call.error, None, "{about}");
                    assert!(only.is_none_or(|only| only == call.name), "{about}");
                }
                assert!(many || answer.tool_calls.len() == 1, "{about}");
            }
        }
    }
}

/// A family of each kind of body, with a call of the first tool as its template writes it.
const SPELLED: [(&str, &str); 8] = [
    (
        "hermes",
        "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 3}}\n</tool_call>",
    ),
    (
        "mistral",
        "[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 3}}]",
    ),
    (
        "llama3",
        "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\", \"days\": 3}}",
    ),
    (
        "functionary-v3.1",
        "<function=get_weather>{\"city\": \"Oslo\", \"days\": 3}</function>",
    ),
    (
        "gemma4",
        "<|tool_call>call:get_weather{city:<|\"|>Oslo<|\"|>,days:3}<tool_call|>",
    ),
    (
        "qwen3-coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
    ),
    (
        "glm4",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
    ),
    (
        "lfm2",
        "<|tool_call_start|>[get_weather(city=\"Oslo\", days=3)]<|tool_call_end|>",
    ),
];

#[test]
fn a_call_as_the_template_writes_it_keeps_to_it() {
    for (family, text) in SPELLED {
        let grammar = calls(family, None, true);
        assert_eq!(
            follow(&grammar, text),
            (text.len(), true),
            "{family}: {text}"
        );
        let answer = read(&families::named(family).unwrap().format, text);
        assert_eq!(
            answer.tool_calls[0].object_json(),
            r#"{"city": "Oslo", "days": 3}"#,
            "{family}"
        );
    }
}

#[test]
fn what_is_no_such_call_does_not() {
    for (family, text) in SPELLED {
        let grammar = calls(family, None, true);
        for (from, to) in [
            ("get_weather", "get_storm"),
            ("days", "hours"),
            ("3", "\"3\""),
            ("3", "30"),
            ("3", "0"),
        ] {
            assert!(
                !fits(&grammar, &text.replacen(from, to, 1)),
                "{family}: {to}"
            );
        }
        assert_eq!(follow(&grammar, &format!("Well: {text}")).0, 0, "{family}");
        let is_one = calls(family, Some("now"), false);
        assert!(!fits(&is_one, text), "{family}");
    }
}

#[test]
fn there_is_one_call_or_several() {
    for (family, text) in SPELLED {
        let two = match family {
            "mistral" => text.replace("}}]", "}}, {\"name\": \"now\", \"arguments\": {}}]"),
            "llama3" => continue,
            "lfm2" => text.replace(")]", "), now()]"),
            _ => format!("{text}\n{text}"),
        };
        assert!(fits(&calls(family, None, true), &two), "{family}");
        assert!(!fits(&calls(family, None, false), &two), "{family}");
        assert!(
            fits(&calls(family, Some("get_weather"), false), text),
            "{family}"
        );
    }
    let list = "[{\"name\": \"now\", \"parameters\": {}}, {\"name\": \"now\", \"parameters\": {}}]";
    assert!(fits(&calls("llama3", None, true), list));
    assert!(!fits(&calls("llama3", None, false), list));
}

#[test]
fn text_between_tags_is_not_a_tag() {
    let grammar = calls("qwen3-coder", Some("get_weather"), false);
    let start = "<tool_call>\n<function=get_weather>\n<parameter=city>\n";
    for tag in [
        "<parameter=days>",
        "</function>",
        "</tool_call>",
        "</parameter>",
        "<![CDATA[",
    ] {
        let text = format!("{start}a {tag}");
        assert!(follow(&grammar, &text).0 < text.len(), "{tag}");
    }
    let end = "\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>";
    for city in ["a < b", "</param", "\"quoted\"", "two\nlines", ""] {
        let text = format!("{start}{city}{end}");
        assert!(fits(&grammar, &text), "{city:?}");
        let answer = read(&families::named("qwen3-coder").unwrap().format, &text);
        assert_eq!(answer.tool_calls[0].arguments().unwrap()["city"], city);
    }
}

#[test]
fn no_tool_cannot_be_asked_for() {
    let none = Tools::new(&json!([])).unwrap();
    for family in families::all() {
        for many in [false, true] {
            assert!(Calls::new(&family.format, &none, None, many).is_err());
            assert!(Calls::new(&family.format, &tools(), Some("no such"), many).is_err());
        }
    }
}

fn problem(family: &str, name: &str, parameters: &Value) -> CallsProblem {
    let tools = Tools::new(&json!([{"name": name, "parameters": parameters}])).unwrap();
    let family = families::named(family).unwrap();
    Calls::new(&family.format, &tools, None, true).unwrap_err()
}

#[test]
fn what_cannot_be_asked_for_is_said_with_the_tool() {
    let of = |schema: Value| json!({"type": "object", "properties": {"a": schema}});
    for (family, name, parameters, words) in [
        (
            "hermes",
            "f",
            of(json!({"type": "array", "items": {"type": "string", "not": {"const": "x"}}})),
            "properties.a.items",
        ),
        (
            "hermes",
            "f",
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 2}}}),
            "",
        ),
        (
            "lfm2",
            "f",
            json!({"anyOf": [of(json!({"type": "string"})), of(json!({"type": "null"}))]}),
            "anyOf",
        ),
        (
            "glm4",
            "f",
            of(json!({"type": "string", "pattern": "^a|b$"})),
            "^a|b$",
        ),
        (
            "glm4",
            "f",
            of(json!({"enum": ["</arg_value>"]})),
            "</arg_value>",
        ),
        (
            "lfm2",
            "f",
            json!({"type": "object", "properties": {"a b": {"type": "string"}}}),
            "a b",
        ),
        ("lfm2", "1f", of(json!({})), "name"),
        ("glm4", "<f>", of(json!({})), "name"),
        ("deepseek", "function", of(json!({})), "name"),
    ] {
        let problem = problem(family, name, &parameters);
        assert_eq!(problem.tool, name);
        assert!(problem.refusal.reason.contains(words), "{problem}");
    }
}

#[test]
fn a_tool_has_no_arguments_but_its_own() {
    let schema = |parameters: Value| super::schema::of_arguments(&parameters);
    let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
    assert_eq!(schema(Value::Null), none);
    assert_eq!(schema(json!({})), none);
    let open = json!({"type": "object", "additionalProperties": {"type": "string"}});
    assert_eq!(
        schema(open)["additionalProperties"],
        json!({"type": "string"})
    );
    let tuple = schema(json!({"properties": {"a": {"prefixItems": [{}, {}]}}}));
    assert_eq!(
        tuple["properties"]["a"],
        json!({"prefixItems": [{}, {}], "items": false, "minItems": 2})
    );
    let refers =
        json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"x": {}}}}});
    assert_eq!(schema(refers)["properties"], json!({"x": {}}));
}

#[test]
fn every_kind_of_body_is_tried() {
    let kind = |family: &str| {
        let family = families::named(family).unwrap();
        match &family.format.calls[0].body {
            Body::Json { .. } => "json",
            Body::Named { .. } => "named",
            Body::Tags(_) => "tags",
            Body::Python { .. } => "python",
        }
    };
    let mut kinds: Vec<&str> = SPELLED.iter().map(|(family, _)| kind(family)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["json", "named", "python", "tags"]);
}

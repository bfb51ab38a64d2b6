//! Which tokens may come, for each kind of grammar, and what is wrong with one.

use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// A small vocabulary: all bytes, some words, one marker, one end.
pub(super) fn constraints() -> Constraints {
    let mut vocabulary = Vocabulary::default();
    for byte in 0..=u8::MAX {
        vocabulary.push(Kind::Text, &[byte]);
    }
    for word in [
        "{\"",
        "\": ",
        "name",
        "true",
        "yes",
        "yesterday",
        "  ",
        "\n",
    ] {
        vocabulary.push(Kind::Text, word.as_bytes());
    }
    vocabulary.push(Kind::Marker, b"<|tool|>");
    vocabulary.push(Kind::End, b"<|end|>");
    vocabulary.push(Kind::End, b"<|eot|>");
    Constraints::new(vocabulary).unwrap()
}

const SIZE: usize = 256 + 8 + 3;
const ENDS: [usize; 2] = [SIZE - 2, SIZE - 1];

fn legal(matcher: &mut Matcher) -> Vec<usize> {
    // A row may be longer than the vocabulary.
    let mut logits = vec![0.0; SIZE + 5];
    matcher.mask(&mut logits).unwrap();
    (0..logits.len()).filter(|&at| logits[at] == 0.0).collect()
}

fn take(matcher: &mut Matcher, text: &str) -> bool {
    text.bytes()
        .all(|byte| matcher.push(i32::from(byte)).unwrap())
}

#[test]
fn a_mask_has_what_may_come() {
    let grammar = Grammar::Choices(vec!["yes".into(), "no".into()]);
    let constraints = constraints();
    let mut matcher = constraints.matcher(&grammar).unwrap();
    let yes = usize::try_from(constraints.vocabulary().find("yes").unwrap()).unwrap();
    assert_eq!(legal(&mut matcher), [b'n'.into(), b'y'.into(), yes]);
    assert!(!matcher.may_end());
    assert!(!matcher.push(i32::from(b'x')).unwrap());
    assert!(matcher.push(i32::try_from(yes).unwrap()).unwrap());
    assert!(matcher.is_over());
    assert_eq!(legal(&mut matcher), ENDS);
}

#[test]
fn text_cannot_spell_a_marker_and_a_marker_is_no_text() {
    let mut matcher = constraints()
        .matcher(&Grammar::Regex("(?s:.*)".into()))
        .unwrap();
    assert!(matcher.may_end());
    let legal = legal(&mut matcher);
    assert!(!legal.contains(&(SIZE - 3)));
    assert!(ENDS.iter().all(|end| legal.contains(end)));
    assert!(take(&mut matcher, "<|tool|>"));
}

#[test]
fn a_special_token_of_a_grammar_is_that_token() {
    let constraints = constraints();
    let grammar = Grammar::Lark("start: \"a\" <|tool|>+ <|b|>? | %json {} <[3-5]>".into());
    assert_eq!(grammar.check(), Ok(()));
    let refusal = constraints.matcher(&grammar).err().unwrap();
    assert!(refusal.reason.contains("<|b|>"), "{refusal}");
    let grammar = Grammar::Lark("start: \"a\" <|tool|>+ \"b\"".into());
    let mut matcher = constraints.matcher(&grammar).unwrap();
    assert!(take(&mut matcher, "a"));
    let tool = i32::try_from(SIZE - 3).unwrap();
    assert_eq!(legal(&mut matcher), [SIZE - 3]);
    assert!(matcher.push(tool).unwrap() && matcher.push(tool).unwrap());
    assert!(take(&mut matcher, "b"));
    assert!(matcher.is_over());
    // Followed by its bytes it is a character that no text has; and without a vocabulary it cannot be told.
    let mut follower = Follower::of_tokens(&grammar, constraints.vocabulary()).unwrap();
    let (mark, shown) = follower.marks().token(tool).unwrap();
    assert_eq!(shown, b"<|tool|>");
    assert_eq!(follower.take(b"a<|tool|>").ok(), Some(1));
    assert_eq!(
        follower.take(&[b"a".as_slice(), &mark, b"b"].concat()).ok(),
        Some(2 + mark.len())
    );
    // What ends an answer may be named at its end.
    let ends = Grammar::Lark("start: \"a\" <|eot|>".into());
    let mut matcher = constraints.matcher(&ends).unwrap();
    assert!(take(&mut matcher, "a") && matcher.may_end());
    assert_eq!(legal(&mut matcher), ENDS);
    for (grammar, named) in [
        (grammar, "<|tool|>"),
        (Grammar::Lark("start: \"a\" <[3]>".into()), "<[3]>"),
    ] {
        let refusal = Follower::new(&grammar).err().unwrap();
        assert!(refusal.reason.contains(named), "{refusal}");
    }
}

#[test]
fn a_schema_is_kept_to_and_white_space_ends() {
    let schema = r#"{"type": "object", "properties": {"name": {"type": "string"}},
        "required": ["name"], "additionalProperties": false}"#;
    let grammar = Grammar::JsonSchema(schema.into());
    let constraints = constraints();
    for (text, fits) in [
        (r#"{"name":"a"}"#, true),
        ("{ \"name\" :\n  \"a\" }", true),
        (r#"{"nam""#, false),
        (r#"{"name":1"#, false),
    ] {
        let mut matcher = constraints.matcher(&grammar).unwrap();
        assert_eq!(take(&mut matcher, text), fits, "{text}");
        assert_eq!(matcher.is_over(), fits, "{text}");
    }
    let mut matcher = constraints.matcher(&grammar).unwrap();
    assert!(!take(&mut matcher, &format!("{{{}", " ".repeat(100))));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let place = r#"{"properties": {"a": {"items": {"type": "string", "not": {"const": "x"}}}}}"#;
    for (grammar, words) in [
        (Grammar::JsonSchema("{".into()), "JSON"),
        (Grammar::JsonSchema("3".into()), "object"),
        (Grammar::JsonSchema("false".into()), ""),
        (Grammar::JsonSchema(place.into()), "properties.a.items"),
        (Grammar::JsonSchema(r#"{"type": "text"}"#.into()), "text"),
        (
            Grammar::JsonSchema(r##"{"$ref": "#/$defs/x"}"##.into()),
            "x",
        ),
        (
            Grammar::JsonSchema(r#"{"type": "integer", "minimum": 3, "maximum": 2}"#.into()),
            "",
        ),
        (Grammar::Regex("(".into()), ""),
        (Grammar::Regex(String::new()), "empty"),
        (Grammar::Choices(vec![]), "empty"),
        (Grammar::Choices(vec![String::new()]), "empty"),
        (Grammar::Lark("start: missing".into()), "missing"),
        (Grammar::Lark("  ".into()), "empty"),
    ] {
        let refusal = grammar.check().unwrap_err();
        assert!(refusal.reason.contains(words), "{grammar:?}: {refusal}");
    }
}

/// Goes on with the first token that is legal, until the answer may end or so many have come.
fn walk(matcher: &mut Matcher, tokens: usize) -> Result<(), Refusal> {
    for _ in 0..tokens {
        let mut logits = vec![0.0; SIZE];
        matcher.mask(&mut logits)?;
        let first = logits.iter().take(SIZE - 2).position(|logit| *logit == 0.0);
        let Some(first) = first else { break };
        matcher.push(i32::try_from(first).unwrap())?;
    }
    Ok(())
}

fn in_stack<T: Send>(kilobytes: usize, f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(kilobytes << 10);
        builder.spawn_scoped(scope, f).unwrap().join().unwrap()
    })
}

#[test]
fn what_is_too_complex_is_told_with_its_bound() {
    let grammar = Grammar::Regex("((a{1,100}){1,100}){1,100}".into());
    let made = constraints().matcher(&grammar);
    let refusal = made
        .and_then(|mut matcher| walk(&mut matcher, 100))
        .unwrap_err();
    assert!(
        refusal.reason.contains(&EXPRESSIONS.to_string()),
        "{refusal}"
    );
    assert!(!refusal.reason.contains('<'), "{refusal}");
    let nested = |depth| r#"{"items":"#.repeat(depth) + "{}" + &"}".repeat(depth);
    let properties: Vec<String> = (0..1001).map(|at| format!(r#""{at}": {{}}"#)).collect();
    let properties = properties.join(",");
    for (schema, bound, place) in [
        (nested(200), "127", "line 1"),
        (
            format!(r#"{{"items": {{"properties": {{{properties}}}}}}}"#),
            "1000",
            "at items",
        ),
        (
            r#"{"items": {"type": "integer", "minimum": -9223372036854775808}}"#.into(),
            "1e18",
            "at items",
        ),
        (
            r#"{"items": {"type": "number", "exclusiveMaximum": 1e300}}"#.into(),
            "exclusiveMaximum",
            "at items",
        ),
    ] {
        let refusal = Grammar::JsonSchema(schema).check().unwrap_err();
        assert!(refusal.reason.contains(bound), "{refusal}");
        assert!(refusal.reason.contains(place), "{refusal}");
        assert!(refusal.unsupported);
    }
}

#[test]
fn a_value_that_must_contain_itself_is_refused_with_its_reference() {
    let object = |required: &str| {
        format!(
            r##"{{"type": "object", "required": [{required}], "properties":
                {{"next": {{"$ref": "#/$defs/a"}}, "some": {{}}}}}}"##
        )
    };
    let of =
        |definition: &str| format!(r##"{{"$ref": "#/$defs/a", "$defs": {{"a": {definition}}}}}"##);
    let list = |least: u32| {
        format!(r##"{{"type": "array", "items": {{"$ref": "#/$defs/a"}}, "minItems": {least}}}"##)
    };
    for endless in [
        r##"{"$ref": "#"}"##.to_owned(),
        of(r##"{"$ref": "#/$defs/a"}"##),
        of(r##"{"anyOf": [{"$ref": "#/$defs/a"}, {"allOf": [{"$ref": "#"}]}]}"##),
        of(&object(r#""some", "next""#)),
        of(&list(1)),
    ] {
        let refusal = Grammar::JsonSchema(endless.clone()).check().unwrap_err();
        assert!(refusal.reason.contains("$ref #"), "{endless}: {refusal}");
    }
    for served in [
        of(&object(r#""some""#)),
        of(&list(0)),
        of(&format!(
            r#"{{"anyOf": [{}, {{"type": "null"}}]}}"#,
            object(r#""next""#)
        )),
    ] {
        assert_eq!(
            Grammar::JsonSchema(served.clone()).check(),
            Ok(()),
            "{served}"
        );
    }
}

#[test]
fn what_restricts_nothing_is_served() {
    let schema = r#"{"type": "object", "propertyNames": true, "properties": {"uniqueItems": false,
        "a": {"type": "array", "items": {"type": "array", "uniqueItems": false}, "uniqueItems": false}}}"#;
    assert_eq!(Grammar::JsonSchema(schema.into()).check(), Ok(()));
    let unique = Grammar::JsonSchema(r#"{"type": "array", "uniqueItems": true}"#.into());
    assert!(unique.check().unwrap_err().reason.contains("uniqueItems"));
}

#[test]
fn many_patterns_are_not_met_at_once() {
    let pattern = |at: usize| format!(r#"{{"type": "string", "pattern": "{at}.*a.{{8}}b"}}"#);
    let all = |part: &dyn Fn(usize) -> String| (0..20).map(part).collect::<Vec<_>>().join(",");
    let property = |name: usize, at: usize| {
        let schema = pattern(at);
        format!(r#"{{"type": "object", "properties": {{"p{name}": {schema}}}}}"#)
    };
    let chain = |at: usize| {
        let next = pattern(at).replacen('{', &format!(r##"{{"$ref": "#/$defs/d{}", "##, at + 1), 1);
        format!(r#""d{at}": {next}"#)
    };
    for refused in [
        format!(r#"{{"allOf": [{}]}}"#, all(&pattern)),
        format!(r#"{{"allOf": [{}]}}"#, all(&|at| property(0, at))),
        format!(r#"{{"anyOf": [{{"allOf": [{}]}}, true]}}"#, all(&pattern)),
        format!(
            r##"{{"$ref": "#/$defs/d0", "$defs": {{{}, "d20": {{}}}}}}"##,
            all(&chain)
        ),
    ] {
        let refusal = Grammar::JsonSchema(refused.clone()).check().unwrap_err();
        assert!(refusal.reason.contains("at once"), "{refused}: {refusal}");
    }
    let each = |at: usize| format!(r#""p{at}": {}"#, pattern(at));
    for served in [
        format!(r#"{{"anyOf": [{}]}}"#, all(&pattern)),
        format!(r#"{{"type": "object", "properties": {{{}}}}}"#, all(&each)),
        format!(r#"{{"type": "array", "prefixItems": [{}]}}"#, all(&pattern)),
    ] {
        assert_eq!(
            Grammar::JsonSchema(served.clone()).check(),
            Ok(()),
            "{served}"
        );
    }
}

#[test]
fn what_explodes_is_served_or_refused_within_its_bound() {
    let properties = |count: usize, value: &str| {
        let all: Vec<String> = (0..count).map(|at| format!(r#""p{at}":{value}"#)).collect();
        Grammar::JsonSchema(format!("{{\"properties\": {{{}}}}}", all.join(",")))
    };
    let deep = |depth| {
        let (open, close) = (r#"{"items": "#.repeat(depth), "}".repeat(depth));
        Grammar::JsonSchema(format!("{open}{{}}{close}"))
    };
    let alternatives = |count: usize| (0..count).map(|at| format!("choice {at}")).collect();
    let chain = |name: &str, count: usize| {
        let rules: Vec<String> = (0..count)
            .map(|at| format!("{name}{at}: \"a\" {name}{}\n", at + 1))
            .collect();
        format!("start: {name}0\n{}{name}{count}: \"b\"", rules.concat())
    };
    let references = |count: usize| {
        let lists: Vec<String> = (0..count)
            .map(|at| {
                format!(
                    r##""a{at}":{{"type":"array","items":{{"$ref":"#/$defs/a{}"}}}}"##,
                    at + 1
                )
            })
            .collect();
        format!(
            r##"{{"$ref":"#/$defs/a0","$defs":{{{},"a{count}":{{"type":"null"}}}}}}"##,
            lists.join(",")
        )
    };
    let recursive = r##"{"$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}, "b": {"anyOf":
        [{"$ref": "#/$defs/n"}, {"type": "array", "items": {"$ref": "#/$defs/n"}}]}}}}, "$ref": "#/$defs/n"}"##;
    for (grammar, served) in [
        (properties(10_000, r#"{"type":"string"}"#), Some(false)),
        (properties(1_000, "{}"), Some(true)),
        (properties(1_000, r#"{"type":"string"}"#), Some(true)),
        (deep(5_000), Some(false)),
        (deep(100), Some(true)),
        (Grammar::JsonSchema(recursive.into()), Some(true)),
        (
            Grammar::JsonSchema(r#"{"type": "string", "maxLength": 1000000}"#.into()),
            None,
        ),
        (
            Grammar::JsonSchema(r#"{"type": "array", "minItems": 1000000}"#.into()),
            None,
        ),
        (Grammar::Regex("(a{1,1000}){1,1000}b{1,1000}".into()), None),
        (Grammar::Regex("((a{1,100}){1,100}){1,100}".into()), None),
        (
            Grammar::Regex(r"(\w|[^\W]){1,500}(\w+\s?){1,500}x".into()),
            None,
        ),
        (Grammar::Regex(r".*a.{1000}".into()), None),
        (
            Grammar::Lark(r#"start: %json {"type": "integer", "multipleOf": 999983}"#.into()),
            Some(false),
        ),
        (
            Grammar::Lark(
                r#"start: %json {"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}"#.into(),
            ),
            Some(false),
        ),
        (Grammar::Choices(alternatives(20_000)), Some(true)),
        (Grammar::Choices(alternatives(10_000)), None),
        (
            Grammar::Lark(format!("start: {}", "\"a\" ".repeat(1 << 18))),
            Some(false),
        ),
        (
            Grammar::Lark(format!("start: {}", "\"a\" ".repeat(1 << 15))),
            None,
        ),
        (Grammar::Lark("start: start start | \"a\"".into()), None),
        (Grammar::Lark(chain("r", 3_500)), Some(true)),
        (Grammar::Lark(chain("T", 8_000)), None),
        (Grammar::JsonSchema(references(2_400)), Some(true)),
    ] {
        let began = Instant::now();
        // On stacks that are no larger than a thread's may be.
        let made = in_stack(1024, || constraints().matcher(&grammar));
        let made = made.and_then(|mut matcher| in_stack(256, || walk(&mut matcher, 100)));
        let took = began.elapsed();
        let shown: String = format!("{grammar:?}").chars().take(60).collect();
        if let Some(served) = served {
            assert_eq!(made.is_ok(), served, "{made:?} {shown}");
        }
        // The bound is 5 s; this is on whatever machine, beside other tests.
        assert!(took < Duration::from_secs(60), "{took:?} {shown}");
    }
}

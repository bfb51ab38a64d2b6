//! What takes too long is refused, with the bound that it exceeds.

use std::time::{Duration, Instant};

use super::tests::constraints;
use super::*;

fn times(count: usize, part: &dyn Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |all, at| all + &part(at))
}

fn list(count: usize, name: &dyn Fn(usize) -> String) -> String {
    let all: Vec<String> = (0..count).map(|at| format!("\"{}\"", name(at))).collect();
    all.join(",")
}

#[test]
fn each_bound_is_told() {
    let object = |required: &str| format!(r#"{{"items": {{"required": [{required}]}}}}"#);
    for (grammar, bound) in [
        (
            Grammar::Regex(times(2000, &|at| format!("(.*{at})?"))),
            "8192 bytes",
        ),
        (
            Grammar::Lark(format!(
                "start: {}",
                times(2000, &|at| format!("(/.*{at}/)? "))
            )),
            "8192 bytes in all its patterns",
        ),
        (
            Grammar::Lark(format!("start: {}", "\"a\" ".repeat(20_000))),
            "65536 bytes",
        ),
        (
            Grammar::JsonSchema(object(&list(1001, &|at| format!("k{at}")))),
            "1000 properties in an object, got 1001 (at items)",
        ),
        (
            Grammar::JsonSchema(format!(
                r#"{{"allOf": [{}]}}"#,
                vec![object(&list(900, &|at| format!("k{at}"))); 6].join(",")
            )),
            "5000 parts",
        ),
        (
            Grammar::JsonSchema(r#"{"items": {"type": "string", "maxLength": 1e12}}"#.into()),
            "maxLength must be below 4294967296, got 1000000000000",
        ),
    ] {
        let refusal = grammar.check().unwrap_err();
        assert!(refusal.reason.contains(bound), "{refusal}");
        assert!(refusal.unsupported);
    }
    // A schema within a grammar has its own bounds.
    let long = format!(
        r#"start: %json {{"enum": [{}]}}"#,
        list(9000, &|at| format!("value {at}"))
    );
    assert_eq!(Grammar::Lark(long).check(), Ok(()));
}

#[test]
fn the_place_is_found_in_a_large_schema_and_in_a_grammar() {
    let many = times(900, &|at| format!(r#""p{at}": {{"type": "integer"}}, "#));
    let schema =
        format!(r#"{{"properties": {{{many} "z": {{"type": "array", "uniqueItems": true}}}}}}"#);
    for grammar in [
        Grammar::JsonSchema(schema.clone()),
        Grammar::Lark(format!("start: \"a\" %json {schema}")),
    ] {
        let refusal = grammar.check().unwrap_err();
        assert!(
            refusal.reason.ends_with("uniqueItems (at properties.z)"),
            "{refusal}"
        );
    }
}

#[test]
fn a_pattern_is_told_without_the_grammar_that_is_made_of_it() {
    for pattern in ["(?=a)", "("] {
        let refusal = Grammar::Regex(pattern.into()).check().unwrap_err();
        assert!(!refusal.reason.contains("start"), "{refusal}");
    }
}

#[test]
fn a_grammar_whose_tokens_take_too_long_is_given_up() {
    let doubled = times(40, &|at| format!("r{at}: r{} r{}\n", at + 1, at + 1));
    let grammar = Grammar::Lark(format!("start: r0\n{doubled}r40: \"y\" |"));
    let began = Instant::now();
    let mut matcher = constraints().matcher(&grammar).unwrap();
    let mut follower = Follower::new(&grammar).unwrap();
    let mut masked = || {
        let mut logits = vec![0.0; 267];
        matcher.mask(&mut logits)?;
        matcher.push(i32::from(b'y'))
    };
    assert!((0..200).any(|_| masked().is_err()));
    assert!((0..200).any(|_| follower.take(b"y").is_err()));
    // The bound is 5 s for each; this is on whatever machine, beside other tests.
    assert!(began.elapsed() < Duration::from_secs(120));
}

#[test]
fn an_answer_does_not_end_where_more_must_come() {
    let constraints = constraints();
    let ends: Vec<i32> = constraints.vocabulary().ends().collect();
    let ids = |more: &str| Grammar::Lark(format!("start: \"a\" <[{}{more}]> \"b\"", ends[0]));
    let legal = |grammar: &Grammar| {
        let mut matcher = constraints.matcher(grammar).unwrap();
        assert!(matcher.push(i32::from(b'a')).unwrap());
        // A row may be longer than the vocabulary.
        let mut logits = vec![0.0; 267 + 64];
        matcher
            .mask(&mut logits)
            .map(|()| (0..267).filter(|at| logits[*at] == 0.0).collect::<Vec<_>>())
    };
    assert_eq!(legal(&ids(",99")), Ok(vec![99]));
    assert!(
        legal(&ids(""))
            .unwrap_err()
            .reason
            .contains("ends the answer")
    );
}

//! Text that is followed and not led: what fits, what may go on, what is over.

use serde_json::{Value, json};

use super::*;

const ANIMAL: &str = r#"{"type": "object", "properties": {"name": {"type": "string"}, "years": {"type": "integer"},
    "kind": {"enum": ["cat", "dog"]}}, "required": ["name", "years", "kind"], "additionalProperties": false}"#;

fn follower(grammar: &Grammar) -> Follower {
    Follower::new(grammar).unwrap()
}

fn schema(text: &str) -> Follower {
    follower(&Grammar::JsonSchema(text.into()))
}

fn regex(text: &str) -> Follower {
    follower(&Grammar::Regex(text.into()))
}

#[test]
fn what_fits_is_taken_and_nothing_else_changes_anything() {
    let mut animal = schema(ANIMAL);
    for (text, fits) in [
        ("Sure", 0),
        ("{\"name\": \"R\"", 12),
        ("} ", 0),
        (", \"years\": \"3", 11),
        (", \"years\": 3", 12),
        (", \"kind\":\"d", 11),
    ] {
        assert_eq!(animal.take(text.as_bytes()).unwrap(), fits, "{text}");
        assert!(!animal.may_end());
    }
    assert_eq!(animal.forced(), b"og\"");
    assert!(!animal.may_end());
    assert_eq!(animal.take(b"ot").unwrap(), 1);
    assert_eq!(animal.take(b"og\"}").unwrap(), 4);
    assert!(animal.may_end() && animal.is_over());
    assert_eq!(animal.take(b"\n").unwrap(), 0);
}

#[test]
fn a_reference_may_escape_the_name_that_it_means() {
    for (name, reference) in [
        ("a/b", "a~1b"),
        ("a~b", "a~0b"),
        ("a b", "a%20b"),
        ("ä", "%C3%A4"),
    ] {
        for keyword in ["$defs", "definitions"] {
            let text = json!({
                keyword: {name: {"type": "integer"}},
                "type": "array",
                "items": {"$ref": format!("#/{keyword}/{reference}")},
            });
            let mut list = schema(&text.to_string());
            assert_eq!(list.take(b"[\"").unwrap(), 1, "{reference}");
            assert_eq!(list.take(b"[1]").unwrap(), 3, "{reference}");
        }
    }
}

#[test]
fn a_character_may_come_in_parts() {
    let mut text = follower(&Grammar::Choices(vec!["né".into(), "nè".into()]));
    assert_eq!(text.forced(), b"n\xC3");
    assert_eq!(text.take(b"n").unwrap(), 1);
    assert_eq!(text.take(b"\xC3").unwrap(), 1);
    assert_eq!(text.take(b"\xA0").unwrap(), 0);
    assert_eq!(text.take(b"\xA9").unwrap(), 1);
    assert!(text.is_over());
}

#[test]
fn what_may_go_on_is_not_over() {
    let mut number = regex("[0-9]+");
    assert!(!number.may_end());
    number.take(b"4").unwrap();
    assert!(number.may_end() && !number.is_over());
    let mut three = regex("[0-9]{3}");
    three.take(b"123").unwrap();
    assert!(three.is_over());
}

#[test]
fn a_clone_goes_its_own_way() {
    let mut one = regex("[ab]c|[ab]d");
    let mut other = one.clone();
    assert_eq!(other.take(b"ad").unwrap(), 2);
    assert_eq!(one.take(b"bc").unwrap(), 2);
    assert!(one.is_over() && other.is_over());
}

#[test]
fn an_ending_ends_the_answer_wherever_it_is() {
    for begun in [
        "",
        "{",
        "{\"na",
        "{\"name\": \"a \\",
        "{\"name\":\"\",\"years\":-",
        "{\"name\":\"\",\"years\":1",
    ] {
        let mut animal = schema(ANIMAL);
        assert_eq!(animal.take(begun.as_bytes()).unwrap(), begun.len());
        let ending = animal.ending(200).unwrap();
        let text = format!("{begun}{}", String::from_utf8(ending).unwrap());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(
            value["years"].is_number() && value["kind"].is_string(),
            "{text}"
        );
        assert!(text.len() < 60, "{text}");
    }
    for (grammar, ending) in [
        (regex("[0-9]{3}-[a-z]{2}"), "000-aa"),
        (regex("a*b"), "aaab"),
        (regex("(?s:.*)"), ""),
        (
            follower(&Grammar::Choices(vec!["yes".into(), "no".into()])),
            "no",
        ),
    ] {
        let found = String::from_utf8(grammar.ending(50).unwrap()).unwrap();
        assert_eq!(found.len(), ending.len(), "{found}");
    }
    assert_eq!(regex("[a-z]{60}").ending(50), None);
    let tree = json!({"$defs": {"n": {"type": "object", "properties": {"a": {"type": "array",
        "items": {"$ref": "#/$defs/n"}}, "b": {"type": "string", "minLength": 20}}, "required": ["a", "b"]}},
        "$ref": "#/$defs/n"});
    let ending = schema(&tree.to_string()).ending(400).unwrap();
    let value: Value = serde_json::from_slice(&ending).unwrap();
    assert!(value["b"].as_str().unwrap().len() >= 20, "{value}");
}

#[test]
fn words_spell_a_text_with_few_tokens() {
    let mut words = Words::default();
    for (id, word) in (0..).zip(["{", "\"", "{\"", "na", "name", "me\"", "a", "n"]) {
        words.learn(id, word.as_bytes());
    }
    words.learn(50, b"name");
    let ids = |text: &str| {
        let spelled = words.spell(text.as_bytes())?;
        assert_eq!(
            spelled.iter().map(|(_, length)| length).sum::<usize>(),
            text.len()
        );
        Some(spelled.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
    };
    assert_eq!(ids("{\"name"), Some(vec![2, 4]));
    // The longest first word is not the best beginning.
    assert_eq!(ids("name\""), Some(vec![4, 1]));
    assert_eq!(ids(""), Some(vec![]));
    assert_eq!(ids("nax"), None);
}

#[test]
fn a_tokenizer_file_tells_the_bytes() {
    let bytes = json!({
        "added_tokens": [{"id": 3, "content": "<|end|>", "special": true}, {"id": 4, "content": "<t>", "special": false}],
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {"a": 0, "Ġb": 1, "Ã©Ċ": 2, "<|end|>": 3}, "merges": ["a b"]},
    });
    let spaces = json!({
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}]},
        "model": {"type": "Unigram", "vocab": [["a", 0.0], ["▁b", -1.0], ["<0x0A>", -2.0]]},
    });
    for (file, texts) in [
        (
            bytes,
            [Some("a"), Some(" b"), Some("é\n"), None, Some("<t>")],
        ),
        (spaces, [Some("a"), Some(" b"), Some("\n"), None, None]),
    ] {
        let vocabulary = Vocabulary::from_tokenizer_json(&file.to_string()).unwrap();
        for (id, text) in (0..).zip(texts) {
            assert_eq!(vocabulary.text(id), text.map(str::as_bytes), "{id}");
        }
    }
    for (file, word) in [
        (json!({}), "model"),
        (json!({"model": {"vocab": 3}}), "form"),
        (json!({"model": {"vocab": {"a": -1}}}), "form"),
        (json!({"model": {"vocab": {"a": 1u64 << 40}}}), "id"),
        (
            json!({"model": {"vocab": {}}, "decoder": {"type": "WordPiece"}}),
            "WordPiece",
        ),
    ] {
        let wrong = Vocabulary::from_tokenizer_json(&file.to_string()).unwrap_err();
        assert!(wrong.contains(word), "{wrong}");
    }
}

#[test]
fn what_needs_a_certain_character_is_ended_too() {
    for format in [
        "email",
        "date-time",
        "uri",
        "uuid",
        "ipv4",
        "hostname",
        "time",
    ] {
        let schema = format!(r#"{{"type": "string", "format": "{format}"}}"#);
        let follower = Follower::new(&Grammar::JsonSchema(schema)).unwrap();
        let ending = follower.ending(200);
        assert!(ending.is_some(), "{format}");
    }
}

#[test]
fn a_thousand_properties_are_followed_and_what_allows_nothing_is_not() {
    let all: Vec<String> = (0..1000).map(|at| format!(r#""p{at}":{{}}"#)).collect();
    let mut large = schema(&format!("{{\"properties\":{{{}}}}}", all.join(",")));
    assert_eq!(large.take(b"{\"p1\": 2").unwrap(), 8);
    for nothing in [
        r##"{"$ref": "#"}"##,
        r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#"}}}"##,
    ] {
        let made = Follower::new(&Grammar::JsonSchema(nothing.into()));
        assert!(made.is_err(), "{nothing}");
    }
}

#[test]
fn an_answer_comes_nearer_to_an_end_that_is_far() {
    let mut long = schema(r#"{"type": "array", "items": {"type": "integer"}, "minItems": 100000}"#);
    assert_eq!(long.ending(4096), None);
    for _ in 0..20 {
        let step = long.step();
        assert!(!step.is_empty());
        assert_eq!(long.take(&step).unwrap(), step.len());
    }
    // To look so far ahead takes what the engine may take; the answer itself goes on.
    let mut counted = schema(r#"{"type": "string", "minLength": 20000}"#);
    assert!(!counted.toward_end(4096).1);
    assert_eq!(counted.take(b"\"goes on").unwrap(), 8);
    assert!(!counted.step().is_empty());
    let mut wide = regex("(é|è)x*");
    let step = wide.step();
    assert_eq!(wide.take(&step).unwrap(), 2);
    assert!(wide.may_end());
}

#[test]
fn a_fraction_of_a_second_is_ended_too() {
    let mut time = schema(r#"{"type": "string", "format": "date-time"}"#);
    let begun = b"\"0201-08-31T05:47:26.96823";
    assert_eq!(time.take(begun).unwrap(), begun.len());
    let ending = time.ending(64).unwrap();
    assert_eq!(time.take(&ending).unwrap(), ending.len());
    assert!(time.may_end());
}

#[test]
fn what_is_only_tried_is_as_good_as_taken() {
    let json = r#"{"name": "Rex, a dog", "tags": ["small", "loud one", ""], "text": "aaa bbb ccc ddd eee fff ggg"}"#;
    let schema = r#"{"type": "object", "properties": {"name": {"type": "string"}, "tags": {"items": {"type": "string"}}},
        "required": ["name"]}"#;
    let prose = "Some words of a text, and then more of them. 1 2 3 4 5 6 7 8 9\n".repeat(4);
    for (grammar, text) in [
        (Grammar::JsonSchema(schema.into()), json),
        (Grammar::Regex("[^{}]*".into()), &prose),
        (
            Grammar::Regex("([A-Z][a-z ]+[,.]? ?|[0-9 \n])+".into()),
            &prose,
        ),
        (
            Grammar::Lark("start: /[^.]+/ (\".\" /[^.]+/)*".into()),
            &prose,
        ),
    ] {
        let mut seed = 7_usize;
        let mut draw = |most: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695);
            (seed >> 33) % most
        };
        for _ in 0..40 {
            let mut waits = follower(&grammar);
            let mut eager = follower(&grammar);
            eager.may_wait = false;
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((1 + draw(9)).min(rest.len()));
                let wrong = [piece, b"{\"}"].concat();
                if draw(6) == 0 {
                    assert_eq!(waits.take(&wrong).unwrap(), eager.take(&wrong).unwrap());
                }
                match draw(12) {
                    0 => assert_eq!(waits.may_end(), eager.may_end()),
                    1 => assert_eq!(waits.forced(), eager.forced()),
                    2 => assert_eq!(waits.next(), eager.next()),
                    3 => assert_eq!(waits.step(), eager.step()),
                    4 => assert_eq!(waits.ending(60), eager.ending(60)),
                    5 => assert_eq!(waits.is_over(), eager.is_over()),
                    6 => (waits, eager) = (waits.clone(), eager.clone()),
                    _ => {}
                }
                assert_eq!(waits.take(piece).unwrap(), eager.take(piece).unwrap());
                rest = behind;
            }
            assert_eq!(waits.may_end(), eager.may_end());
        }
    }
}

//! Markers that are tokens of the model's vocabulary.

use super::super::super::{Constraints, Follower, Kind, Matcher, Part, Vocabulary};
use super::calls;

/// A vocabulary of all bytes, these markers, and an end.
fn with_markers(markers: &[&str]) -> Constraints {
    let mut vocabulary = Vocabulary::default();
    for byte in 0..=u8::MAX {
        vocabulary.push(Kind::Text, &[byte]);
    }
    for marker in markers {
        vocabulary.push(Kind::Marker, marker.as_bytes());
    }
    vocabulary.push(Kind::End, b"<|end|>");
    Constraints::new(vocabulary).unwrap()
}

fn take(matcher: &mut Matcher, text: &str) -> bool {
    text.bytes()
        .all(|byte| matcher.push(i32::from(byte)).unwrap())
}

#[test]
fn a_marker_that_is_a_token_comes_as_that_token() {
    let constraints = with_markers(&["<tool_call>", "</tool_call>"]);
    let mut matcher = constraints
        .matcher(&calls("hermes", Some("now"), false))
        .unwrap();
    let mut logits = vec![0.0; 259];
    matcher.mask(&mut logits).unwrap();
    let legal: Vec<usize> = (0..259).filter(|&at| logits[at] == 0.0).collect();
    assert_eq!(legal, [256]);
    assert!(matcher.push(256).unwrap());
    assert!(take(
        &mut matcher,
        "\n{\"name\": \"now\", \"arguments\": {}}\n"
    ));
    assert!(!matcher.push(i32::from(b'<')).unwrap());
    assert!(matcher.push(257).unwrap() && matcher.is_over());
}

#[test]
fn a_text_ends_with_the_token_that_closes_it() {
    let marks = [
        "<tool_call>",
        "</tool_call>",
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
    ];
    let constraints = with_markers(&marks);
    let mut matcher = constraints
        .matcher(&calls("glm4", Some("get_weather"), false))
        .unwrap();
    assert!(matcher.push(256).unwrap());
    assert!(take(&mut matcher, "get_weather\n"));
    assert!(matcher.push(258).unwrap() && take(&mut matcher, "city") && matcher.push(259).unwrap());
    assert!(
        matcher.push(260).unwrap() && take(&mut matcher, "Oslo <") && matcher.push(261).unwrap()
    );
    assert!(matcher.push(258).unwrap() && take(&mut matcher, "days") && matcher.push(259).unwrap());
    assert!(matcher.push(260).unwrap() && take(&mut matcher, "3") && matcher.push(261).unwrap());
    assert!(matcher.push(257).unwrap() && matcher.is_over());
}

#[test]
fn several_tokens_can_spell_a_marker() {
    let constraints = with_markers(&["<|action_start|>", "<|plugin|>", "<|action_end|>"]);
    let mut matcher = constraints
        .matcher(&calls("internlm2", Some("now"), false))
        .unwrap();
    assert!(matcher.push(256).unwrap() && matcher.push(257).unwrap());
    assert!(take(&mut matcher, "{\"name\": \"now\", \"arguments\": {}}"));
    assert!(matcher.push(258).unwrap() && matcher.is_over());
}

#[test]
fn a_follower_has_characters_for_the_tokens_of_markers() {
    let constraints = with_markers(&["<tool_call>", "</tool_call>"]);
    let vocabulary = constraints.vocabulary();
    let mut follower =
        Follower::of_tokens(&calls("hermes", Some("now"), false), vocabulary).unwrap();
    assert_eq!(follower.take(b"<").unwrap(), 0);
    let forced = follower.forced().to_vec();
    let marks = follower.marks().clone();
    assert_eq!(marks.split(&forced), [Part::Mark(256, b"<tool_call>")]);
    let (stands, shown) = marks.token(257).unwrap();
    assert_eq!(
        (marks.token(5), shown, marks.shown(&stands).as_slice()),
        (None, &b"</tool_call>"[..], shown)
    );
    follower.take(&forced).unwrap();
    let rest = b"{\"name\": \"now\", \"arguments\": {}}";
    assert_eq!(follower.take(rest).unwrap(), rest.len());
    assert!(follower.ending(10).unwrap().ends_with(&stands));
    // Of text between tags, too.
    let constraints = with_markers(&["<tool_call>", "</tool_call>", "<arg_value>", "</arg_value>"]);
    let grammar = calls("glm4", Some("get_weather"), false);
    let mut follower = Follower::of_tokens(&grammar, constraints.vocabulary()).unwrap();
    let stands = |id: i32| String::from_utf8(follower.marks().token(id).unwrap().0).unwrap();
    let city = format!(
        "{}get_weather\n<arg_key>city</arg_key>{}Oslo",
        stands(256),
        stands(258)
    );
    let close = stands(259);
    assert_eq!(follower.take(city.as_bytes()).unwrap(), city.len());
    assert!(follower.ending(300).unwrap().starts_with(close.as_bytes()));
}

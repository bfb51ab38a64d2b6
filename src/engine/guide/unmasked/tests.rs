//! Answers that are kept to a grammar while the library chooses: what is let through, what is sent.

#![allow(
    clippy::option_option,
    reason = "an answer without thinking, and thinking without a tag"
)]

use rkllm_text::constraint::{Grammar, Kind, Vocabulary, Words};

use super::*;

const MARKERS: [&str; 2] = ["<think>", "</think>"];
const TEXTS: [&str; 14] = [
    "\n\n", "yes", "no", "zzz", "<th", "ink>yes", "</th", "i", "n", "k", ">", "a", "b", "hm",
];

fn id(text: &str) -> i32 {
    let all = MARKERS.iter().chain(&TEXTS);
    all.into_iter().position(|one| *one == text).unwrap() as i32
}

/// The two halves of an "é".
const HALVES: [(i32, &[u8]); 2] = [(16, b"\xC3"), (17, b"\xA9")];

fn free(grammar: Grammar, way: Way, thinking: Option<Option<&str>>) -> Unmasked {
    let mut vocabulary = Vocabulary::default();
    for marker in MARKERS {
        vocabulary.push(Kind::Marker, marker.as_bytes());
    }
    for text in TEXTS {
        vocabulary.push(Kind::Text, text.as_bytes());
    }
    for (_, half) in HALVES {
        vocabulary.push(Kind::Text, half);
    }
    vocabulary.push(Kind::End, b"<|end|>");
    let thinking = thinking.map(|open| Thinking {
        open: open.map(str::to_owned),
        close: "</think>".to_owned(),
    });
    let constraint = Constraint {
        grammar,
        thinking,
        way: Some(way),
    };
    let words = Words::of(&vocabulary);
    let vocabulary = Arc::new(vocabulary);
    let tokens = Arc::new(Tokens::Known { vocabulary, words });
    Unmasked::new(&constraint, way, tokens, false).unwrap()
}

fn choice(thinking: Option<Option<&str>>) -> Unmasked {
    let choices = Grammar::Choices(vec!["yes".into(), "no".into()]);
    free(choices, Way::Guided, thinking)
}

fn regex(text: &str, way: Way) -> Unmasked {
    free(Grammar::Regex(text.into()), way, None)
}

fn look(free: &mut Unmasked, text: &str) -> Seen {
    free.look(id(text), text.as_bytes()).unwrap().0
}

fn text_of(next: &Next) -> String {
    let Next::Pieces { pieces, .. } = next else {
        panic!("{next:?}")
    };
    let bytes: Vec<u8> = pieces.iter().flat_map(|(_, text)| text.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_tag_that_is_a_token_is_sent_as_that_token() {
    let mut free = choice(Some(None));
    assert_eq!(look(&mut free, "hm"), Seen::Fits);
    let next = free.next(true, true, None).unwrap();
    let Next::Pieces { pieces, .. } = &next else {
        panic!("{next:?}")
    };
    assert_eq!(pieces[0], (id("</think>"), b"</think>".to_vec()));
    assert!(free.kept().complete && free.is_over(), "{next:?}");
}

#[test]
fn tags_are_known_where_the_library_shows_no_text_of_them() {
    let mut free = choice(Some(Some("<think>")));
    for tag in MARKERS {
        let (seen, text) = free.look(id(tag), b"").unwrap();
        assert_eq!((seen, &*text), (Seen::Fits, tag.as_bytes()));
        if tag == "<think>" {
            assert_eq!(look(&mut free, "hm"), Seen::Fits);
        }
    }
    assert_eq!(look(&mut free, "\n\n"), Seen::Fits);
    assert_eq!(look(&mut free, "yes"), Seen::FitsAtEnd);
}

#[test]
fn a_tag_may_come_in_parts_with_the_answer_behind_it() {
    let mut free = choice(Some(None));
    for (text, seen) in [
        ("hm", Seen::Fits),
        ("</th", Seen::Fits),
        ("ink>yes", Seen::FitsAtEnd),
    ] {
        assert_eq!(look(&mut free, text), seen);
    }
    assert!(free.kept().complete);
}

#[test]
fn a_tag_that_was_begun_is_brought_to_its_end() {
    let mut free = choice(Some(Some("<think>")));
    assert_eq!(look(&mut free, "<th"), Seen::Fits);
    assert_eq!(look(&mut free, "zzz"), Seen::Refused);
    assert_eq!(text_of(&free.next(false, true, None).unwrap()), "ink>");
    assert_eq!(look(&mut free, "hm"), Seen::Fits);
    assert!(!free.kept().complete);
}

#[test]
fn white_space_between_is_bounded() {
    let mut free = choice(Some(None));
    free.look(id("</think>"), b"</think>").unwrap();
    for _ in 0..GAP {
        assert_eq!(look(&mut free, "\n\n"), Seen::Fits);
    }
    assert_eq!(look(&mut free, "\n\n"), Seen::Refused);
}

#[test]
fn the_library_chooses_again_only_so_often_in_one_place() {
    let mut free = choice(None);
    let mut again = 0;
    loop {
        assert_eq!(look(&mut free, "zzz"), Seen::Refused);
        match free.next(false, true, Some(7)).unwrap() {
            Next::Again(token) => {
                assert_eq!(token, 7);
                again += 1;
            }
            next => {
                assert!(["yes", "no"].contains(&text_of(&next).as_str()));
                break;
            }
        }
        assert!(again < 100);
    }
    let kept = free.kept();
    assert_eq!(
        (kept.retries, kept.replaced, kept.complete),
        (again, 1, true)
    );
    assert!(again > 0);
}

#[test]
fn what_is_replaced_too_often_is_brought_to_its_end_however_far() {
    for (form, length) in [("[ab]{200}", 200), ("(a|b){9000}", 9000)] {
        let mut free = regex(form, Way::Guided);
        let (mut text, mut calls) = (String::new(), 0);
        while !free.is_over() {
            assert_eq!(look(&mut free, "zzz"), Seen::Refused);
            text += &text_of(&free.next(false, false, None).unwrap());
            calls += 1;
        }
        assert_eq!(text.len(), length);
        assert!(calls < 100, "{calls}");
    }
}

#[test]
fn an_answer_whose_end_is_far_goes_on() {
    let mut free = regex("(a|b){9000}", Way::Guided);
    assert_eq!(look(&mut free, "a"), Seen::Fits);
    // The library ended it.
    let next = free.next(true, false, None).unwrap();
    assert_eq!(text_of(&next).len(), 1);
    // Without the library it comes to its limit, and not without one.
    assert_eq!(free.ending(20).unwrap().len(), 20);
    assert!(free.ending(usize::MAX).is_err());
    assert!(!free.kept().complete);
}

#[test]
fn halves_of_a_character_are_known_without_their_text() {
    let mut free = regex("(é|è)", Way::Guided);
    let seen = HALVES.map(|(id, half)| {
        let (seen, text) = free.look(id, b"").unwrap();
        assert_eq!(&*text, half);
        seen
    });
    assert_eq!(seen, [Seen::Fits, Seen::FitsAtEnd]);
}

#[test]
fn a_try_like_the_one_before_is_the_last() {
    let mut free = regex("(yes|no)", Way::Retry);
    for next in [Next::Retry, Next::Fails] {
        assert_eq!(look(&mut free, "zzz"), Seen::Refused);
        assert_eq!(free.next(true, true, None).unwrap(), next);
    }
}

#[test]
fn tries_are_counted() {
    let mut free = regex("(yes|no)", Way::Retry);
    let mut tries = 0;
    for wrong in ["zzz", "hm"].iter().cycle() {
        tries += 1;
        look(&mut free, wrong);
        if free.next(true, true, None).unwrap() == Next::Fails {
            break;
        }
        assert!(tries < 100);
    }
    assert_eq!(free.kept().retries + 1, tries);
    assert!(tries > 1);
}

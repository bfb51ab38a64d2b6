//! What is sent to a library that holds something, and when that is forgotten.

use super::*;

fn turn(ids: &[i32]) -> RunSpec {
    RunSpec {
        turn: true,
        ..RunSpec::of_tokens(ids)
    }
}

fn ended(made: &[i32], size: usize) -> Course {
    let mut noted = Made::default();
    for id in made {
        noted.push(*id, b"");
    }
    Course {
        made: noted,
        ended_itself: true,
        size: Some(size),
        prefilled: None,
    }
}

/// What the library gets: whether its cache is cleared, whether it keeps the run, and the tokens.
fn given(held: &mut Held, mut spec: RunSpec) -> (bool, bool, Vec<i32>) {
    let begun = held.begin(&mut spec, true);
    match &spec.lanes[0].input {
        Input::Tokens(ids) => (begun.clears, spec.keep_history, ids.clone()),
        other => panic!("{other:?}"),
    }
}

/// A library to which the rest is given, after a turn of `[1, 2, 3]` answered by `[4, 5]` and an end.
fn appended() -> Held {
    let mut held = Held::new(PrefixWay::Appended, 100);
    assert_eq!(
        given(&mut held, turn(&[1, 2, 3])),
        (true, true, vec![1, 2, 3])
    );
    held.end(&ended(&[4, 5], 5));
    held
}

#[test]
fn what_goes_on_from_all_that_is_held_is_sent_alone() {
    let mut held = appended();
    assert_eq!(held.ids(), [1, 2, 3, 4, 5]);
    let next = given(&mut held, turn(&[1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(next, (false, true, vec![6, 7]));
    held.end(&ended(&[8, 9], 8));
    // The end token was told, and is not computed.
    assert_eq!(held.ids(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let next = given(&mut held, turn(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    assert_eq!(next, (false, true, vec![9, 10]));
}

#[test]
fn what_does_not_is_sent_as_a_whole() {
    for ids in [&[1, 2, 3, 4, 5][..], &[1, 2, 3], &[1, 2, 9, 4, 5, 6], &[9]] {
        assert_eq!(
            given(&mut appended(), turn(ids)),
            (true, true, ids.to_vec())
        );
    }
    let longer = [1, 2, 3, 4, 5, 6];
    let styled = RunSpec {
        lora: Some(c"style".to_owned()),
        ..turn(&longer)
    };
    assert_eq!(
        given(&mut appended(), styled),
        (true, true, longer.to_vec())
    );
    let off = RunSpec {
        reuse: Reuse::Off,
        ..turn(&longer)
    };
    assert_eq!(given(&mut appended(), off), (true, true, longer.to_vec()));
    let saving = RunSpec {
        save_prompt_cache: Some(c"/x".to_owned()),
        ..turn(&longer)
    };
    assert_eq!(
        given(&mut appended(), saving),
        (false, false, longer.to_vec())
    );
}

#[test]
fn what_is_not_certain_is_forgotten() {
    let longer = [1, 2, 3, 4, 5, 6];
    let whole = (true, true, longer.to_vec());
    let mut forgotten = appended();
    forgotten.forget();
    assert!(forgotten.ids().is_empty());
    assert_eq!(given(&mut forgotten, turn(&longer)), whole);

    // A run in between of which nobody says what it has left, and one that never came to its end.
    for follows in [false, true] {
        let mut other = appended();
        other.begin(&mut turn(&[1, 2]), follows);
        assert_eq!(given(&mut other, turn(&longer)), whole);
    }
    let mut text = appended();
    let mut spec = turn(&[]);
    spec.lanes[0].input = Input::prompt("x").unwrap();
    assert_eq!(text.begin(&mut spec, true), Begun::default());
    text.end(&ended(&[], 3));
    assert!(text.ids().is_empty());

    let mut limited = Held::new(PrefixWay::Appended, 100);
    given(&mut limited, turn(&[1, 2, 3]));
    limited.end(&Course {
        ended_itself: false,
        ..ended(&[4, 5], 4)
    });
    assert_eq!(limited.ids(), [1, 2, 3, 4]);
    assert_eq!(given(&mut limited, turn(&longer)), whole);

    let mut full = Held::new(PrefixWay::Appended, 5);
    given(&mut full, turn(&[1, 2, 3]));
    full.end(&ended(&[4, 5], 5));
    assert!(full.ids().is_empty());
}

#[test]
fn a_library_that_does_something_else_is_not_asked_again() {
    let longer = [1, 2, 3, 4, 5, 6];
    let wrong_size = ended(&[7], 9);
    let one_more = Course {
        prefilled: Some(2),
        ..ended(&[7], 6)
    };
    let silent = Course {
        size: None,
        ..ended(&[7], 6)
    };
    for course in [wrong_size, one_more, silent] {
        let mut held = appended();
        given(&mut held, turn(&longer));
        held.end(&course);
        assert!(held.ids().is_empty(), "{course:?}");
        assert_eq!(
            given(&mut held, turn(&longer)),
            (false, false, longer.to_vec())
        );
    }
}

#[test]
fn other_libraries_get_the_whole_prompt() {
    for way in [PrefixWay::Whole, PrefixWay::Matched] {
        let mut held = Held::new(way, 100);
        for made in [&[4, 5][..], &[6]] {
            assert_eq!(
                given(&mut held, turn(&[1, 2, 3])),
                (false, false, vec![1, 2, 3])
            );
            held.end(&Course {
                size: None,
                ..ended(made, 0)
            });
            assert_eq!(held.ids(), [&[1, 2, 3], &made[..made.len() - 1]].concat());
        }
        let off = RunSpec {
            reuse: Reuse::Off,
            ..turn(&[1])
        };
        let clears = way == PrefixWay::Matched;
        assert_eq!(given(&mut held, off), (clears, false, vec![1]));
    }
}

#[test]
fn what_is_counted_is_told() {
    let mut held = appended();
    let begun = held.begin(&mut turn(&[1, 2, 3, 4, 5, 6]), true);
    assert_eq!((begun.prompt, begun.cached), (Some(6), Some(5)));
    let mut conversation = turn(&[1]);
    conversation.keep_history = true;
    assert_eq!(held.begin(&mut conversation, true), Begun::default());
    assert!(conversation.keep_history);
}

/// A turn as text, whose answers end with a marker of number 9.
fn said(text: &str) -> RunSpec {
    let ends = vec![("<e>".to_owned(), Some(9))];
    let mut spec = turn(&[]);
    spec.lanes[0].input = Input::Rendered(Rendered::new(text).unwrap().with_ends(ends));
    spec
}

/// Whether its cache is cleared, and the text that the library gets.
fn text_given(held: &mut Held, mut spec: RunSpec) -> (bool, String) {
    let begun = held.begin(&mut spec, true);
    assert!(spec.keep_history);
    match &spec.lanes[0].input {
        Input::Rendered(text) => (begun.clears, text.texts[0].to_str().unwrap().to_owned()),
        other => panic!("{other:?}"),
    }
}

fn answered(pieces: &[(i32, &str)], prefilled: usize, size: usize) -> Course {
    let mut made = Made::new(true);
    for (id, piece) in pieces {
        made.push(*id, piece.as_bytes());
    }
    Course {
        made,
        ended_itself: true,
        size: Some(size),
        prefilled: Some(prefilled),
    }
}

#[test]
fn text_is_cut_where_an_answer_ends() {
    let cases = [
        // The end was not told; it was told and not computed; it was told and computed.
        (&[(5, "hey")][..], 4, "<e>b"),
        (&[(5, "hey"), (9, "")], 4, "<e>b"),
        (&[(5, "hey"), (9, "")], 5, "b"),
    ];
    for (pieces, size, rest) in cases {
        let mut held = Held::new(PrefixWay::Appended, 100);
        assert_eq!(text_given(&mut held, said("a")), (true, "a".to_owned()));
        assert!(held.end(&answered(pieces, 3, size)));
        let next = said("ahey<e>b");
        assert_eq!(held.expects(&next), Some(size));
        assert_eq!(text_given(&mut held, next), (false, rest.to_owned()));
        // The counts of the library go on from what it held.
        assert!(held.end(&answered(&[(6, "c")], 2, size + 3)));
        assert_eq!(held.expects(&said("x")), Some(size + 3));
    }
}

#[test]
fn text_that_is_cut_elsewhere_goes_as_a_whole() {
    for next in ["aheyb", "ahey", "ahe<e>b", "ah", "b", "a<e>b"] {
        let mut held = Held::new(PrefixWay::Appended, 100);
        text_given(&mut held, said("a"));
        held.end(&answered(&[(5, "hey")], 3, 4));
        assert_eq!(text_given(&mut held, said(next)), (true, next.to_owned()));
    }
}

#[test]
fn text_without_a_count_is_not_gone_on_from() {
    for course in [
        Course {
            prefilled: None,
            ..answered(&[(5, "hey")], 3, 4)
        },
        Course {
            size: None,
            ..answered(&[(5, "hey")], 3, 4)
        },
        answered(&[(5, "hey")], 3, 9),
    ] {
        let mut held = Held::new(PrefixWay::Appended, 100);
        text_given(&mut held, said("a"));
        assert!(!held.end(&course));
        let mut next = said("ahey<e>b");
        assert_eq!(held.begin(&mut next, true), Begun::default());
        assert!(!next.keep_history);
    }
}

#[test]
fn other_libraries_find_text_themselves() {
    for way in [PrefixWay::Whole, PrefixWay::Matched] {
        let mut held = Held::new(way, 100);
        let mut spec = said("a");
        assert_eq!(held.begin(&mut spec, true), Begun::default());
        assert!(!spec.keep_history);
    }
}

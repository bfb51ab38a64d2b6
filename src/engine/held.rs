//! Which tokens the library holds in its KV cache: the one owner of that state.
//!
//! Only what is certain counts; when in doubt, it is forgotten, and a prompt goes to the library as a whole.

use std::ffi::CString;

use crate::abi::PrefixWay;
use crate::protocol::Reuse;
use crate::protocol::input::Input;
use crate::protocol::message::RunSpec;

/// What has been decided about a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Begun {
    /// The KV cache is to be cleared first.
    pub(super) clears: bool,
    /// Tokens of the prompt, where they are counted here.
    pub(super) prompt: Option<usize>,
    /// Those of them that the library holds and is not given.
    pub(super) cached: Option<usize>,
}

/// How a run has gone that came to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course<'a> {
    /// The token calls.
    pub(super) made: &'a [i32],
    /// The model has ended its answer; it was not at a limit.
    pub(super) ended_itself: bool,
    /// Positions in the cache, where the library tells.
    pub(super) size: Option<usize>,
    /// Tokens that the library says it has computed of the prompt.
    pub(super) prefilled: Option<usize>,
}

/// A run whose tokens are followed.
#[derive(Debug)]
struct Followed {
    prompt: Vec<i32>,
    /// How many of its tokens the library was given.
    given: usize,
    appends: bool,
    lora: Option<CString>,
}

/// What the library holds, as far as it is certain.
#[derive(Debug)]
pub(super) struct Held {
    way: PrefixWay,
    /// Tokens that the context has room for.
    room: usize,
    ids: Vec<i32>,
    lora: Option<CString>,
    /// The next run with history goes on from just these.
    goes_on: bool,
    /// The library has not done with history what was expected of it.
    distrusted: bool,
    run: Option<Followed>,
}

impl Held {
    pub(super) fn new(way: PrefixWay, room: usize) -> Self {
        Self {
            way,
            room,
            ids: Vec::new(),
            lora: None,
            goes_on: false,
            distrusted: false,
            run: None,
        }
    }

    /// The tokens; none where nothing is certain.
    pub(super) fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// Whether the run that is under way needs the size of the cache when it ends.
    pub(super) fn needs_size(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.appends)
    }

    /// What is held is not known any more.
    pub(super) fn forget(&mut self) {
        self.ids.clear();
        self.goes_on = false;
        self.run = None;
    }

    /// A run is about to begin: decides what of it the library gets, and changes `spec` to that.
    pub(super) fn begin(&mut self, spec: &mut RunSpec, follows: bool) -> Begun {
        let mut begun = Begun::default();
        if let [lane] = spec.lanes.as_slice() {
            let counted = match &lane.input {
                Input::Tokens(ids) => Some(ids.len()),
                Input::Embeddings(values) => Some(values.rows()),
                Input::Prompt(_) | Input::Rendered(_) | Input::Multimodal(_) => None,
            };
            begun.prompt = counted.filter(|_| !spec.keep_history);
        }
        if spec.reuse == Reuse::Off {
            begun.clears = self.way != PrefixWay::Whole;
            begun.cached = begun.prompt.filter(|_| begun.clears).map(|_| 0);
        }
        let held = std::mem::take(&mut self.ids);
        let goes_on = std::mem::take(&mut self.goes_on) && self.lora == spec.lora;
        self.run = None;
        let lane = match spec.lanes.as_mut_slice() {
            [lane] if follows && !spec.keep_history => lane,
            // Of what else a run may be, nobody says what is held afterwards.
            _ => return begun,
        };
        let Input::Tokens(prompt) = &lane.input else {
            return begun;
        };
        let prompt = prompt.clone();
        let mut given = prompt.len();
        // A prompt's cache is saved of the run that computes the prompt.
        let appends = self.way == PrefixWay::Appended
            && spec.turn
            && spec.save_prompt_cache.is_none()
            && !self.distrusted;
        if appends {
            spec.keep_history = true;
            let tail = prompt.strip_prefix(held.as_slice());
            let goes_on = goes_on && spec.reuse != Reuse::Off;
            if let Some(tail) = tail.filter(|tail| goes_on && !tail.is_empty()) {
                given = tail.len();
                begun.cached = Some(held.len());
                lane.input = Input::Tokens(tail.to_vec());
            } else {
                begun.clears = true;
                begun.cached = Some(0);
            }
        }
        self.run = Some(Followed {
            prompt,
            given,
            appends,
            lora: spec.lora.clone(),
        });
        begun
    }

    /// The run has come to its end, and nothing has cut it off.
    pub(super) fn end(&mut self, course: Course<'_>) {
        let Some(run) = self.run.take() else {
            return self.forget();
        };
        let made = course.made.len();
        // The token chosen last is not computed; an end token may have been chosen and not told.
        let kept = match course.size {
            Some(size) => size
                .checked_sub(run.prompt.len())
                .filter(|&kept| kept == made || kept + 1 == made),
            None => Some(made.saturating_sub(1)),
        };
        let computed = course.prefilled.is_none_or(|count| count == run.given);
        let known = kept.filter(|_| !run.appends || (computed && course.size.is_some()));
        let Some(kept) = known else {
            // With a loaded prompt cache or a template of its own the library may hold more.
            self.distrusted |= run.appends;
            return self.forget();
        };
        // Where the context was full, the library has dropped what nobody knows.
        if run.prompt.len() + made >= self.room {
            return self.forget();
        }
        self.ids = run.prompt;
        self.ids.extend_from_slice(&course.made[..kept]);
        self.lora = run.lora;
        // A token that waits to be computed may or may not be computed by the next run.
        self.goes_on = run.appends && course.ended_itself;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::LaneSpec;

    fn turn(ids: &[i32]) -> RunSpec {
        RunSpec {
            lanes: vec![LaneSpec {
                input: Input::Tokens(ids.to_vec()),
                role: c"user".to_owned(),
                thinking: false,
            }],
            wants: None,
            lora: None,
            save_prompt_cache: None,
            keep_history: false,
            sampling: None,
            max_new_tokens: 0,
            seed: None,
            reuse: Reuse::Auto,
            turn: true,
        }
    }

    fn ended(made: &[i32], size: usize) -> Course<'_> {
        Course {
            made,
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
        held.end(ended(&[4, 5], 5));
        held
    }

    #[test]
    fn what_goes_on_from_all_that_is_held_is_sent_alone() {
        let mut held = appended();
        assert_eq!(held.ids(), [1, 2, 3, 4, 5]);
        let next = given(&mut held, turn(&[1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(next, (false, true, vec![6, 7]));
        held.end(ended(&[8, 9], 8));
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
        text.end(ended(&[], 3));
        assert!(text.ids().is_empty());

        let mut limited = Held::new(PrefixWay::Appended, 100);
        given(&mut limited, turn(&[1, 2, 3]));
        limited.end(Course {
            ended_itself: false,
            ..ended(&[4, 5], 4)
        });
        assert_eq!(limited.ids(), [1, 2, 3, 4]);
        assert_eq!(given(&mut limited, turn(&longer)), whole);

        let mut full = Held::new(PrefixWay::Appended, 5);
        given(&mut full, turn(&[1, 2, 3]));
        full.end(ended(&[4, 5], 5));
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
            held.end(course);
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
                held.end(Course {
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
}

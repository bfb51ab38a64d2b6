//! Finds stop strings in text that comes piece by piece.

/// Most stop strings of a run: beyond, somebody has made a mistake.
pub const MOST: usize = 256;
/// Most bytes of all stop strings of a run together.
pub const MOST_BYTES: usize = 16 * 1024;

/// Why stop strings are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopProblem {
    /// An empty string would stop before the first token.
    #[error("must not contain an empty string")]
    Empty,
    /// More than can be meant.
    #[error(
        "must be at most {MOST} strings with {MOST_BYTES} bytes in total, got {strings} with {bytes} bytes"
    )]
    TooMany {
        /// How many there are.
        strings: usize,
        /// How many bytes they have together.
        bytes: usize,
    },
}

/// Whether `strings` can be meant.
///
/// # Errors
/// [`StopProblem`].
pub fn check<S: AsRef<str>>(strings: &[S]) -> Result<(), StopProblem> {
    let bytes: usize = strings.iter().map(|s| s.as_ref().len()).sum();
    if strings.len() > MOST || bytes > MOST_BYTES {
        let strings = strings.len();
        return Err(StopProblem::TooMany { strings, bytes });
    }
    if strings.iter().any(|s| s.as_ref().is_empty()) {
        return Err(StopProblem::Empty);
    }
    Ok(())
}

/// No state.
const NONE: u32 = u32::MAX;

/// One state of the automaton: what the text ends with, of all that begins a stop string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// The byte that leads here.
    byte: u8,
    /// How many bytes of text it stands for.
    depth: u32,
    /// Length of the longest stop string that is complete here; 0 for none.
    complete: u32,
    /// The longest shorter end of the same text that begins a stop string.
    shorter: u32,
    /// The first state that one more byte leads to, and the next one with the same state before it.
    child: u32,
    sibling: u32,
}

/// The stop strings of a run, ready for matching (Aho-Corasick). Its size is that of the strings.
///
/// Of several strings the one that is complete first stops the run, and of those complete at the same
/// byte the longest, however the text is cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopStrings {
    states: Vec<State>,
    /// For each byte the state after it where nothing has begun: nearly all text is read through this.
    first: Box<[u32; 256]>,
}

/// What a piece of text brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No stop string; so many bytes at the end of all text might begin one.
    Held(usize),
    /// A stop string is complete `end` bytes into the piece, and is `length` bytes long.
    Stop {
        /// Where it ends, counted from the piece's begin.
        end: usize,
        /// How many bytes it has, of which some may lie in earlier pieces.
        length: usize,
    },
}

/// Where in the text a run is.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopState(u32);

impl StopStrings {
    /// Prepares `strings`; none for no strings.
    ///
    /// # Errors
    /// [`StopProblem`].
    pub fn new<S: AsRef<str>>(strings: &[S]) -> Result<Option<Self>, StopProblem> {
        check(strings)?;
        if strings.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self::build(strings)))
    }

    fn build<S: AsRef<str>>(strings: &[S]) -> Self {
        let root = State {
            byte: 0,
            depth: 0,
            complete: 0,
            shorter: 0,
            child: NONE,
            sibling: NONE,
        };
        let mut all = Self {
            states: vec![root],
            first: Box::new([0; 256]),
        };
        for string in strings {
            let mut state = 0;
            for &byte in string.as_ref().as_bytes() {
                state = match all.child(state, byte) {
                    NONE => all.add(state, byte),
                    known => known,
                };
            }
            let end = &mut all.states[state as usize];
            end.complete = end.depth;
        }
        all.link();
        all
    }

    fn add(&mut self, parent: u32, byte: u8) -> u32 {
        let new = self.states.len() as u32;
        let before = self.states[parent as usize];
        self.states.push(State {
            byte,
            depth: before.depth + 1,
            complete: 0,
            shorter: 0,
            child: NONE,
            sibling: before.child,
        });
        self.states[parent as usize].child = new;
        if parent == 0 {
            self.first[usize::from(byte)] = new;
        }
        new
    }

    /// Finds each state's shorter one: breadth first, so that those of shorter states are known.
    fn link(&mut self) {
        let mut queue = std::collections::VecDeque::from([0]);
        while let Some(state) = queue.pop_front() {
            let parent: State = self.states[state as usize];
            let mut child = parent.child;
            while child != NONE {
                let at = child as usize;
                let shorter = match state {
                    0 => 0,
                    _ => self.after(parent.shorter, self.states[at].byte),
                };
                let complete = self.states[shorter as usize].complete;
                let this = &mut self.states[at];
                this.shorter = shorter;
                this.complete = this.complete.max(complete);
                queue.push_back(child);
                child = this.sibling;
            }
        }
    }

    #[inline(always)]
    fn child(&self, state: u32, byte: u8) -> u32 {
        let mut child = self.states[state as usize].child;
        while child != NONE && self.states[child as usize].byte != byte {
            child = self.states[child as usize].sibling;
        }
        child
    }

    /// The state after one more byte.
    #[inline(always)]
    fn after(&self, mut state: u32, byte: u8) -> u32 {
        while state != 0 {
            match self.child(state, byte) {
                NONE => state = self.states[state as usize].shorter,
                child => return child,
            }
        }
        self.first[usize::from(byte)]
    }

    /// Reads the next piece.
    #[inline]
    pub fn read(&self, at: &mut StopState, piece: &str) -> Found {
        let mut state = at.0;
        for (index, &byte) in piece.as_bytes().iter().enumerate() {
            state = self.after(state, byte);
            if state != 0 && self.states[state as usize].complete > 0 {
                return Found::Stop {
                    end: index + 1,
                    length: self.states[state as usize].complete as usize,
                };
            }
        }
        at.0 = state;
        Found::Held(self.states[state as usize].depth as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What may be delivered of `pieces`, and whether a stop string ended it, by the automaton.
    fn deliver(strings: &[&str], pieces: &[&str]) -> (String, bool) {
        let stop = StopStrings::new(strings).unwrap().unwrap();
        let (mut state, mut text) = (StopState::default(), String::new());
        for piece in pieces {
            let before = text.len();
            text.push_str(piece);
            match stop.read(&mut state, piece) {
                Found::Held(held) => assert!(text.is_char_boundary(text.len() - held)),
                Found::Stop { end, length } => {
                    text.truncate(before + end - length);
                    return (text, true);
                }
            }
        }
        (text, false)
    }

    /// The same by looking at every end of the text in turn.
    fn expected(strings: &[&str], text: &str) -> (String, bool) {
        for end in 0..=text.len() {
            let Some(longest) = strings
                .iter()
                .filter(|s| text.is_char_boundary(end) && text[..end].ends_with(*s))
                .map(|s| s.len())
                .max()
            else {
                continue;
            };
            return (text[..end - longest].to_owned(), true);
        }
        (text.to_owned(), false)
    }

    #[test]
    fn the_first_to_be_complete_wins_then_the_longest() {
        assert_eq!(deliver(&["abc", "b"], &["xabc"]), ("xa".into(), true));
        assert_eq!(
            deliver(&["c", "abc"], &["xa", "b", "cd"]),
            ("x".into(), true)
        );
        assert_eq!(
            deliver(&["\n\n"], &["a\n", "b\n", "\nc"]),
            ("a\nb".into(), true)
        );
        assert_eq!(deliver(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
        assert_eq!(deliver(&["€"], &["1", "€"]), ("1".into(), true));
    }

    #[test]
    fn what_might_begin_a_stop_string_is_held() {
        let stop = StopStrings::new(&["END", "NO"]).unwrap().unwrap();
        let mut state = StopState::default();
        assert_eq!(stop.read(&mut state, "x E"), Found::Held(1));
        // "EN" may become "END", and its N "NO".
        assert_eq!(stop.read(&mut state, "N"), Found::Held(2));
        assert_eq!(stop.read(&mut state, "E"), Found::Held(1));
        assert_eq!(stop.read(&mut state, "x"), Found::Held(0));
    }

    #[test]
    fn strings_that_cannot_be_meant_are_refused() {
        assert!(StopStrings::new::<&str>(&[]).unwrap().is_none());
        assert!(StopStrings::new(&["a", ""]).is_err());
        assert!(StopStrings::new(&vec!["a"; 257]).is_err());
        assert!(StopStrings::new(&["a".repeat(16 * 1024 + 1)]).is_err());
    }

    #[test]
    fn the_automaton_is_no_larger_than_its_strings() {
        let strings: Vec<String> = (0..64)
            .map(|n| format!("{n:03}{}", "ab".repeat(120)))
            .collect();
        let stop = StopStrings::new(&strings).unwrap().unwrap();
        let bytes: usize = strings.iter().map(String::len).sum();
        assert!(stop.states.len() <= bytes + 1);
        let (mut state, text) = (StopState::default(), "ab".repeat(8000));
        assert_eq!(stop.read(&mut state, &text), Found::Held(0));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            strings in prop::collection::vec("[ab€]{1,4}", 1..5),
            pieces in prop::collection::vec("[ab€]{0,5}", 0..8),
        ) {
            let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(deliver(&strings, &pieces), expected(&strings, &pieces.concat()));
        }
    }
}

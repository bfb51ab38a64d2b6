//! Finds stop strings in text that comes piece by piece.

use crate::error::Error;

/// Most stop strings of a run, and most bytes of all together: beyond, somebody has made a mistake.
const MOST: usize = 256;
const MOST_BYTES: usize = 64 * 1024;

/// The stop strings of a run, ready for matching (an Aho-Corasick automaton with full tables).
///
/// Of several strings the one that is complete first stops the run, and of those complete at the same
/// byte the longest, however the text is cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StopStrings {
    /// For each state and byte the next state.
    next: Vec<[u32; 256]>,
    /// For each state how many bytes of text it stands for: the longest end of the text that begins
    /// a stop string.
    depth: Vec<u32>,
    /// For each state the length of the longest stop string that is complete there; 0 for none.
    complete: Vec<u32>,
}

/// What a piece of text brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No stop string; so many bytes at the end of all text might begin one.
    Held(usize),
    /// A stop string is complete `end` bytes into the piece, and is `length` bytes long.
    Stop { end: usize, length: usize },
}

/// Where in the text a run is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StopState(u32);

impl StopStrings {
    /// Prepares `strings`; none for no strings.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty string, which would stop before the first token, and
    /// for more than can be meant.
    pub(crate) fn new<S: AsRef<str>>(strings: &[S]) -> Result<Option<Self>, Error> {
        let invalid = |reason: String, hint: &str| Error::invalid_with_hint("stop", reason, hint);
        if strings.is_empty() {
            return Ok(None);
        }
        let bytes: usize = strings.iter().map(|s| s.as_ref().len()).sum();
        if strings.len() > MOST || bytes > MOST_BYTES {
            return Err(invalid(
                format!("got {} strings of {bytes} bytes", strings.len()),
                "Give at most 256 strings, 64 KiB together.",
            ));
        }
        if strings.iter().any(|s| s.as_ref().is_empty()) {
            return Err(invalid(
                "one of the strings is empty".to_owned(),
                "Give strings of at least one character.",
            ));
        }
        Ok(Some(Self::build(strings)))
    }

    fn build<S: AsRef<str>>(strings: &[S]) -> Self {
        const NONE: u32 = u32::MAX;
        let mut all = Self {
            next: vec![[NONE; 256]],
            depth: vec![0],
            complete: vec![0],
        };
        for string in strings {
            let mut state = 0_usize;
            for &byte in string.as_ref().as_bytes() {
                if all.next[state][usize::from(byte)] == NONE {
                    all.next[state][usize::from(byte)] = all.next.len() as u32;
                    all.next.push([NONE; 256]);
                    all.depth.push(all.depth[state] + 1);
                    all.complete.push(0);
                }
                state = all.next[state][usize::from(byte)] as usize;
            }
            all.complete[state] = all.depth[state];
        }
        // Breadth first, so that where a state falls back to is finished before it is needed.
        let mut fallback = vec![0_u32; all.next.len()];
        let mut queue = std::collections::VecDeque::from([0_usize]);
        while let Some(state) = queue.pop_front() {
            let back = fallback[state] as usize;
            all.complete[state] = all.complete[state].max(all.complete[back]);
            for byte in 0..256 {
                let elsewhere = if state == 0 { 0 } else { all.next[back][byte] };
                match all.next[state][byte] {
                    NONE => all.next[state][byte] = elsewhere,
                    child => {
                        fallback[child as usize] = elsewhere;
                        queue.push_back(child as usize);
                    }
                }
            }
        }
        all
    }

    /// Reads the next piece.
    #[inline]
    pub(crate) fn read(&self, at: &mut StopState, piece: &str) -> Found {
        let mut state = at.0 as usize;
        for (index, &byte) in piece.as_bytes().iter().enumerate() {
            state = self.next[state][usize::from(byte)] as usize;
            if self.complete[state] > 0 {
                return Found::Stop {
                    end: index + 1,
                    length: self.complete[state] as usize,
                };
            }
        }
        at.0 = state as u32;
        Found::Held(self.depth[state] as usize)
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

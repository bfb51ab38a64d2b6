//! Stop strings, beside the plain search for the first of them.

#![no_main]

use rkllm_text::stop::{Found, StopState, StopStrings};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Strings and pieces, each up to the next zero; an empty one begins the pieces.
    let text = String::from_utf8_lossy(bytes);
    let (strings, pieces) = text.split_once("\0\0").unwrap_or((&text, ""));
    let strings: Vec<&str> = strings
        .split('\0')
        .filter(|one| !one.is_empty())
        .take(8)
        .collect();
    let Ok(Some(stop)) = StopStrings::new(&strings) else {
        return;
    };
    let whole: String = pieces.split('\0').collect();
    // The first that is complete; of those that are complete at once the one that began first.
    let ends = |end: usize| {
        let begins = strings.iter().filter(|one| whole[..end].ends_with(**one));
        begins.map(|one| one.len()).max()
    };
    let boundaries = (1..=whole.len()).filter(|end| whole.is_char_boundary(*end));
    let naive = boundaries.clone().find_map(|end| Some((end, ends(end)?)));
    let mut state = StopState::default();
    let mut read = 0;
    for piece in pieces.split('\0') {
        match stop.read(&mut state, piece) {
            Found::Held(held) => {
                read += piece.len();
                let rest = &whole[read - held..read];
                let begins = strings.iter().any(|one| one.starts_with(rest));
                assert!(
                    rest.is_empty() || begins,
                    "{rest:?} is held back for nothing"
                );
            }
            Found::Stop { end, length } => {
                assert_eq!(naive, Some((read + end, length)));
                return;
            }
        }
    }
    assert_eq!(naive, None);
});

//! Joins UTF-8 that arrives in pieces.

/// Turns pieces of bytes into text, holding back a character until it is whole.
///
/// Bytes that can never become a character give U+FFFD, as `String::from_utf8_lossy` would for the
/// whole.
///
/// ```
/// let mut joiner = rkllm_text::utf8::Utf8Joiner::default();
/// let mut text = String::new();
/// joiner.push(&[0xE2, 0x82], &mut text);
/// assert_eq!(text, "");
/// joiner.push(&[0xAC, b'!'], &mut text);
/// assert_eq!(text, "€!");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Utf8Joiner {
    held: [u8; 3],
    len: usize,
}

impl Utf8Joiner {
    /// Appends to `out` all that is complete after `bytes`.
    #[inline]
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        if self.len == 0 {
            match std::str::from_utf8(bytes) {
                Ok(text) => out.push_str(text),
                Err(_) => self.decode(bytes, out),
            }
        } else {
            let joined = [&self.held[..self.len], bytes].concat();
            self.len = 0;
            self.decode(&joined, out);
        }
    }

    /// Whether the bytes so far end inside a character.
    #[must_use]
    pub fn is_inside_character(&self) -> bool {
        self.len > 0
    }

    /// Appends U+FFFD if an unfinished character is still held; nothing more will come.
    pub fn finish(&mut self, out: &mut String) {
        if self.len > 0 {
            self.len = 0;
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    #[cold]
    fn decode(&mut self, mut bytes: &[u8], out: &mut String) {
        loop {
            let error = match std::str::from_utf8(bytes) {
                Ok(text) => return out.push_str(text),
                Err(error) => error,
            };
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            out.push_str(&String::from_utf8_lossy(valid));
            let Some(bad) = error.error_len() else {
                // At most three bytes: a fourth would have completed the character.
                self.len = rest.len();
                self.held[..rest.len()].copy_from_slice(rest);
                return;
            };
            out.push(char::REPLACEMENT_CHARACTER);
            bytes = &rest[bad..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Utf8Joiner;
    use proptest::prelude::*;

    fn joined(pieces: &[&[u8]]) -> String {
        let mut joiner = Utf8Joiner::default();
        let mut text = String::new();
        for piece in pieces {
            joiner.push(piece, &mut text);
        }
        joiner.finish(&mut text);
        text
    }

    #[test]
    fn unfinished_end_gives_one_replacement() {
        assert_eq!(joined(&[b"a\xF0\x9F", b"\x98"]), "a\u{FFFD}");
        assert_eq!(joined(&[b"\xF0\x9F", b"", b"\x98\x80"]), "😀");
        assert_eq!(joined(&[b"\xE2\x82", b"x"]), "\u{FFFD}x");
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_as_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            cuts in prop::collection::vec(0_usize..64, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&bytes[start..cut]);
                start = cut;
            }
            pieces.push(&bytes[start..]);
            prop_assert_eq!(joined(&pieces), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn text_cut_anywhere_comes_back(text in ".{0,20}", at in 0_usize..80) {
            let at = at.min(text.len());
            let (head, tail) = text.as_bytes().split_at(at);
            prop_assert_eq!(joined(&[head, tail]), text);
        }
    }
}

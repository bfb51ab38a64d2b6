//! Joins token bytes to whole UTF-8 characters.

/// What a token's bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text to deliver; it does not end inside a character.
    Text(Vec<u8>),
    /// The bytes end inside a character and are held back.
    Waiting,
}

/// Holds back the bytes of an unfinished character.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joiner {
    held: Vec<u8>,
}

impl Joiner {
    /// Takes a token's bytes.
    ///
    /// Bytes that can never become a character are passed on as they are: the reader decides what
    /// to make of them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Piece {
        self.held.extend_from_slice(bytes);
        if ends_inside_character(&self.held) {
            Piece::Waiting
        } else {
            Piece::Text(std::mem::take(&mut self.held))
        }
    }

    /// What is still held back, raw.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.held.is_empty()).then(|| std::mem::take(&mut self.held))
    }
}

/// Whether more bytes could complete a character at the end of `bytes`.
fn ends_inside_character(bytes: &[u8]) -> bool {
    // Only the last three bytes matter: a character has four at most.
    let from = bytes.len().saturating_sub(3);
    (from..bytes.len()).any(|start| {
        let tail = &bytes[start..];
        (0xC2..=0xF4).contains(&tail[0])
            && matches!(std::str::from_utf8(tail), Err(e) if e.error_len().is_none() && e.valid_up_to() == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Piece {
        Piece::Text(bytes.to_vec())
    }

    #[test]
    fn whole_text_passes_at_once() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.push(b"abc"), text(b"abc"));
        assert_eq!(joiner.push("é".as_bytes()), text("é".as_bytes()));
        assert_eq!(joiner.push(b""), text(b""));
        assert_eq!(joiner.finish(), None);
    }

    #[test]
    fn split_characters_are_joined_at_every_cut() {
        for character in ["é", "€", "😀"] {
            let bytes = character.as_bytes();
            for cut in 1..bytes.len() {
                let mut joiner = Joiner::default();
                assert_eq!(joiner.push(&bytes[..cut]), Piece::Waiting);
                assert_eq!(joiner.push(&bytes[cut..]), text(bytes));
            }
        }
    }

    #[test]
    fn text_before_the_cut_waits_too() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.push(b"a\xE2\x82"), Piece::Waiting);
        assert_eq!(joiner.push(b"\xACb"), text("a€b".as_bytes()));
    }

    #[test]
    fn impossible_bytes_are_not_held() {
        let mut joiner = Joiner::default();
        for bytes in [
            &b"\xFF"[..],
            b"\x80",
            b"\xC0",
            b"\xE2\x28",
            b"\xF5\x80",
            b"\xED\xA0",
        ] {
            assert_eq!(joiner.push(bytes), text(bytes), "{bytes:x?}");
        }
    }

    #[test]
    fn an_unfinished_tail_is_handed_over_raw() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.push(b"\xF0\x9F\x98"), Piece::Waiting);
        assert_eq!(joiner.finish(), Some(b"\xF0\x9F\x98".to_vec()));
        assert_eq!(joiner.finish(), None);
    }
}

//! What a run has made, noted to know what the library holds after it.

/// How the tokens of a run are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Follows {
    /// By their ids.
    Ids,
    /// With their text.
    Text,
}

/// The token calls of a run, with their text where the library was given text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::engine) struct Made {
    pub(in crate::engine) ids: Vec<i32>,
    /// Whether the text is noted.
    with_text: bool,
    said: Vec<u8>,
    /// Where the last token's text begins.
    last_at: usize,
    /// Some token before the last had no text, or text came with no token: nobody knows what was computed.
    is_unsure: bool,
}

impl Made {
    pub(in crate::engine) fn new(with_text: bool) -> Self {
        Self {
            with_text,
            ..Self::default()
        }
    }

    pub(in crate::engine) fn push(&mut self, id: i32, bytes: &[u8]) {
        if self.with_text {
            self.is_unsure |= !self.ids.is_empty() && self.last_at == self.said.len();
            self.last_at = self.said.len();
            self.said.extend_from_slice(bytes);
        }
        self.ids.push(id);
    }

    /// Text that came with no token.
    pub(super) fn leftover(&mut self, bytes: &[u8]) {
        self.is_unsure |= self.with_text && !bytes.is_empty();
    }

    /// The text of the first `kept` tokens: all of them, or all but the last. The last may be an end of
    /// which the library gives no text; `ends` has those whose id is known.
    pub(in crate::engine) fn text(
        &self,
        kept: usize,
        ends: &[(String, Option<i32>)],
    ) -> Option<Vec<u8>> {
        if self.is_unsure || !self.with_text {
            return None;
        }
        if kept < self.ids.len() {
            return Some(self.said[..self.last_at].to_vec());
        }
        let mut text = self.said.clone();
        if let Some(last) = self.ids.last().filter(|_| self.last_at == text.len()) {
            let (end, _) = ends.iter().find(|(_, id)| *id == Some(*last))?;
            text.extend_from_slice(end.as_bytes());
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pieces: &[&str]) -> Made {
        let mut made = Made::new(true);
        for (id, piece) in (10..).zip(pieces) {
            made.push(id, piece.as_bytes());
        }
        made
    }

    #[test]
    fn the_text_is_that_of_what_was_computed() {
        let ends = [("<|end|>".to_owned(), Some(12)), ("</s>".to_owned(), None)];
        let text = |pieces: &[&str], kept| {
            let text = made(pieces).text(kept, &ends)?;
            Some(String::from_utf8(text).unwrap())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(text(&["a", "b"], 2), some("ab"));
        assert_eq!(text(&["a", "b"], 1), some("a"));
        assert_eq!(text(&[], 0), some(""));
        // An end without a text of its own: computed or not, known or not.
        assert_eq!(text(&["a", "b", ""], 2), some("ab"));
        assert_eq!(text(&["a", "b", ""], 3), some("ab<|end|>"));
        assert_eq!(text(&["a", ""], 2), None);
        // Within an answer.
        assert_eq!(text(&["a", "", "b"], 3), None);
        assert_eq!(text(&["", "b"], 2), None);
    }

    #[test]
    fn what_is_not_noted_is_not_known() {
        let mut tokens = Made::new(false);
        tokens.push(1, b"a");
        assert_eq!((tokens.text(1, &[]), tokens.ids), (None, vec![1]));
        let mut more = made(&["a"]);
        more.leftover(b"");
        assert!(more.text(1, &[]).is_some());
        more.leftover(b"b");
        assert_eq!(more.text(1, &[]), None);
    }
}

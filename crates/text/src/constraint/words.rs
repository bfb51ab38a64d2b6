//! The tokens that spell a text.

use std::collections::HashMap;

use super::{Kind, Vocabulary};

/// Tokens of text by their bytes: those of a vocabulary, or those that have been seen.
#[derive(Debug, Clone, Default)]
pub struct Words {
    ids: HashMap<Vec<u8>, i32>,
    longest: usize,
}

impl Words {
    /// Those of a vocabulary.
    #[must_use]
    pub fn of(vocabulary: &Vocabulary) -> Self {
        let mut words = Self::default();
        for (id, (kind, bytes)) in (0..).zip(&vocabulary.tokens) {
            if *kind == Kind::Text {
                words.learn(id, bytes);
            }
        }
        words
    }

    /// Adds a token, unless there is another one of the same bytes.
    pub fn learn(&mut self, id: i32, bytes: &[u8]) {
        if !bytes.is_empty() && !self.ids.contains_key(bytes) {
            self.longest = self.longest.max(bytes.len());
            self.ids.insert(bytes.to_vec(), id);
        }
    }

    /// The fewest tokens that spell a text, each with the length of its bytes; among as few those that are long
    /// first. None if it cannot be spelled.
    #[must_use]
    pub fn spell(&self, text: &[u8]) -> Option<Vec<(i32, usize)>> {
        // For each place: how many tokens spell the rest, and the first of them.
        let mut rest: Vec<Option<(usize, i32, usize)>> = vec![None; text.len() + 1];
        rest[text.len()] = Some((0, -1, 0));
        for at in (0..text.len()).rev() {
            let most = self.longest.min(text.len() - at);
            for length in (1..=most).rev() {
                let Some((count, _, _)) = rest[at + length] else {
                    continue;
                };
                if rest[at].is_some_and(|(least, _, _)| least <= count + 1) {
                    continue;
                }
                if let Some(id) = self.ids.get(&text[at..at + length]) {
                    rest[at] = Some((count + 1, *id, length));
                }
            }
        }
        let mut spelled = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let (_, id, length) = rest[at]?;
            spelled.push((id, length));
            at += length;
        }
        Some(spelled)
    }
}

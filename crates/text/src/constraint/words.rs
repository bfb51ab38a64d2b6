//! The tokens that spell a text.

use std::collections::HashMap;

use super::{Kind, Vocabulary};

/// Tokens of text by their bytes: those of a vocabulary, or those that have been seen.
#[derive(Debug, Clone, Default)]
pub struct Words {
    ids: HashMap<Vec<u8>, i32>,
    /// Texts of which only all tokens together are known.
    phrases: HashMap<Vec<u8>, Vec<i32>>,
    longest: usize,
    /// Whether a token of this id has been learnt.
    known: Vec<bool>,
}

/// Greater ids are looked up by their bytes.
const MOST: usize = 1 << 20;

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
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        if bytes.is_empty() || self.known.get(at) == Some(&true) {
            return;
        }
        if !self.ids.contains_key(bytes) {
            self.longest = self.longest.max(bytes.len());
            self.ids.insert(bytes.to_vec(), id);
        }
        if at < MOST {
            self.known.resize(self.known.len().max(at + 1), false);
            self.known[at] = true;
        }
    }

    /// Adds a text that these tokens spell together.
    pub fn learn_together(&mut self, ids: &[i32], bytes: &[u8]) {
        match ids {
            [] => {}
            [id] => self.learn(*id, bytes),
            _ if bytes.is_empty() => {}
            _ => {
                self.longest = self.longest.max(bytes.len());
                self.phrases.insert(bytes.to_vec(), ids.to_vec());
            }
        }
    }

    /// How many tokens spell a text, if that is known of it as a whole.
    fn count(&self, text: &[u8]) -> Option<usize> {
        let one = self.ids.get(text).map(|_| 1);
        one.or_else(|| self.phrases.get(text).map(Vec::len))
    }

    /// The fewest tokens that spell a text, each with the length of its bytes; among as few those that are long
    /// first. Of tokens that are known together the last has all their bytes. None if it cannot be spelled.
    #[must_use]
    pub fn spell(&self, text: &[u8]) -> Option<Vec<(i32, usize)>> {
        // For each place: how many tokens spell the rest, and how long the first part of it is.
        let mut rest: Vec<Option<(usize, usize)>> = vec![None; text.len() + 1];
        rest[text.len()] = Some((0, 0));
        for at in (0..text.len()).rev() {
            let most = self.longest.min(text.len() - at);
            for length in (1..=most).rev() {
                let Some((behind, _)) = rest[at + length] else {
                    continue;
                };
                if rest[at].is_some_and(|(least, _)| least <= behind + 1) {
                    continue;
                }
                if let Some(count) = self.count(&text[at..at + length]) {
                    if rest[at].is_none_or(|(least, _)| count + behind < least) {
                        rest[at] = Some((count + behind, length));
                    }
                }
            }
        }
        let mut spelled = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let (_, length) = rest[at]?;
            let part = &text[at..at + length];
            match (self.ids.get(part), self.phrases.get(part)) {
                (Some(id), _) => spelled.push((*id, length)),
                (None, phrase) => {
                    let (last, before) = phrase?.split_last()?;
                    spelled.extend(before.iter().map(|id| (*id, 0)));
                    spelled.push((*last, length));
                }
            }
            at += length;
        }
        Some(spelled)
    }
}

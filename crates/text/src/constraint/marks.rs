//! Tokens of markers, for a grammar that is followed by its bytes: each has a character that no text has.

use std::sync::Arc;

use super::{Grammar, Vocabulary};

/// The first of the characters that are none (Unicode 16, section 23.7), and how many there are in a row.
const FIRST: u32 = 0xFDD0;
const COUNT: usize = 32;

/// The tokens that a grammar's markers are, with their texts.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    all: Arc<[(i32, Vec<u8>)]>,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text.
    Text(&'a [u8]),
    /// A marker's token, with what it is shown as.
    Mark(i32, &'a [u8]),
}

impl Marks {
    /// Those of a grammar's markers that are tokens of this vocabulary.
    #[must_use]
    pub fn of(grammar: &Grammar, vocabulary: &Vocabulary) -> Self {
        let mut ids: Vec<i32> = Vec::new();
        for marker in grammar.markers() {
            for id in vocabulary
                .marks_in(marker)
                .into_iter()
                .filter_map(Result::err)
            {
                if !ids.contains(&id) && ids.len() < COUNT {
                    ids.push(id);
                }
            }
        }
        let shown = |id: &i32| Some((*id, vocabulary.bytes(*id)?.to_vec()));
        Self {
            all: ids.iter().filter_map(shown).collect(),
        }
    }

    /// The character of a token, if it is one of these.
    pub(super) fn character(&self, id: i32) -> Option<char> {
        let at = self.all.iter().position(|(known, _)| *known == id)?;
        char::from_u32(FIRST + u32::try_from(at).ok()?)
    }

    /// What stands for a token in the text that is followed, and what it is shown as.
    #[must_use]
    pub fn token(&self, id: i32) -> Option<(Vec<u8>, &[u8])> {
        let character = self.character(id)?;
        let (_, shown) = self.all.iter().find(|(known, _)| *known == id)?;
        Some((character.to_string().into_bytes(), shown))
    }

    /// A text that has been followed, taken apart.
    #[must_use]
    pub fn split<'a>(&'a self, text: &'a [u8]) -> Vec<Part<'a>> {
        let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
        while at < text.len() {
            let here = self.all.iter().find_map(|(id, shown)| {
                let (stands, _) = self.token(*id)?;
                text[at..]
                    .starts_with(&stands)
                    .then_some((*id, shown, stands.len()))
            });
            let Some((id, shown, length)) = here else {
                at += 1;
                continue;
            };
            if start < at {
                parts.push(Part::Text(&text[start..at]));
            }
            parts.push(Part::Mark(id, shown));
            at += length;
            start = at;
        }
        if start < text.len() {
            parts.push(Part::Text(&text[start..]));
        }
        parts
    }

    /// A text that has been followed, as it is shown.
    #[must_use]
    pub fn shown(&self, text: &[u8]) -> Vec<u8> {
        if self.all.is_empty() {
            return text.to_vec();
        }
        let parts = self.split(text);
        let bytes = parts.iter().flat_map(|part| match part {
            Part::Text(text) | Part::Mark(_, text) => text.iter().copied(),
        });
        bytes.collect()
    }
}

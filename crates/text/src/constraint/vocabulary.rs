//! The bytes of a model's tokens.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use super::Refusal;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A marker such as `<|im_start|>`, which text cannot spell.
    Marker,
    /// A marker that ends an answer.
    End,
}

/// The tokens of a model, by their ids.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    pub(super) tokens: Vec<(Kind, Vec<u8>)>,
}

impl Vocabulary {
    /// Adds the token of the next id. One with a NUL is none for answers: libraries hand text over as C strings, which
    /// it would end.
    pub fn push(&mut self, kind: Kind, bytes: &[u8]) {
        let bytes = if bytes.contains(&0) { &[] } else { bytes };
        self.tokens.push((kind, bytes.to_vec()));
    }

    /// The id of the token that is this text, whatever its kind.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<i32> {
        let at = self
            .tokens
            .iter()
            .position(|(_, bytes)| bytes == text.as_bytes());
        at.and_then(|at| i32::try_from(at).ok())
    }

    /// A marker taken apart: `Err` is a token that it is or that stands in it, `Ok` is text. Text that is a token of
    /// its own counts as one only if all of the marker is it.
    pub(super) fn marks_in<'a>(&self, marker: &'a str) -> Vec<Result<&'a str, i32>> {
        let special = |text: &str| {
            let all = (0..).zip(&self.tokens);
            let here = all.filter(|(_, (kind, bytes))| {
                *kind != Kind::Text && !bytes.is_empty() && text.as_bytes().starts_with(bytes)
            });
            here.max_by_key(|(_, (_, bytes))| bytes.len())
                .map(|(id, (_, bytes))| (id, bytes.len()))
        };
        let is_whole = special(marker).is_some_and(|(_, length)| length == marker.len());
        if let (false, Some(id)) = (is_whole, self.find(marker)) {
            return vec![Err(id)];
        }
        let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
        while at < marker.len() {
            match special(&marker[at..]).filter(|(_, length)| marker.is_char_boundary(at + length))
            {
                Some((id, length)) => {
                    if start < at {
                        parts.push(Ok(&marker[start..at]));
                    }
                    parts.push(Err(id));
                    at += length;
                    start = at;
                }
                None => at += marker[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if start < marker.len() {
            parts.push(Ok(&marker[start..]));
        }
        parts
    }

    /// The text of a token, which need not be whole characters.
    #[must_use]
    pub fn bytes(&self, id: i32) -> Option<&[u8]> {
        let at = usize::try_from(id).ok()?;
        self.tokens.get(at).map(|(_, bytes)| bytes.as_slice())
    }

    /// The bytes of a token that is text.
    #[must_use]
    pub fn text(&self, id: i32) -> Option<&[u8]> {
        match self.tokens.get(usize::try_from(id).ok()?)? {
            (Kind::Text, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The ids of the tokens that end an answer.
    pub fn ends(&self) -> impl Iterator<Item = i32> {
        let ends = (0..).zip(&self.tokens);
        ends.filter(|(_, (kind, _))| *kind == Kind::End)
            .map(|(id, _)| id)
    }

    pub(super) fn environment(&self) -> Result<TokEnv, Refusal> {
        let ends: Vec<u32> = self
            .ends()
            .filter_map(|id| u32::try_from(id).ok())
            .collect();
        let Some(&end) = ends.first() else {
            return Err(Refusal::invalid(
                "the model's vocabulary has no token that ends an answer",
            ));
        };
        let words: Vec<Vec<u8>> = self
            .tokens
            .iter()
            .map(|(kind, bytes)| match kind {
                Kind::Text => bytes.clone(),
                Kind::Marker | Kind::End => {
                    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                    word.extend_from_slice(bytes);
                    word
                }
            })
            .collect();
        let size = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let trie = TokTrie::from(&TokRxInfo::new(size, end), &words).with_eos_tokens(&ends);
        Ok(Arc::new(ApproximateTokEnv::new(trie)))
    }
}

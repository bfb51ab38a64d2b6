//! A tokenizer of the program's, for libraries that have none: it counts a conversation before it runs, and
//! knows which markers are single tokens.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::protocol::error::Failure;

/// The ids of a text, of which special tokens are written out and none are to be added.
type Encode = dyn Fn(&str) -> Result<Vec<i32>, Failure> + Send + Sync;

/// No tokenizer has a token of its own for this: private characters.
const UNKNOWN: &str = "\u{e0f1}\u{e0f2}";

/// What a program counts tokens with. A clone is cheap.
#[derive(Clone)]
pub struct Tokenizer(Arc<Encode>);

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokenizer")
    }
}

impl Tokenizer {
    /// One that gives the ids of a text. Special tokens that are written out in the text are one id each;
    /// others must not be added.
    pub fn new(encode: impl Fn(&str) -> Result<Vec<i32>, Failure> + Send + Sync + 'static) -> Self {
        Self(Arc::new(encode))
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// What the program's function gives.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>, Failure> {
        (self.0)(text)
    }

    /// The first of `texts` that leaves `room` tokens of the context for an answer, and its own tokens.
    pub(super) fn settle(
        &self,
        texts: &[String],
        room: usize,
        limit: usize,
    ) -> Result<(usize, usize), Failure> {
        let last = texts.len() - 1;
        let mut needed = 0;
        for (rendering, text) in texts.iter().enumerate() {
            needed = self.encode(text)?.len();
            // The last may leave room for a single token, rather than be refused.
            if needed + if rendering == last { 1 } else { room } <= limit {
                return Ok((rendering, needed));
            }
        }
        Err(Failure::context_length(needed, limit))
    }

    /// Those of `markers` that are single tokens. What is known of a model's already is not asked again.
    pub(super) fn single(
        &self,
        markers: &[String],
        known: &Mutex<Vec<(String, Option<i32>)>>,
    ) -> Result<Vec<(usize, i32)>, Failure> {
        let find = |marker: &String| {
            let known = known.lock();
            let found = known.iter().find(|(text, _)| text == marker);
            found.map(|(_, id)| *id)
        };
        let mut unknown = None;
        let mut single = Vec::new();
        for (at, marker) in markers.iter().enumerate() {
            let id = if let Some(id) = find(marker) {
                id
            } else {
                // Some tokenizers have one token for all that they do not know.
                let unknown = match &mut unknown {
                    Some(ids) => ids,
                    none => none.insert(self.encode(UNKNOWN)?),
                };
                let id = match self.encode(marker)?[..] {
                    [id] if !unknown.contains(&id) => Some(id),
                    _ => None,
                };
                known.lock().push((marker.clone(), id));
                id
            };
            single.extend(id.map(|id| (at, id)));
        }
        Ok(single)
    }
}

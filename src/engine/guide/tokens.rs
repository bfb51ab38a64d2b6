//! The tokens that a library can be given in the place of those that it chose.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rkllm_text::constraint::{Vocabulary, Words};

use super::asked::Asked;
use crate::native::NativeModel;
use crate::protocol::error::{ErrorKind, Failure};

/// A token, with its text.
pub(in crate::engine) type Piece = (i32, Vec<u8>);

/// What is known of a model's tokens.
pub(in crate::engine) enum Tokens {
    /// All of them.
    Known {
        vocabulary: Arc<Vocabulary>,
        words: Words,
    },
    /// Those that have come; all would be in this file, which does not exist.
    Seen {
        words: Mutex<Words>,
        file: PathBuf,
        /// What the program's tokenizer was asked for.
        asked: Mutex<Asked>,
    },
}

impl Tokens {
    /// Those that the library tells, or a `tokenizer.json` beside the model; else what will come.
    pub(super) fn of(model: &NativeModel, path: &Path) -> Result<Self, Failure> {
        let vocabulary = if model.tells_vocabulary() {
            model.vocabulary()?
        } else {
            let file = path.with_file_name("tokenizer.json");
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let words = Mutex::default();
                    let asked = Mutex::default();
                    return Ok(Self::Seen { words, file, asked });
                }
                Err(error) => return Err(unusable(&file, &format!("cannot be read: {error}"))),
            };
            let read = Vocabulary::from_tokenizer_json(&text);
            Arc::new(read.map_err(|reason| unusable(&file, &reason))?)
        };
        let words = Words::of(&vocabulary);
        Ok(Self::Known { vocabulary, words })
    }

    /// All of them, if they are known.
    pub(super) fn vocabulary(&self) -> Option<&Arc<Vocabulary>> {
        match self {
            Self::Known { vocabulary, .. } => Some(vocabulary),
            Self::Seen { .. } => None,
        }
    }

    /// Has the program's tokenizer spell what `texts` may need, where the tokens are not known otherwise.
    pub(super) fn ask<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
        tokenize: &mut dyn FnMut(&str) -> Result<Vec<i32>, Failure>,
    ) -> Result<(), Failure> {
        let Self::Seen { words, asked, .. } = self else {
            return Ok(());
        };
        let mut asked = asked.lock();
        for (ids, text) in asked.ask(texts, tokenize)? {
            words.lock().learn_together(&ids, text.as_bytes());
        }
        Ok(())
    }

    /// The token that is this text, whatever its kind.
    pub(super) fn find(&self, text: &str) -> Option<i32> {
        match self {
            Self::Known { vocabulary, .. } => vocabulary.find(text),
            Self::Seen { .. } => None,
        }
    }

    /// The bytes of a token that is text.
    pub(super) fn text(&self, id: i32) -> Option<&[u8]> {
        match self {
            Self::Known { vocabulary, .. } => vocabulary.text(id),
            Self::Seen { .. } => None,
        }
    }

    /// Whether a token is known to be none of text.
    pub(super) fn is_marker(&self, id: i32) -> bool {
        matches!(self, Self::Known { vocabulary, .. } if vocabulary.text(id).is_none())
    }

    /// A token has come.
    #[inline]
    pub(super) fn learn(&self, id: i32, text: &[u8]) {
        if let Self::Seen { words, .. } = self {
            words.lock().learn(id, text);
        }
    }

    /// The tokens that spell a text.
    pub(super) fn spell(&self, text: &[u8]) -> Option<Vec<Piece>> {
        let spelled = match self {
            Self::Known { words, .. } => words.spell(text),
            Self::Seen { words, .. } => words.lock().spell(text),
        };
        let mut rest = text;
        let pieces = spelled?.into_iter().map(|(id, length)| {
            let (piece, behind) = rest.split_at(length);
            rest = behind;
            (id, piece.to_vec())
        });
        Some(pieces.collect())
    }

    /// What is missing to spell this text.
    pub(super) fn missing(&self, argument: &str, text: &[u8]) -> Failure {
        let text = String::from_utf8_lossy(text);
        let (reason, hint) = match self {
            Self::Known { .. } => (
                format!("{argument} needs the text {text:?}, which no tokens of this model spell"),
                "Pass constraint=\"retry\".",
            ),
            Self::Seen { asked, .. } if asked.lock().is_used() => (
                format!("{argument} needs the tokens of {text:?}, which tokenizer= does not give"),
                "Put the model's tokenizer.json beside it, or pass constraint=\"retry\".",
            ),
            Self::Seen { file, .. } => (
                format!(
                    "{argument} needs the tokens of {text:?}: the library does not tell them, and {} does not exist",
                    file.display()
                ),
                "Put the model's tokenizer.json there, or pass tokenizer= where the model is loaded, or constraint=\"retry\".",
            ),
        };
        Failure::new(ErrorKind::UnsupportedFeature, reason).with_hint(hint)
    }
}

fn unusable(file: &Path, reason: &str) -> Failure {
    let text = format!("{} {reason}", file.display());
    Failure::new(ErrorKind::ModelFormat, text)
        .with_path(file)
        .with_hint("Copy it again from the model that was converted, or pass constraint=\"retry\".")
}

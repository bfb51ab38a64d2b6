//! What a model is given.

mod cross_attention;
mod embeddings;
mod multimodal;
mod rendered;

pub use cross_attention::CrossAttention;
pub use embeddings::Embeddings;
pub use multimodal::{Audios, Images, Markers, Multimodal, Videos};
pub(crate) use rendered::Beginning;
pub use rendered::{PromptStore, Rendered};

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::protocol::error::Failure;

/// An input of a run (`RKLLMInput`).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// Text. From 1.2.0 on the library puts the model's chat template around it.
    Prompt(CString),
    /// A conversation as a chat template renders it; nothing is put around it.
    Rendered(Rendered),
    /// Token ids, taken as they are.
    Tokens(Vec<i32>),
    /// Embeddings, taken as they are.
    Embeddings(Embeddings),
    /// Text with embeddings of images, videos or sounds in it.
    Multimodal(Box<Multimodal>),
}

impl Input {
    /// Text as input.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if it is empty or holds a NUL, which C would take for its end.
    pub fn prompt(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Err(Failure::invalid_with_hint(
                "prompt",
                "must not be empty",
                "Pass text, such as \"Hello\".",
            ));
        }
        c_text("prompt", text).map(Self::Prompt)
    }

    /// Token ids as input.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if there are none, or one is negative.
    pub fn tokens(ids: impl Into<Vec<i32>>) -> Result<Self, Failure> {
        let ids = ids.into();
        if ids.is_empty() {
            return Err(Failure::invalid_with_hint(
                "ids",
                "must not be empty",
                "Pass what tokenize() returns for a text, such as [1, 2, 3].",
            ));
        }
        match ids.iter().position(|id| *id < 0) {
            Some(at) => {
                let id = ids[at];
                let hint = "Use ids from the model's own tokenizer.";
                Err(Failure::invalid_with_hint(
                    format!("ids[{at}]"),
                    format!("must be 0 or more, got {id}"),
                    hint,
                ))
            }
            None => Ok(Self::Tokens(ids)),
        }
    }

    /// How many positions it takes at least, where that can be told without a tokenizer.
    pub(crate) fn positions(&self) -> usize {
        match self {
            Self::Prompt(_) | Self::Rendered(_) => 1,
            Self::Tokens(ids) => ids.len(),
            Self::Embeddings(embeddings) => embeddings.rows(),
            Self::Multimodal(multimodal) => multimodal.positions(),
        }
    }
}

/// `text` for C.
pub(crate) fn c_text(name: &'static str, text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|error| {
        Failure::invalid_with_hint(
            name,
            format!(
                "must not contain a NUL character, got one at byte {}",
                error.nul_position()
            ),
            "Remove it: the C library would end the text there.",
        )
    })
}

/// `path` for C.
pub(crate) fn c_path(name: &str, path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Failure::invalid(name, "must not contain a NUL byte"))
}

impl TryFrom<&str> for Input {
    type Error = Failure;

    fn try_from(text: &str) -> Result<Self, Failure> {
        Self::prompt(text)
    }
}

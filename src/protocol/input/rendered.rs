//! Conversations that a chat template has rendered.

use std::ffi::CString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::c_text;
use crate::protocol::error::Failure;

/// A conversation as a chat template renders it, with its special tokens written out.
///
/// Where tokens can be counted, the first of several renderings that leaves room for an answer is used;
/// elsewhere the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendered {
    pub(crate) texts: Vec<CString>,
    /// So many tokens of the context are left for the answer.
    pub(crate) room: usize,
    /// Texts that may be single tokens, and shall then be told apart from the same text spelled otherwise.
    pub(crate) markers: Vec<String>,
    /// Tokens that end an answer as they are written, with their ids where those are known. Where there are
    /// any, a rendering may go to the library without a beginning that it holds, if it is cut at one of them.
    pub(crate) ends: Vec<(String, Option<i32>)>,
    /// A beginning that is kept in a file.
    pub(crate) beginning: Option<Beginning>,
}

/// A folder for the computed beginnings of conversations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptStore {
    /// It is made if it is missing.
    pub folder: PathBuf,
    /// Where there are more, those used least recently are removed.
    pub max_bytes: u64,
}

/// What many conversations begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beginning {
    pub(crate) store: PromptStore,
    pub(crate) text: CString,
}

impl Rendered {
    /// One rendering.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if it is empty or holds a NUL, which C would take for its end.
    pub fn new(text: &str) -> Result<Self, Failure> {
        Self::of([text], 1)
    }

    /// Renderings of ever less of one conversation, the whole one first. One is used if it leaves `room`
    /// tokens for the answer.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
        room: usize,
    ) -> Result<Self, Failure> {
        let texts = texts.into_iter().map(|text| {
            let text = text.as_ref();
            if text.is_empty() {
                let hint = "Look at what render_chat() gives: the chat template wrote nothing.";
                return Err(Failure::invalid_with_hint(
                    "messages",
                    "must not render to an empty prompt",
                    hint,
                ));
            }
            c_text("messages", text)
        });
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        if texts.is_empty() {
            return Err(Failure::invalid(
                "messages",
                "must be rendered at least once",
            ));
        }
        Ok(Self {
            texts,
            room,
            markers: Vec::new(),
            ends: Vec::new(),
            beginning: None,
        })
    }

    /// With texts whose ids are asked for.
    #[must_use]
    pub fn with_markers(mut self, markers: Vec<String>) -> Self {
        self.markers = markers;
        self
    }

    /// With a beginning that is kept in a file, where the library does not hold it.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if it holds a NUL.
    pub fn with_beginning(mut self, text: &str, store: PromptStore) -> Result<Self, Failure> {
        let text = c_text("messages", text)?;
        self.beginning = Some(Beginning { store, text });
        Ok(self)
    }

    /// With the tokens that end an answer, for a library that puts nothing before a text.
    #[must_use]
    pub fn with_ends(mut self, ends: Vec<(String, Option<i32>)>) -> Self {
        self.ends = ends;
        self
    }
}

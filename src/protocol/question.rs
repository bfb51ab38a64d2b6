//! What the program is asked in a run: the tokenizer and embedding callbacks of 1.3.0, and what logits become.

use serde::{Deserialize, Serialize};

/// What the library asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Token ids of a text (`LLMTokenizerCallback`).
    Tokenize {
        /// The text.
        text: String,
        /// How many ids there is room for.
        capacity: usize,
    },
    /// Embeddings of tokens (`LLMGetEmbedCallback`).
    Embed {
        /// The ids.
        tokens: Vec<i32>,
        /// How many floats the library wants for all of them together.
        floats: usize,
    },
    /// What the logits of the next token become.
    Logits {
        /// Who is asked: the number that the program gave it.
        processor: u64,
        /// The tokens that were generated so far.
        token_ids: Vec<i32>,
        /// The logits.
        row: Vec<f32>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Question::Tokenize`].
    Tokens(Vec<i32>),
    /// To [`Question::Embed`].
    Embeddings(Vec<f32>),
    /// To [`Question::Logits`].
    Logits(Vec<f32>),
    /// There is none: the run fails.
    Failed,
}

impl Response {
    /// Why this is no answer to `question`, if it is none.
    pub(crate) fn unfit(&self, question: &Question) -> Option<String> {
        match (question, self) {
            (Question::Tokenize { capacity, .. }, Self::Tokens(ids)) if ids.len() > *capacity => {
                let ids = ids.len();
                Some(format!(
                    "the tokenizer returned {ids} ids, but the runtime has room for {capacity}"
                ))
            }
            (Question::Embed { tokens, floats }, Self::Embeddings(values))
                if values.len() != *floats =>
            {
                Some(format!(
                    "the embedder must return {floats} floats for {} tokens, got {}",
                    tokens.len(),
                    values.len()
                ))
            }
            (Question::Logits { row, .. }, Self::Logits(values)) if values.len() != row.len() => {
                Some(format!(
                    "logits_processor must return {} floats, got {}",
                    row.len(),
                    values.len()
                ))
            }
            (Question::Tokenize { .. }, Self::Tokens(_))
            | (Question::Logits { .. }, Self::Logits(_))
            | (Question::Embed { .. }, Self::Embeddings(_))
            | (_, Self::Failed) => None,
            _ => Some("the program answered a question that the runtime did not ask".to_owned()),
        }
    }
}

/// A question that waits for its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What its answer must bear.
    pub number: u64,
    /// The run in which it came; none while a model is opened.
    pub run: Option<u64>,
    /// What is asked.
    pub question: Question,
}

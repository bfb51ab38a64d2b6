//! Asks the tokenizer and embedding callbacks of 1.3.0, as a model without either would.

use std::ffi::{c_int, c_void};
use std::thread;

use serde_json::Value;

use crate::decode::float;
use crate::ffi::v1_3_0::{EmbedCallback, RKLLMCallback, TokenizerCallback};
use crate::record::Recorder;
use crate::script::{Ask, Question};

/// Elements behind each buffer that the callback must not touch.
const GUARD: usize = 16;
/// Fills the token buffer beforehand.
const UNWRITTEN: i32 = i32::MIN;
/// Floats of an answer that are recorded at most.
const SHOWN: usize = 64;

/// The callbacks that were given to init.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    tokenizer: Option<TokenizerCallback>,
    tokenizer_user: usize,
    embed: Option<EmbedCallback>,
    embed_user: usize,
}

impl From<&RKLLMCallback> for Asked {
    fn from(given: &RKLLMCallback) -> Self {
        Self {
            tokenizer: given.tokenizer_callback,
            tokenizer_user: given.tokenizer_userdata.expose_provenance(),
            embed: given.embed_callback,
            embed_user: given.embed_userdata.expose_provenance(),
        }
    }
}

fn user(address: usize) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address)
}

impl Asked {
    /// Asks everything, up to the first failure.
    pub(crate) fn all(self, questions: &[Ask], recorder: &Recorder) -> Result<(), String> {
        questions.iter().try_for_each(|ask| {
            if !ask.thread {
                return self.one(&ask.question, recorder);
            }
            thread::scope(|scope| {
                let thread = scope.spawn(|| self.one(&ask.question, recorder));
                thread
                    .join()
                    .unwrap_or_else(|_| Err("the asking thread panicked".to_owned()))
            })
        })
    }

    fn one(self, question: &Question, recorder: &Recorder) -> Result<(), String> {
        match question {
            Question::Tokenize { text, capacity } => self.tokenize(text, *capacity, recorder),
            Question::Embed { ids, width } => self.embed(ids, *width, recorder),
        }
    }

    fn tokenize(self, text: &str, capacity: i32, recorder: &Recorder) -> Result<(), String> {
        // The text ends where its length says; who looks for the NUL finds a byte too many.
        let mut bytes = [text.as_bytes(), b"#\0"].concat();
        let room = usize::try_from(capacity).unwrap_or(0);
        let mut tokens = vec![UNWRITTEN; room + GUARD];
        let returned = self.tokenizer.map(|tokenizer| {
            // SAFETY: the caller of init keeps the callback valid until destroy; text and room are
            // as long as it is told.
            unsafe {
                tokenizer(
                    user(self.tokenizer_user),
                    bytes.as_ptr().cast(),
                    text.len() as c_int,
                    tokens.as_mut_ptr(),
                    capacity,
                )
            }
        });
        bytes.fill(b'#');
        let count = returned
            .filter(|count| *count <= capacity)
            .and_then(|count| usize::try_from(count).ok());
        recorder.write("tokenizer", |fields| {
            fields.insert("text".to_owned(), text.into());
            fields.insert("capacity".to_owned(), capacity.into());
            fields.insert("return".to_owned(), returned.into());
            let shown = count.map(|count| tokens[..count].to_vec());
            fields.insert("tokens".to_owned(), shown.into());
            let overrun = tokens[room..].iter().any(|token| *token != UNWRITTEN);
            fields.insert("overrun".to_owned(), overrun.into());
        });
        match (returned, count) {
            (None, _) => Err("tokenizer_callback is NULL".to_owned()),
            (Some(returned), None) => Err(format!(
                "tokenizer_callback failed: {returned} for a capacity of {capacity}"
            )),
            (Some(_), Some(_)) => Ok(()),
        }
    }

    fn embed(self, ids: &[i32], width: usize, recorder: &Recorder) -> Result<(), String> {
        let mut asked = ids.to_vec();
        let room = ids.len() * width;
        let mut floats = vec![f32::NAN; room + GUARD];
        let bytes = room * size_of::<f32>();
        let returned = self.embed.map(|embed| {
            // SAFETY: as for the tokenizer.
            unsafe {
                embed(
                    user(self.embed_user),
                    asked.as_mut_ptr(),
                    ids.len() as u64,
                    floats.as_mut_ptr().cast(),
                    bytes as u64,
                )
            }
        });
        recorder.write("embedding", |fields| {
            fields.insert("ids".to_owned(), ids.into());
            fields.insert("bytes".to_owned(), bytes.into());
            fields.insert("return".to_owned(), returned.into());
            let shown: Vec<Value> = floats[..room]
                .iter()
                .take(SHOWN)
                .copied()
                .map(float)
                .collect();
            fields.insert("floats".to_owned(), shown.into());
            let sum: f64 = floats[..room].iter().copied().map(f64::from).sum();
            fields.insert("sum".to_owned(), sum.into());
            let overrun = floats[room..].iter().any(|float| !float.is_nan());
            fields.insert("overrun".to_owned(), overrun.into());
        });
        match returned {
            None => Err("embed_callback is NULL".to_owned()),
            Some(0) => Ok(()),
            Some(returned) => Err(format!("embed_callback failed: {returned}")),
        }
    }
}

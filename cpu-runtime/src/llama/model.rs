//! Weights and vocabulary: shared, and read-only once loaded.
#![allow(unsafe_code, reason = "calls llama.cpp")]

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;
use rkllm_digest::Mark;

pub(super) fn start_backend() {
    // SAFETY: no arguments; the caller's `Once` makes it the first and only call.
    unsafe { sys::llama_backend_init() };
}

pub(super) fn version() -> String {
    // SAFETY: no arguments; returns a constant, NUL-terminated text.
    unsafe { CStr::from_ptr(sys::llama_version()) }
        .to_string_lossy()
        .into_owned()
}

/// A loaded model.
#[derive(Debug)]
pub(crate) struct Model {
    raw: NonNull<sys::llama_model>,
    vocab: *const sys::llama_vocab,
    digest: u64,
}

// SAFETY: llama.cpp does not change a model after loading; its getters and its tokenizer are
// documented as thread-safe. Adapters are loaded under the owning session's lock.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// Loads a GGUF file; the reason of a failure is in the log.
    pub(crate) fn load(path: &CStr) -> Option<Self> {
        // SAFETY: takes no arguments, returns a plain struct.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers = 0;
        // SAFETY: the path is NUL-terminated, and `params` holds no pointers of ours.
        let raw = NonNull::new(unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) })?;
        // SAFETY: `raw` is a loaded model; the vocabulary lives as long as it.
        let vocab = unsafe { sys::llama_model_get_vocab(raw.as_ptr()) };
        let file = Path::new(OsStr::from_bytes(path.to_bytes()));
        Some(Self {
            raw,
            vocab,
            // Zero for a file that has gone since: nothing else is zero but by chance.
            digest: Mark::of(file).map_or(0, |mark| mark.hash),
        })
    }

    /// Tells the model's file from others.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn raw(&self) -> *mut sys::llama_model {
        self.raw.as_ptr()
    }

    /// Whether text can be generated with it: it decodes, and has no encoder before.
    pub(crate) fn generates(&self) -> bool {
        // SAFETY: the model is loaded.
        unsafe {
            sys::llama_model_has_decoder(self.raw()) && !sys::llama_model_has_encoder(self.raw())
        }
    }

    /// The longest context that it was trained for.
    pub(crate) fn context_limit(&self) -> i32 {
        // SAFETY: the model is loaded.
        unsafe { sys::llama_model_n_ctx_train(self.raw()) }
    }

    /// Floats in an input embedding.
    pub(crate) fn embedding_width(&self) -> usize {
        // SAFETY: the model is loaded.
        unsafe { sys::llama_model_n_embd_inp(self.raw()) }.max(0) as usize
    }

    /// Floats in a hidden state.
    pub(crate) fn hidden_width(&self) -> usize {
        // SAFETY: the model is loaded.
        unsafe { sys::llama_model_n_embd_out(self.raw()) }.max(0) as usize
    }

    /// Tokens in the vocabulary.
    pub(crate) fn vocabulary_size(&self) -> usize {
        // SAFETY: the vocabulary belongs to the loaded model.
        unsafe { sys::llama_vocab_n_tokens(self.vocab) }.max(0) as usize
    }

    /// Architecture, size and quantisation in a few words.
    pub(crate) fn description(&self) -> String {
        let mut buffer = [0_u8; 128];
        // SAFETY: the buffer is writable for the length given; llama.cpp ends the text with a NUL.
        unsafe {
            sys::llama_model_desc(
                self.raw(),
                buffer.as_mut_ptr().cast::<c_char>(),
                buffer.len(),
            );
        }
        let end = buffer.iter().position(|&b| b == 0).unwrap_or(buffer.len());
        String::from_utf8_lossy(&buffer[..end]).into_owned()
    }

    /// The Jinja text that turns messages into a prompt.
    pub(crate) fn chat_template(&self) -> Option<String> {
        // SAFETY: the model is loaded; a NULL name asks for the default template.
        let text = unsafe { sys::llama_model_chat_template(self.raw(), std::ptr::null()) };
        if text.is_null() {
            return None;
        }
        // SAFETY: NUL-terminated, owned by the model.
        Some(
            unsafe { CStr::from_ptr(text) }
                .to_string_lossy()
                .into_owned(),
        )
    }

    /// The token that starts a text, if the model wants one put in front.
    fn leading_token(&self) -> Option<i32> {
        // SAFETY: the vocabulary belongs to the loaded model.
        let wanted = unsafe { sys::llama_vocab_get_add_bos(self.vocab) };
        self.bos().filter(|_| wanted)
    }

    pub(crate) fn bos(&self) -> Option<i32> {
        // SAFETY: the vocabulary belongs to the loaded model.
        Some(unsafe { sys::llama_vocab_bos(self.vocab) }).filter(|&token| token >= 0)
    }

    pub(crate) fn eos(&self) -> Option<i32> {
        // SAFETY: the vocabulary belongs to the loaded model.
        Some(unsafe { sys::llama_vocab_eos(self.vocab) }).filter(|&token| token >= 0)
    }

    /// Whether `token` ends an answer.
    pub(crate) fn ends(&self, token: i32) -> bool {
        self.knows(token)
            // SAFETY: the vocabulary belongs to the loaded model; the token is in it.
            && unsafe { sys::llama_vocab_is_eog(self.vocab, token) }
    }

    /// Whether `token` is a mark and no text, such as those around the messages of a chat.
    pub(crate) fn marks(&self, token: i32) -> bool {
        self.knows(token)
            // SAFETY: the vocabulary belongs to the loaded model; the token is in it.
            && unsafe { sys::llama_vocab_is_control(self.vocab, token) }
    }

    /// Whether `token` is text: no mark, and neither unknown nor unused.
    pub(crate) fn is_text(&self, token: i32) -> bool {
        const TEXT: sys::llama_token_attr = sys::LLAMA_TOKEN_ATTR_NORMAL
            | sys::LLAMA_TOKEN_ATTR_BYTE
            | sys::LLAMA_TOKEN_ATTR_USER_DEFINED;
        self.knows(token)
            // SAFETY: the vocabulary belongs to the loaded model; the token is in it.
            && unsafe { sys::llama_vocab_get_attr(self.vocab, token) } & TEXT != 0
    }

    /// Whether `token` is in the vocabulary.
    pub(crate) fn knows(&self, token: i32) -> bool {
        usize::try_from(token).is_ok_and(|token| token < self.vocabulary_size())
    }

    /// The tokens of `text`, special ones written out in it included. None if it is too long.
    pub(crate) fn tokenize(&self, text: &[u8]) -> Option<Vec<i32>> {
        let length = i32::try_from(text.len()).ok()?;
        let mut tokens = vec![0_i32; text.len() / 2 + 16];
        loop {
            // SAFETY: text and tokens are valid for the lengths given.
            let count = unsafe {
                sys::llama_tokenize(
                    self.vocab,
                    text.as_ptr().cast::<c_char>(),
                    length,
                    tokens.as_mut_ptr(),
                    i32::try_from(tokens.len()).ok()?,
                    false,
                    true,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                tokens.truncate(count);
                return Some(tokens);
            }
            // A negative count is the room that is needed.
            let needed = count.checked_neg()? as usize;
            if needed <= tokens.len() {
                return None;
            }
            tokens.resize(needed, 0);
        }
    }

    /// The tokens of `text`, behind the one that starts a text if `leading` asks for it and the text
    /// has not got it: many templates write it themselves.
    pub(crate) fn tokens(&self, text: &[u8], leading: bool) -> Option<Vec<i32>> {
        let mut tokens = self.tokenize(text)?;
        let first = self.leading_token().filter(|_| leading);
        if let Some(first) = first.filter(|first| tokens.first() != Some(first)) {
            tokens.insert(0, first);
        }
        Some(tokens)
    }

    /// The text of `ids`, as bytes; special tokens are written out if `special` asks for it.
    pub(crate) fn detokenize(&self, ids: &[i32], special: bool) -> Result<Vec<u8>, String> {
        if let Some(id) = ids.iter().find(|&&id| !self.knows(id)) {
            let size = self.vocabulary_size();
            return Err(format!("token {id} is not in the vocabulary of {size}"));
        }
        let count = i32::try_from(ids.len()).map_err(|e| e.to_string())?;
        let mut bytes = vec![0_u8; ids.len() * 4 + 64];
        loop {
            let room = i32::try_from(bytes.len()).map_err(|e| e.to_string())?;
            // SAFETY: ids and bytes are valid for the lengths given; the ids are in the vocabulary.
            let written = unsafe {
                sys::llama_detokenize(
                    self.vocab,
                    ids.as_ptr(),
                    count,
                    bytes.as_mut_ptr().cast::<c_char>(),
                    room,
                    false,
                    special,
                )
            };
            if let Ok(written) = usize::try_from(written) {
                bytes.truncate(written);
                return Ok(bytes);
            }
            // A negative count is the room that is needed.
            let needed = written.unsigned_abs() as usize;
            if needed <= bytes.len() {
                return Err("the tokens cannot be converted to text".into());
            }
            bytes.resize(needed, 0);
        }
    }

    /// The bytes of `token`; those of special tokens only when asked for.
    pub(crate) fn piece(&self, token: i32, special: bool) -> Vec<u8> {
        if !self.knows(token) {
            return Vec::new();
        }
        let mut bytes = vec![0_u8; 64];
        loop {
            // SAFETY: the buffer is writable for the length given; the token is in the vocabulary.
            let count = unsafe {
                sys::llama_token_to_piece(
                    self.vocab,
                    token,
                    bytes.as_mut_ptr().cast::<c_char>(),
                    bytes.len() as i32,
                    0,
                    special,
                )
            };
            if let Ok(count) = usize::try_from(count) {
                bytes.truncate(count);
                return bytes;
            }
            let needed = count.unsigned_abs() as usize;
            if needed <= bytes.len() {
                return Vec::new();
            }
            bytes.resize(needed, 0);
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: contexts and adapters hold an `Arc` of the model, so none is left.
        unsafe { sys::llama_model_free(self.raw()) };
    }
}

/// A LoRA adapter of a model.
#[derive(Debug)]
pub(crate) struct Adapter {
    raw: NonNull<sys::llama_adapter_lora>,
    // llama.cpp frees adapters together with their model, which must therefore live as long.
    _model: Arc<Model>,
}

// SAFETY: an adapter is only read after loading, under the owning session's lock.
unsafe impl Send for Adapter {}

impl Adapter {
    /// Loads an adapter; the reason of a failure is in the log.
    pub(crate) fn load(model: &Arc<Model>, path: &CStr) -> Option<Self> {
        // SAFETY: the model is loaded and the path NUL-terminated; the session's lock keeps other
        // uses of this model's adapter list away.
        let raw = unsafe { sys::llama_adapter_lora_init(model.raw(), path.as_ptr()) };
        Some(Self {
            raw: NonNull::new(raw)?,
            _model: Arc::clone(model),
        })
    }

    pub(super) fn raw(&self) -> *mut sys::llama_adapter_lora {
        self.raw.as_ptr()
    }
}

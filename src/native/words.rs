//! A model's words: from text to tokens and back, also while the model is in a run.

use std::ffi::c_int;
use std::sync::Arc;

use super::calls::{NEWER_CPU_RUNTIME, filled};
use super::handle::failed;
use crate::host;
use crate::protocol::error::Failure;
use crate::runtime::Runtime;
use rkllm_ffi::shared::LLMHandle;

/// A model's words. Not to be used after `rkllm_destroy`.
pub(crate) struct Words {
    pub(super) runtime: Arc<Runtime>,
    pub(super) handle: LLMHandle,
}

// SAFETY: the handle is used for two functions of the CPU runtime's table only, which read what never changes and may
// be called from any thread, beside a run as well. Who takes a value to another thread ends that use before the model
// is destroyed.
unsafe impl Send for Words {}

impl Words {
    /// Whether the library tells them.
    pub(crate) fn are_told_by(runtime: &Runtime) -> bool {
        let table = runtime.symbols().cpu_table;
        table.is_some_and(|table| table.tokenize.is_some())
    }

    /// Token ids of a text as it is, no template around it; the CPU runtime only.
    pub(crate) fn tokenize(&self, text: &str, leading: bool) -> Result<Vec<i32>, Failure> {
        let able = self.runtime.capabilities();
        able.require("tokenize")?;
        let missing = || able.lacks("tokenize", NEWER_CPU_RUNTIME);
        let table = self.runtime.symbols().cpu_table;
        let tokenize = table.and_then(|table| table.tokenize).ok_or_else(missing)?;
        let mark = host::log_mark();
        let ids = filled(|ids: &mut [i32], room| {
            // SAFETY: the table belongs to the library of this live handle, beside whose runs it may be asked; the
            // text has the length given, and there is room for as many ids as are told.
            unsafe {
                tokenize(
                    self.handle,
                    text.as_ptr().cast(),
                    text.len(),
                    c_int::from(leading),
                    ids.as_mut_ptr(),
                    room,
                )
            }
        });
        ids.ok_or_else(|| {
            host::log_sync();
            failed("tokenize", "the text cannot be tokenized", mark)
        })
    }

    /// The text of token ids; the CPU runtime only.
    pub(crate) fn detokenize(&self, ids: &[i32], skip_special: bool) -> Result<String, Failure> {
        let able = self.runtime.capabilities();
        able.require("tokenize")?;
        let missing = || able.lacks("detokenize", NEWER_CPU_RUNTIME);
        let table = self.runtime.symbols().cpu_table;
        let detokenize = table
            .and_then(|table| table.detokenize)
            .ok_or_else(missing)?;
        let mark = host::log_mark();
        let text = filled(|text: &mut [u8], room| {
            // SAFETY: as for `tokenize`; there are as many ids as are
            // told, and there is as much room.
            unsafe {
                detokenize(
                    self.handle,
                    ids.as_ptr(),
                    ids.len(),
                    c_int::from(skip_special),
                    text.as_mut_ptr().cast(),
                    room,
                )
            }
        });
        let text = text.ok_or_else(|| {
            host::log_sync();
            failed("detokenize", "the tokens cannot be converted to text", mark)
        })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

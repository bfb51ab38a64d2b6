//! The C functions with which the library asks: for tokens of a text, for embeddings of tokens.
//!
//! They carry the question to the desk and wait there; whoever reads the run answers it.

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::lane::Asker;
use crate::protocol::question::{Question, Response};

const FAILED: c_int = -1;

/// Asks whoever is behind `userdata`.
///
/// # Safety
/// `userdata` is NULL or the asker that the model was opened with; it is never freed.
unsafe fn ask(userdata: *mut c_void, question: impl FnOnce() -> Option<Question>) -> Response {
    // SAFETY: the caller's promise.
    let asker = unsafe { userdata.cast::<Asker>().as_ref() };
    let answer = AssertUnwindSafe(|| Some(asker?.0.ask(question()?)));
    catch_unwind(answer)
        .ok()
        .flatten()
        .unwrap_or(Response::Failed)
}

/// `LLMTokenizerCallback`.
pub(super) unsafe extern "C" fn tokenizer(
    userdata: *mut c_void,
    text: *const c_char,
    length: i32,
    tokens: *mut i32,
    capacity: i32,
) -> c_int {
    let question = || {
        let length = usize::try_from(length).ok()?;
        let capacity = usize::try_from(capacity).ok()?;
        let bytes = match length {
            0 => &[],
            _ if text.is_null() => return None,
            // SAFETY: the library gives so many bytes, which live for this call; they are copied.
            _ => unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) },
        };
        Some(Question::Tokenize {
            text: String::from_utf8_lossy(bytes).into_owned(),
            capacity,
        })
    };
    // SAFETY: the userdata is the asker that was given together with this function.
    let Response::Tokens(ids) = (unsafe { ask(userdata, question) }) else {
        return FAILED;
    };
    if tokens.is_null() || usize::try_from(capacity).is_ok_and(|capacity| ids.len() > capacity) {
        return FAILED;
    }
    // SAFETY: there is room for `capacity` numbers, and there are no more.
    unsafe { std::ptr::copy_nonoverlapping(ids.as_ptr(), tokens, ids.len()) };
    c_int::try_from(ids.len()).unwrap_or(FAILED)
}

/// `LLMGetEmbedCallback`.
pub(super) unsafe extern "C" fn embedder(
    userdata: *mut c_void,
    tokens: *mut i32,
    count: u64,
    out: *mut c_void,
    room: u64,
) -> c_int {
    let question = || {
        let count = usize::try_from(count).ok()?;
        let bytes = usize::try_from(room).ok()?;
        let ids = match count {
            0 => Vec::new(),
            _ if tokens.is_null() => return None,
            // SAFETY: the library gives so many ids, which live for this call; they are copied.
            _ => unsafe { std::slice::from_raw_parts(tokens, count) }.to_vec(),
        };
        Some(Question::Embed {
            tokens: ids,
            floats: bytes / size_of::<f32>(),
        })
    };
    // SAFETY: the userdata is the asker that was given together with this function.
    let Response::Embeddings(values) = (unsafe { ask(userdata, question) }) else {
        return FAILED;
    };
    let bytes = values.len() * size_of::<f32>();
    if out.is_null() || u64::try_from(bytes).is_ok_and(|bytes| bytes > room) {
        return FAILED;
    }
    // SAFETY: there is room for `room` bytes, and there are no more; copied as bytes, since nobody
    // promises how the library aligns its room.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), out.cast::<u8>(), bytes) };
    0
}

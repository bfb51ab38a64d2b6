//! The C callback behind [`super::forward_llama`].

use super::{CStr, c_char, c_void, sys};

pub(super) fn install() {
    // SAFETY: the callback is a function of this library, which is never unloaded while llama.cpp,
    // part of the same file, can still call it.
    unsafe { sys::llama_log_set(Some(receive), std::ptr::null_mut()) };
}

unsafe extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    let letter = match level {
        sys::GGML_LOG_LEVEL_ERROR => 'E',
        sys::GGML_LOG_LEVEL_WARN => 'W',
        _ => return,
    };
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated text that lives until this function returns.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let _ = std::panic::catch_unwind(|| super::forwarded(letter, &text));
}

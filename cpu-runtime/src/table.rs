//! The private table: what `rkllm_rs` asks beyond the vendor's C API.
#![allow(unsafe_code, reason = "C functions that take C strings")]

use std::ffi::{c_char, c_int};

use rkllm_ffi::cpu_table::{CpuTable, LogitsProcessor, PromptFigures, VERSION, reuse, token_kind};
use rkllm_ffi::v1_3_0::LLMHandle;

use crate::api::{guard, or_minus_one};
use crate::instance;
use crate::request;
use crate::session::Reuse;
use crate::template::Turn;

static TABLE: CpuTable = CpuTable {
    version: VERSION,
    size: size_of::<CpuTable>() as u32,
    count_tokens,
    vocab_size,
    embd_size,
    context_limit,
    set_seed,
    tokenize: Some(tokenize),
    template_problem: Some(template_problem),
    detokenize: Some(detokenize),
    end_pause: Some(end_pause),
    set_reuse: Some(set_reuse),
    prompt_figures: Some(prompt_figures),
    vocabulary: Some(vocabulary),
    set_logits_processor: Some(set_logits_processor),
};

/// Returns the table, or NULL if `version` is one that this library does not speak.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_rs_cpu_table(version: u32) -> *const CpuTable {
    if version == VERSION {
        &raw const TABLE
    } else {
        std::ptr::null()
    }
}

/// # Safety
///
/// `text` points to `len` bytes that stay while they are used, or `len` is 0.
unsafe fn bytes<'a>(text: *const c_char, len: usize) -> Result<&'a [u8], String> {
    if len == 0 {
        return Ok(&[]);
    }
    if text.is_null() || len > i32::MAX as usize {
        return Err("the text is NULL or too long".into());
    }
    // SAFETY: by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) })
}

unsafe extern "C" fn count_tokens(
    h: LLMHandle,
    text: *const c_char,
    len: usize,
    role: *const c_char,
) -> c_int {
    or_minus_one(|| {
        let instance = instance::find(h.addr())?;
        // SAFETY: NULL or NUL-terminated, as the table's documentation demands.
        let role = unsafe { request::role(role)? };
        // SAFETY: the caller gives `len` bytes.
        let text = unsafe { bytes(text, len)? };
        let count = instance.count(Turn {
            role,
            text,
            thinking: false,
        })?;
        c_int::try_from(count).map_err(|e| e.to_string())
    })
}

fn number(h: LLMHandle, of: impl FnOnce(&instance::Instance) -> usize) -> c_int {
    or_minus_one(|| c_int::try_from(of(&*instance::find(h.addr())?)).map_err(|e| e.to_string()))
}

unsafe extern "C" fn vocab_size(h: LLMHandle) -> c_int {
    number(h, |instance| instance.model.vocabulary_size())
}

unsafe extern "C" fn embd_size(h: LLMHandle) -> c_int {
    number(h, |instance| instance.model.hidden_width())
}

unsafe extern "C" fn context_limit(h: LLMHandle) -> c_int {
    number(h, |instance| instance.model.context_limit().max(0) as usize)
}

unsafe extern "C" fn set_seed(h: LLMHandle, has_seed: c_int, seed: u64) -> c_int {
    guard(|| {
        instance::find(h.addr())?.set_seed((has_seed != 0).then_some(seed));
        Ok(())
    })
}

unsafe extern "C" fn tokenize(
    h: LLMHandle,
    text: *const c_char,
    len: usize,
    leading: c_int,
    out: *mut i32,
    capacity: c_int,
) -> c_int {
    or_minus_one(|| {
        let instance = instance::find(h.addr())?;
        // SAFETY: the caller gives `len` bytes.
        let text = unsafe { bytes(text, len)? };
        let tokens = instance
            .model
            .tokens(text, leading != 0)
            .ok_or("the text cannot be tokenized")?;
        let count = c_int::try_from(tokens.len()).map_err(|e| e.to_string())?;
        if count > 0 && capacity >= count {
            if out.is_null() {
                return Err("out is NULL".into());
            }
            // SAFETY: the caller gives room for `capacity` ids, which is enough.
            unsafe { out.copy_from_nonoverlapping(tokens.as_ptr(), tokens.len()) };
        }
        Ok(count)
    })
}

unsafe extern "C" fn detokenize(
    h: LLMHandle,
    ids: *const i32,
    count: usize,
    skip_special: c_int,
    out: *mut c_char,
    capacity: c_int,
) -> c_int {
    or_minus_one(|| {
        let instance = instance::find(h.addr())?;
        let ids = match count {
            0 => &[],
            _ if ids.is_null() => return Err("ids is NULL".into()),
            // SAFETY: the caller gives `count` ids.
            _ => unsafe { std::slice::from_raw_parts(ids, count) },
        };
        let text = instance.model.detokenize(ids, skip_special == 0)?;
        // SAFETY: the caller gives room for `capacity` bytes.
        unsafe { write(&text, out, capacity) }
    })
}

unsafe extern "C" fn end_pause(h: LLMHandle) -> c_int {
    guard(|| {
        instance::find(h.addr())?.session()?.end_pause();
        Ok(())
    })
}

unsafe extern "C" fn set_reuse(h: LLMHandle, how: c_int) -> c_int {
    guard(|| {
        let how = match how {
            reuse::AUTO => Reuse::Auto,
            reuse::HELD => Reuse::Held,
            reuse::NONE => Reuse::None,
            other => return Err(format!("unknown reuse {other}")),
        };
        instance::find(h.addr())?.set_reuse(how);
        Ok(())
    })
}

unsafe extern "C" fn prompt_figures(
    h: LLMHandle,
    out: *mut PromptFigures,
    capacity: c_int,
) -> c_int {
    or_minus_one(|| {
        let figures = instance::find(h.addr())?.figures.get();
        let count = c_int::try_from(figures.len()).map_err(|e| e.to_string())?;
        if count > 0 && capacity >= count {
            if out.is_null() {
                return Err("out is NULL".into());
            }
            // SAFETY: the caller gives room for `capacity` figures, which is enough.
            unsafe { out.copy_from_nonoverlapping(figures.as_ptr(), figures.len()) };
        }
        Ok(count)
    })
}

unsafe extern "C" fn vocabulary(h: LLMHandle, out: *mut c_char, capacity: c_int) -> c_int {
    or_minus_one(|| {
        let instance = instance::find(h.addr())?;
        let model = &instance.model;
        let mut all = Vec::with_capacity(model.vocabulary_size() * 12);
        for token in 0..model.vocabulary_size() as i32 {
            let kind = match token {
                token if model.ends(token) => token_kind::END,
                token if model.is_text(token) => token_kind::TEXT,
                _ => token_kind::MARK,
            };
            let piece = model.piece(token, true);
            all.push(kind);
            all.extend_from_slice(&(piece.len() as u32).to_le_bytes());
            all.extend_from_slice(&piece);
        }
        // SAFETY: the caller gives room for `capacity` bytes.
        unsafe { write(&all, out, capacity) }
    })
}

unsafe extern "C" fn set_logits_processor(
    h: LLMHandle,
    processor: Option<LogitsProcessor>,
) -> c_int {
    guard(|| {
        instance::find(h.addr())?.set_logits_processor(processor);
        Ok(())
    })
}

unsafe extern "C" fn template_problem(h: LLMHandle, out: *mut c_char, capacity: c_int) -> c_int {
    or_minus_one(|| {
        let instance = instance::find(h.addr())?;
        let text = instance.template_problem.as_deref().unwrap_or_default();
        // SAFETY: the caller gives room for `capacity` bytes.
        unsafe { write(text.as_bytes(), out, capacity) }
    })
}

/// Writes `text` if there is room for it, and tells its length.
///
/// # Safety
///
/// `out` points to `capacity` bytes that may be written, or is NULL.
unsafe fn write(text: &[u8], out: *mut c_char, capacity: c_int) -> Result<c_int, String> {
    let count = c_int::try_from(text.len()).map_err(|e| e.to_string())?;
    if count > 0 && capacity >= count {
        if out.is_null() {
            return Err("out is NULL".into());
        }
        // SAFETY: there is room for `capacity` bytes, which is enough.
        unsafe { out.copy_from_nonoverlapping(text.as_ptr().cast(), text.len()) };
    }
    Ok(count)
}

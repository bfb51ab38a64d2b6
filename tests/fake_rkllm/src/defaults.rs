//! `rkllm_createDefaultParam`.

use std::ffi::{CString, c_char};

use serde_json::{Map, Value};

use crate::config::{self, Defaults, Mode};
use crate::decode::{Kind, kind};
use crate::{AbiVersion, ffi};

/// The values that the vendor's manuals name, by field.
///
/// The CPU mask and the reserved bytes are missing on purpose: 1.2.1b1 leaves them unwritten (the
/// mask on machines with neither 4 nor 8 CPUs).
const NORMAL: [(&str, f64); 24] = [
    ("num_npu_core", 3.0),
    ("max_context_len", 512.0),
    ("max_new_tokens", -1.0),
    ("top_k", 40.0),
    ("n_keep", -1.0),
    ("top_p", 0.9),
    ("temperature", 0.8),
    ("repeat_penalty", 1.1),
    ("frequency_penalty", 0.0),
    ("presence_penalty", 0.0),
    ("mirostat", 0.0),
    ("mirostat_tau", 5.0),
    ("mirostat_eta", 0.1),
    ("logprobs", 0.0),
    ("top_logprobs", 5.0),
    ("use_gpu", 0.0),
    ("skip_special_token", 1.0),
    ("ignore_eos_token", 0.0),
    ("is_async", 0.0),
    ("base_domain_id", 0.0),
    ("embed_flash", 1.0),
    ("enabled_cpus_num", 4.0),
    ("n_batch", 1.0),
    ("use_cross_attn", 0.0),
];

/// Writes the defaults, and nothing but them.
///
/// # Safety
///
/// `out` is writable for the size of the layout's own `RKLLMParam`.
pub unsafe fn create(own: &'static AbiVersion, out: *mut u8) {
    config::recorder().write("rkllm_createDefaultParam", |_| {});
    let shape = config::written_abi(own);
    let empty = Map::new();
    let (mode, overrides) = match &config::config().defaults {
        Defaults::Mode(mode) => (*mode, &empty),
        Defaults::Fields(fields) => (Mode::Normal, fields),
    };
    let room = own.size_of("RKLLMParam");
    for (outer, base) in [
        ("RKLLMParam", 0),
        ("RKLLMExtendParam", extend_offset(shape)),
    ] {
        let Some(layout) = shape.layout(outer) else {
            continue;
        };
        for (field, offset) in &layout.fields {
            let at = base + offset;
            let Some(value) = value_of(shape, field, mode, overrides) else {
                continue;
            };
            if at + value.len() <= room {
                // SAFETY: the bytes end inside the room that the caller promised.
                unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), out.add(at), value.len()) };
            }
        }
    }
}

/// [`create`], as the exported functions call it.
///
/// # Safety
///
/// As for [`create`].
pub unsafe fn create_guarded(own: &'static AbiVersion, out: *mut u8) {
    crate::guard("rkllm_createDefaultParam", || {
        // SAFETY: passed on to the caller.
        unsafe { create(own, out) };
        0
    });
}

fn extend_offset(shape: &AbiVersion) -> usize {
    shape
        .layout("RKLLMParam")
        .and_then(|layout| {
            layout
                .fields
                .iter()
                .find(|(name, _)| name == "extend_param")
        })
        .map_or(0, |(_, offset)| *offset)
}

/// The bytes to write for a field; None leaves them unwritten.
fn value_of(
    shape: &AbiVersion,
    field: &str,
    mode: Mode,
    overrides: &Map<String, Value>,
) -> Option<Vec<u8>> {
    let given = overrides.get(field);
    if matches!(kind(field), Kind::Text) {
        let pointer = match given.and_then(Value::as_str) {
            // Never freed, as the library's own strings are not.
            Some(text) => CString::new(text).ok()?.into_raw().cast_const(),
            None if given.is_some_and(Value::is_null) || field == "model_path" => std::ptr::null(),
            None if mode == Mode::Garbage => std::ptr::null(),
            None => c"".as_ptr(),
        };
        return Some(pointer_bytes(pointer));
    }
    let number = match (given.and_then(Value::as_f64), mode) {
        (Some(number), _) => number,
        (None, Mode::Garbage) => match kind(field) {
            Kind::F32 => 12345.5,
            Kind::I8 | Kind::U8 => 99.0,
            _ => return None,
        },
        // 1.1.4 answers 1, and later releases 40.
        (None, Mode::Normal) if field == "top_k" && shape.rank == 110 => 1.0,
        (None, Mode::Normal) => NORMAL.iter().find(|(name, _)| *name == field)?.1,
    };
    Some(match kind(field) {
        Kind::F32 => (number as f32).to_ne_bytes().to_vec(),
        Kind::I32 => (number as i32).to_ne_bytes().to_vec(),
        Kind::U32 => (number as u32).to_ne_bytes().to_vec(),
        Kind::I8 => (number as i8).to_ne_bytes().to_vec(),
        Kind::U8 | Kind::Bool => vec![number as u8],
        _ => return None,
    })
}

fn pointer_bytes(pointer: *const c_char) -> Vec<u8> {
    pointer.expose_provenance().to_ne_bytes().to_vec()
}

const _: () = assert!(size_of::<ffi::v1_3_0::RKLLMParam>() <= config::LARGEST_PARAM);

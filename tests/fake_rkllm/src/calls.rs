//! The calls that do nothing but answer: LoRA, caches, templates, tools, cross attention.

use std::ffi::{c_char, c_int};
use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Map, Value};

use crate::decode::{View, bytes, shown};
use crate::digest::CrossArrays;
use crate::engine::{note_handle, refuse};
use crate::ffi::shared::LLMHandle;
use crate::instance::{Instance, find, lock};
use crate::script::{Call, Script};
use crate::state;

/// Records, prints, sleeps and answers as the script says, 0 if it does not.
fn answer(
    handle: LLMHandle,
    function: &'static str,
    call: fn(&Script) -> &Call,
    fill: impl FnOnce(&Instance, &mut Map<String, Value>),
) -> c_int {
    answer_or(handle, function, call, fill, |_, _| Ok(()))
}

/// Like [`answer`], but `act` decides where the script does not; it is told whether the script
/// demands success, and does not run where it demands failure.
fn answer_or(
    handle: LLMHandle,
    function: &'static str,
    call: fn(&Script) -> &Call,
    fill: impl FnOnce(&Instance, &mut Map<String, Value>),
    act: impl FnOnce(&Instance, bool) -> Result<(), String>,
) -> c_int {
    let Some(instance) = find(handle, function) else {
        return -1;
    };
    instance.recorder.write(function, |fields| {
        note_handle(fields, handle);
        fill(&instance, fields);
    });
    let _entered = instance.enter(function);
    let call = call(&instance.script);
    call.begin(&instance.script);
    match call.returns {
        Some(returns) if returns != 0 => returns,
        forced => match act(&instance, forced.is_some()) {
            Err(reason) if forced.is_none() => refuse(&reason),
            _ => 0,
        },
    }
}

/// `rkllm_load_lora`.
///
/// # Safety
///
/// `adapter` is NULL or a filled `RKLLMLoraAdapter`.
pub unsafe fn load_lora(handle: LLMHandle, adapter: *const u8) -> c_int {
    // SAFETY: by the caller's promise.
    let view = |abi| unsafe { View::new(abi, "RKLLMLoraAdapter", adapter) };
    let returns = answer_or(
        handle,
        "rkllm_load_lora",
        |script| &script.load_lora,
        |instance, fields| {
            fields.insert(
                "adapter".to_owned(),
                view(instance.abi).map_or(Value::Null, |view| view.json(true)),
            );
        },
        |instance, forced| {
            let Some(view) = view(instance.abi) else {
                return Ok(());
            };
            let mut state = lock(&instance.state);
            if forced {
                state.take_adapter(view);
                return Ok(());
            }
            state.load_adapter(view)
        },
    );
    if adapter.is_null() { -1 } else { returns }
}

/// `rkllm_load_prompt_cache`.
///
/// # Safety
///
/// `path` is NULL or a C string.
pub unsafe fn load_prompt_cache(handle: LLMHandle, path: *const c_char) -> c_int {
    answer_or(
        handle,
        "rkllm_load_prompt_cache",
        |script| &script.load_prompt_cache,
        |_, fields| {
            // SAFETY: by the caller's promise.
            fields.insert("path".to_owned(), unsafe { shown(path) });
        },
        |_, _| {
            // SAFETY: by the caller's promise.
            let name = unsafe { bytes(path) }.unwrap_or_default();
            if state::path(&name).is_file() {
                return Ok(());
            }
            let name = String::from_utf8_lossy(&name);
            Err(format!("prompt cache file {name} does not exist"))
        },
    )
}

/// `rkllm_release_prompt_cache`.
pub fn release_prompt_cache(handle: LLMHandle) -> c_int {
    answer(
        handle,
        "rkllm_release_prompt_cache",
        |script| &script.release_prompt_cache,
        |_, _| {},
    )
}

/// `rkllm_clear_kv_cache` of 1.2.0: two arguments.
pub fn clear_kv_cache(handle: LLMHandle, keep_system_prompt: c_int) -> c_int {
    // There is no pause to end in this layout.
    answer(
        handle,
        "rkllm_clear_kv_cache",
        |script| &script.clear_kv_cache,
        |_, fields| {
            fields.insert("keep_system_prompt".to_owned(), keep_system_prompt.into());
        },
    )
}

/// `rkllm_clear_kv_cache` from 1.2.1 on.
///
/// # Safety
///
/// `start` and `end` are NULL or hold one number for each batch row.
pub unsafe fn clear_kv_ranges(
    handle: LLMHandle,
    keep_system_prompt: c_int,
    start: *const c_int,
    end: *const c_int,
) -> c_int {
    answer_or(
        handle,
        "rkllm_clear_kv_cache",
        |script| &script.clear_kv_cache,
        |instance, fields| {
            fields.insert("keep_system_prompt".to_owned(), keep_system_prompt.into());
            for (name, numbers) in [("start_pos", start), ("end_pos", end)] {
                // SAFETY: by the caller's promise.
                let numbers = (!numbers.is_null())
                    .then(|| unsafe { std::slice::from_raw_parts(numbers, instance.n_batch) });
                fields.insert(name.to_owned(), numbers.map(<[c_int]>::to_vec).into());
            }
            fields.insert("paused".to_owned(), instance.paused.load(SeqCst).into());
        },
        |instance, _| {
            if start.is_null() && end.is_null() {
                instance.paused.store(false, SeqCst);
            } else if start.is_null() || end.is_null() {
                return Err("start_pos and end_pos are given together".to_owned());
            } else if !instance.paused.load(SeqCst) {
                return Err("ranges of the KV cache are cleared in a paused run only".to_owned());
            }
            Ok(())
        },
    )
}

/// `rkllm_get_kv_cache_size`.
///
/// # Safety
///
/// `sizes` is NULL or has room for one number for each batch row.
pub unsafe fn get_kv_cache_size(handle: LLMHandle, sizes: *mut c_int) -> c_int {
    answer_or(
        handle,
        "rkllm_get_kv_cache_size",
        |script| &script.get_kv_cache_size,
        |_, _| {},
        |instance, _| {
            let scripted = instance.kv_cache_size();
            for row in 0..instance.n_batch {
                let size = scripted.get(row).or(scripted.last()).copied().unwrap_or(0);
                if !sizes.is_null() {
                    // SAFETY: in the room that the caller promised.
                    unsafe { sizes.add(row).write(size) };
                }
            }
            Ok(())
        },
    )
}

/// `rkllm_set_chat_template`.
///
/// # Safety
///
/// Each text is NULL or a C string.
pub unsafe fn set_chat_template(handle: LLMHandle, texts: [*const c_char; 3]) -> c_int {
    let names = ["system_prompt", "prompt_prefix", "prompt_postfix"];
    // SAFETY: passed on to the caller.
    let texts = texts.map(|text| unsafe { shown(text) });
    answer(
        handle,
        "rkllm_set_chat_template",
        |script| &script.set_chat_template,
        |_, fields| {
            fields.extend(names.map(str::to_owned).into_iter().zip(texts));
        },
    )
}

/// `rkllm_set_function_tools`.
///
/// # Safety
///
/// Each text is NULL or a C string.
pub unsafe fn set_function_tools(handle: LLMHandle, texts: [*const c_char; 3]) -> c_int {
    let names = ["system_prompt", "tools", "tool_response_str"];
    // SAFETY: passed on to the caller.
    let texts = texts.map(|text| unsafe { shown(text) });
    answer(
        handle,
        "rkllm_set_function_tools",
        |script| &script.set_function_tools,
        |_, fields| {
            fields.extend(names.map(str::to_owned).into_iter().zip(texts));
        },
    )
}

/// `rkllm_set_cross_attn_params`.
///
/// # Safety
///
/// `params` is NULL or a filled `RKLLMCrossAttnParam`.
pub unsafe fn set_cross_attn_params(handle: LLMHandle, params: *const u8) -> c_int {
    // SAFETY: by the caller's promise.
    let view = |abi| unsafe { View::new(abi, "RKLLMCrossAttnParam", params) };
    answer_or(
        handle,
        "rkllm_set_cross_attn_params",
        |script| &script.set_cross_attn_params,
        |instance, fields| {
            let view = view(instance.abi);
            fields.insert(
                "params".to_owned(),
                view.map_or(Value::Null, |view| view.json(true)),
            );
            if let (Some(view), Some(sizes)) = (view, instance.script.cross) {
                // SAFETY: the arrays are the caller's, and as long as the script says.
                unsafe { CrossArrays::of(view).note(sizes, fields) };
            }
        },
        |instance, _| {
            lock(&instance.state).cross = view(instance.abi).map(CrossArrays::of);
            Ok(())
        },
    )
}

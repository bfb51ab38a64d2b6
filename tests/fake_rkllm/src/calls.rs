//! The calls that do nothing but answer: LoRA, caches, templates, tools, cross attention.

use std::ffi::{c_char, c_int};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::decode::{View, shown};
use crate::engine::note_handle;
use crate::ffi::shared::LLMHandle;
use crate::instance::{Instance, find};
use crate::output;
use crate::script::{Call, Script};

/// Records, prints, sleeps and answers as the script says.
fn answer(
    handle: LLMHandle,
    function: &'static str,
    call: fn(&Script) -> &Call,
    fill: impl FnOnce(&Instance, &mut Map<String, Value>),
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
    output::lines(&call.log);
    sleep(Duration::from_millis(call.delay_ms));
    call.returns.unwrap_or(0)
}

/// `rkllm_load_lora`.
///
/// # Safety
///
/// `adapter` is NULL or a filled `RKLLMLoraAdapter`.
pub unsafe fn load_lora(handle: LLMHandle, adapter: *const u8) -> c_int {
    let returns = answer(
        handle,
        "rkllm_load_lora",
        |script| &script.load_lora,
        |instance, fields| {
            // SAFETY: by the caller's promise.
            let view = unsafe { View::new(instance.generation, "RKLLMLoraAdapter", adapter) };
            fields.insert(
                "adapter".to_owned(),
                view.map_or(Value::Null, |view| view.json(true)),
            );
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
    answer(
        handle,
        "rkllm_load_prompt_cache",
        |script| &script.load_prompt_cache,
        |_, fields| {
            // SAFETY: by the caller's promise.
            fields.insert("path".to_owned(), unsafe { shown(path) });
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
    answer(
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
        },
    )
}

/// `rkllm_get_kv_cache_size`.
///
/// # Safety
///
/// `sizes` is NULL or has room for one number for each batch row.
pub unsafe fn get_kv_cache_size(handle: LLMHandle, sizes: *mut c_int) -> c_int {
    answer(
        handle,
        "rkllm_get_kv_cache_size",
        |script| &script.get_kv_cache_size,
        |instance, _| {
            let scripted = &instance.script.kv_cache_size;
            for row in 0..instance.n_batch {
                let size = scripted.get(row).or(scripted.last()).copied().unwrap_or(0);
                if !sizes.is_null() {
                    // SAFETY: in the room that the caller promised.
                    unsafe { sizes.add(row).write(size) };
                }
            }
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
    answer(
        handle,
        "rkllm_set_cross_attn_params",
        |script| &script.set_cross_attn_params,
        |instance, fields| {
            // SAFETY: by the caller's promise.
            let view = unsafe { View::new(instance.generation, "RKLLMCrossAttnParam", params) };
            fields.insert(
                "params".to_owned(),
                view.map_or(Value::Null, |view| view.json(true)),
            );
        },
    )
}

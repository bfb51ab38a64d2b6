//! The C functions of `rkllm.h`, release 1.3.0.
//!
//! Each returns 0 or −1, with the reason of a failure in the log. None unwinds: a panic becomes −1.
#![allow(unsafe_code, reason = "C functions that take C pointers")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rkllm_ffi::v1_3_0::{
    LLMHandle, RKLLMCallback, RKLLMCrossAttnParam, RKLLMInferParam, RKLLMInput, RKLLMLoraAdapter,
    RKLLMParam,
};

use crate::callback::{Callback, Userdata};
use crate::flag::Running;
use crate::instance::{self, Instance};
use crate::request::{self, Request};
use crate::{log, params};

/// Runs `work` and returns its number, or −1 with an `E` line.
pub(crate) fn or_minus_one(work: impl FnOnce() -> Result<c_int, String>) -> c_int {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(number)) => number,
        Ok(Err(reason)) => {
            log::error!("{reason}");
            -1
        }
        Err(_) => {
            log::error!("internal error");
            -1
        }
    }
}

/// [`or_minus_one`] for work without a number.
pub(crate) fn guard(work: impl FnOnce() -> Result<(), String>) -> c_int {
    or_minus_one(|| work().map(|()| 0))
}

/// The bytes of a C string that may not be NULL.
///
/// # Safety
///
/// As [`request::bytes`].
unsafe fn text(text: *const c_char, name: &str) -> Result<Vec<u8>, String> {
    // SAFETY: by this function's contract.
    unsafe { request::bytes(text) }.ok_or_else(|| format!("{name} is NULL"))
}

/// A C string that may not be NULL.
///
/// # Safety
///
/// As [`request::bytes`].
unsafe fn path(path: *const c_char, name: &str) -> Result<CString, String> {
    // SAFETY: by this function's contract.
    let bytes = unsafe { text(path, name)? };
    CString::new(bytes).map_err(|e| e.to_string())
}

/// The parameters to start from.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_createDefaultParam() -> RKLLMParam {
    params::defaults()
}

/// Opens a model.
///
/// # Safety
///
/// The pointers are NULL or valid as `rkllm.h` says, the callback until `rkllm_destroy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_init(
    handle: *mut LLMHandle,
    param: *mut RKLLMParam,
    callback: *mut RKLLMCallback,
) -> c_int {
    guard(|| {
        log::read_level();
        crate::introduce();
        if handle.is_null() {
            return Err("handle is NULL".into());
        }
        // SAFETY: not NULL, and the caller's to write.
        unsafe { *handle = std::ptr::null_mut() };
        // SAFETY: NULL or valid for this call.
        let (param, callback) = unsafe { (param.as_ref(), callback.as_ref()) };
        let param = param.ok_or("param is NULL")?;
        let callback = callback.ok_or("callback is NULL")?;
        let function = callback.result_callback.ok_or("result_callback is NULL")?;
        // SAFETY: NULL or NUL-terminated.
        let path = unsafe { path(param.model_path, "model_path")? };
        let options = params::check(param)?;
        if param.is_async != 0 {
            log::warning!("is_async is ignored; rkllm_run_async runs on its own thread");
        }
        let callback = Callback {
            function,
            userdata: callback.result_userdata,
        };
        let instance = Instance::open(&path, options, callback)?;
        // SAFETY: as above. The number is not an address and is never followed.
        unsafe { *handle = std::ptr::without_provenance_mut(instance::register(instance)) };
        Ok(())
    })
}

/// Enters a run and copies what it is asked to do.
///
/// # Safety
///
/// As [`rkllm_run`].
unsafe fn enter(
    handle: LLMHandle,
    inputs: *mut RKLLMInput,
    infer: *mut RKLLMInferParam,
) -> Result<(Running, Arc<Instance>, Request), String> {
    let instance = instance::find(handle.addr())?;
    let running = instance.enter()?;
    let width = instance.model.embedding_width();
    // SAFETY: by this function's contract.
    let request = unsafe { request::read(inputs, infer, instance.lanes, width)? };
    Ok((running, instance, request))
}

/// Runs until the end, an abort or a pause; the callback is called on the calling thread.
///
/// # Safety
///
/// The pointers are NULL or valid as `rkllm.h` says; `inputs` points to `n_batch` structs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_run(
    handle: LLMHandle,
    inputs: *mut RKLLMInput,
    infer: *mut RKLLMInferParam,
    userdata: *mut c_void,
) -> c_int {
    guard(|| {
        // Ends after `instance` is dropped, so that the last use of a model is before its destroy returns.
        // SAFETY: by this function's contract.
        let (running, instance, request) = unsafe { enter(handle, inputs, infer)? };
        instance.run(&running, &request, Userdata(userdata))
    })
}

/// Copies the input and runs on a thread of its own, on which the callback is called.
///
/// # Safety
///
/// As [`rkllm_run`]; the input may go when this function returns, `userdata` when the run has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_run_async(
    handle: LLMHandle,
    inputs: *mut RKLLMInput,
    infer: *mut RKLLMInferParam,
    userdata: *mut c_void,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let (running, instance, request) = unsafe { enter(handle, inputs, infer)? };
        let userdata = Userdata(userdata);
        let work = move || {
            let userdata = userdata;
            guard(|| instance.run(&running, &request, userdata));
            // As in `rkllm_run`.
            drop(instance);
            drop(running);
        };
        std::thread::Builder::new()
            .name("rkllm-run".into())
            .spawn(work)
            .map(drop)
            .map_err(|e| format!("failed to start a thread: {e}"))
    })
}

/// Asks the present run to stop; −1 if there is none. Any thread may call it.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_abort(handle: LLMHandle) -> c_int {
    or_minus_one(|| {
        // Without an `E` line: an abort that comes too late is no error.
        Ok(if instance::find(handle.addr())?.flag.stop() {
            0
        } else {
            -1
        })
    })
}

/// 1 while a run is active, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_is_running(handle: LLMHandle) -> c_int {
    or_minus_one(|| Ok(c_int::from(instance::find(handle.addr())?.flag.running())))
}

/// Ends a present run, waits for that and frees the model: no callback comes after it has returned.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_destroy(handle: LLMHandle) -> c_int {
    guard(|| instance::destroy(handle.addr()))
}

/// Loads a LoRA adapter (a .gguf file) under a name.
///
/// # Safety
///
/// `adapter` is NULL or valid as `rkllm.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_load_lora(
    handle: LLMHandle,
    adapter: *mut RKLLMLoraAdapter,
) -> c_int {
    guard(|| {
        let instance = instance::find(handle.addr())?;
        // SAFETY: NULL or valid for this call.
        let adapter = unsafe { adapter.as_ref() }.ok_or("lora_adapter is NULL")?;
        // SAFETY: NULL or NUL-terminated, both.
        let (path, name) = unsafe {
            (
                path(adapter.lora_adapter_path, "lora_adapter_path")?,
                text(adapter.lora_adapter_name, "lora_adapter_name")?,
            )
        };
        if !adapter.scale.is_finite() {
            return Err("the scale of a LoRA adapter must be a number".into());
        }
        instance.session()?.load_adapter(name, &path, adapter.scale)
    })
}

/// Loads a prompt cache file.
///
/// # Safety
///
/// `file` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_load_prompt_cache(handle: LLMHandle, file: *const c_char) -> c_int {
    guard(|| {
        let instance = instance::find(handle.addr())?;
        // SAFETY: by this function's contract.
        let path = unsafe { path(file, "prompt_cache_path")? };
        let tokens = instance.session()?.load_cache(&path)?;
        if log::level() >= 1 {
            log::info!("prompt cache of {tokens} tokens loaded");
        }
        Ok(())
    })
}

/// Forgets a loaded prompt cache.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_release_prompt_cache(handle: LLMHandle) -> c_int {
    guard(|| {
        instance::find(handle.addr())?.session()?.release_cache();
        Ok(())
    })
}

/// Empties the KV cache, or removes a range of each lane from a paused run.
///
/// # Safety
///
/// `start` and `end` are NULL or point to `n_batch` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_clear_kv_cache(
    handle: LLMHandle,
    keep_system_prompt: c_int,
    start: *mut c_int,
    end: *mut c_int,
) -> c_int {
    guard(|| {
        let instance = instance::find(handle.addr())?;
        let mut session = instance.session()?;
        if start.is_null() != end.is_null() {
            return Err("start_pos and end_pos must be passed together".into());
        }
        if start.is_null() {
            let spared = if keep_system_prompt == 0 {
                Vec::new()
            } else {
                instance.system()
            };
            session.clear(&spared);
            return Ok(());
        }
        let lanes = instance.lanes;
        // SAFETY: by this function's contract.
        let (start, end) = unsafe {
            (
                std::slice::from_raw_parts(start, lanes),
                std::slice::from_raw_parts(end, lanes),
            )
        };
        let ranges: Result<Vec<_>, _> = start
            .iter()
            .zip(end)
            .map(|(&start, &end)| Ok((usize::try_from(start)?, usize::try_from(end)?)))
            .collect();
        let ranges =
            ranges.map_err(|_: std::num::TryFromIntError| "a position is negative".to_owned())?;
        session.remove(&ranges)
    })
}

/// Writes the number of cached tokens of each lane.
///
/// # Safety
///
/// `sizes` is NULL or points to `n_batch` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_get_kv_cache_size(handle: LLMHandle, sizes: *mut c_int) -> c_int {
    guard(|| {
        let instance = instance::find(handle.addr())?;
        if sizes.is_null() {
            return Err("cache_sizes is NULL".into());
        }
        let session = instance.session()?;
        // SAFETY: by this function's contract.
        let sizes = unsafe { std::slice::from_raw_parts_mut(sizes, instance.lanes) };
        for (to, from) in sizes.iter_mut().zip(session.cache_sizes()) {
            *to = from as c_int;
        }
        Ok(())
    })
}

/// Replaces the model's chat template; three empty strings give raw text.
///
/// # Safety
///
/// The strings are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_set_chat_template(
    handle: LLMHandle,
    system_prompt: *const c_char,
    prompt_prefix: *const c_char,
    prompt_postfix: *const c_char,
) -> c_int {
    guard(|| {
        let instance = instance::find(handle.addr())?;
        // SAFETY: by this function's contract.
        let (system, prefix, postfix) = unsafe {
            (
                text(system_prompt, "system_prompt")?,
                text(prompt_prefix, "prompt_prefix")?,
                text(prompt_postfix, "prompt_postfix")?,
            )
        };
        instance.change_template(|template| {
            template.replace(system, prefix, postfix);
            Ok(())
        })
    })
}

/// Gives the model functions to call.
///
/// # Safety
///
/// The strings are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_set_function_tools(
    handle: LLMHandle,
    system_prompt: *const c_char,
    tools: *const c_char,
    tool_response_str: *const c_char,
) -> c_int {
    guard(|| {
        let instance = instance::find(handle.addr())?;
        // SAFETY: by this function's contract.
        let (system, tools, tag) = unsafe {
            (
                text(system_prompt, "system_prompt")?,
                text(tools, "tools")?,
                text(tool_response_str, "tool_response_str")?,
            )
        };
        instance.change_template(|template| template.set_tools(&system, &tools, &tag))
    })
}

/// Fails: llama.cpp has no cross attention for the models it generates with.
///
/// # Safety
///
/// None is needed: the struct is not read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_set_cross_attn_params(
    handle: LLMHandle,
    _: *mut RKLLMCrossAttnParam,
) -> c_int {
    guard(|| {
        instance::find(handle.addr())?;
        Err("cross attention is not enabled for this model".into())
    })
}

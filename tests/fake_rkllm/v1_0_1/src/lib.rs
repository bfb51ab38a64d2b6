//! The fake with the ABI of v1_0_1.

#![allow(unsafe_code, reason = "exports the vendor's C functions")]
#![allow(non_snake_case, reason = "the names are the vendor's")]

use std::ffi::{c_char, c_int, c_void};

use fake_rkllm::ffi::shared::LLMHandle;
use fake_rkllm::v1_0_1::{RKLLMParam, ResultCallback, refuse};

fake_rkllm::export_config!("{}");
fake_rkllm::export_defaults!(fake_rkllm::V1_0_1);

/// Fails; the struct comes by value in this layout.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_init(
    _handle: *mut LLMHandle,
    _param: RKLLMParam,
    _callback: Option<ResultCallback>,
) -> c_int {
    fake_rkllm::guard("rkllm_init", || refuse("rkllm_init", std::ptr::null_mut()))
}

/// Fails.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_run(
    handle: LLMHandle,
    _prompt: *const c_char,
    _userdata: *mut c_void,
) -> c_int {
    fake_rkllm::guard("rkllm_run", || refuse("rkllm_run", handle))
}

/// Fails.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_abort(handle: LLMHandle) -> c_int {
    fake_rkllm::guard("rkllm_abort", || refuse("rkllm_abort", handle))
}

/// Fails.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_destroy(handle: LLMHandle) -> c_int {
    fake_rkllm::guard("rkllm_destroy", || refuse("rkllm_destroy", handle))
}

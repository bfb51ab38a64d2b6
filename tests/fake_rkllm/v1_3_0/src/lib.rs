//! The fake with the ABI of v1_3_0.

#![allow(unsafe_code, reason = "exports the vendor's C functions")]
#![allow(non_snake_case, reason = "the names are the vendor's")]

fake_rkllm::export_config!(
    r#"{"banner":"RKLLM SDK (version: 1.3.0 | target: Linux | build: fake)"}"#
);
fake_rkllm::export_common!(fake_rkllm::V1_3_0, v1_3_0);
fake_rkllm::export_since_1_2_1!();

/// # Safety
///
/// The contract of the vendor's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rkllm_init(
    handle: *mut LLMHandle,
    param: *mut RKLLMParam,
    callback: *mut fake_rkllm::ffi::v1_3_0::RKLLMCallback,
) -> c_int {
    fake_rkllm::guard("rkllm_init", || {
        // SAFETY: by the caller's promise.
        unsafe {
            let callbacks = fake_rkllm::engine::Callbacks::from_struct(callback);
            fake_rkllm::engine::init(&fake_rkllm::V1_3_0, handle, param.cast(), callbacks)
        }
    })
}

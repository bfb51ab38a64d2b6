//! The fake with the ABI of v1_2_0.

#![allow(unsafe_code, reason = "exports the vendor's C functions")]
#![allow(non_snake_case, reason = "the names are the vendor's")]

fake_rkllm::export_config!(
    r#"{"banner":"RKLLM SDK (version: 1.2.0 | target: Linux | build: fake)"}"#
);
fake_rkllm::export_common!(fake_rkllm::V1_2_0, v1_2_0);
fake_rkllm::export_init!(fake_rkllm::V1_2_0, v1_2_0, V120);
fake_rkllm::export_three_texts!(rkllm_set_chat_template, set_chat_template);

/// Two arguments in this layout; passing four does no harm.
#[unsafe(no_mangle)]
pub extern "C" fn rkllm_clear_kv_cache(handle: LLMHandle, keep_system_prompt: c_int) -> c_int {
    fake_rkllm::guard("rkllm_clear_kv_cache", || {
        fake_rkllm::calls::clear_kv_cache(handle, keep_system_prompt)
    })
}

//! The fake with the ABI of v1_1_0.

#![allow(unsafe_code, reason = "exports the vendor's C functions")]
#![allow(non_snake_case, reason = "the names are the vendor's")]

fake_rkllm::export_config!(
    r#"{"banner":"RKLLM SDK (version: 1.1.4 | target: Linux | build: fake)"}"#
);
fake_rkllm::export_common!(fake_rkllm::V1_1_0, v1_1_0);
fake_rkllm::export_init!(fake_rkllm::V1_1_0, v1_1_0, V110);

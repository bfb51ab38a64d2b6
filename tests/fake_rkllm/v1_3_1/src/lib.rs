//! The fake with the ABI of v1_3_1.

#![allow(unsafe_code, reason = "exports the vendor's C functions")]
#![allow(non_snake_case, reason = "the names are the vendor's")]

fake_rkllm::export_config!(
    r#"{"banner":"RKLLM SDK (version: 1.3.1 | target: Linux | build: fake)"}"#
);
fake_rkllm::export_common!(fake_rkllm::V1_3_1, v1_3_1);
fake_rkllm::export_since_1_2_1!();
fake_rkllm::export_init_since_1_3_0!(fake_rkllm::V1_3_1, v1_3_1);

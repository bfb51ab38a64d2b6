//! The file of the NPU's lock, which everybody may write to.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::npu_record(bytes));

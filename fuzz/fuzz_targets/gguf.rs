//! A GGUF file: what is read of it before a load, and its chat template.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::gguf(bytes));

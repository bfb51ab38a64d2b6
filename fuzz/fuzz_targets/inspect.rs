//! A model's file of any kind, with the suffix that the first byte chooses.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::inspect(bytes));

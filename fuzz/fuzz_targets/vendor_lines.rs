//! What a library prints, and what is made of it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::vendor_lines(bytes));

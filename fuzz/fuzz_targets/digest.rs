//! The mark of a file: the same for the same bytes, and another one if a byte is another.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::digest(bytes));

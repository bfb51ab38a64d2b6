//! What a program and its worker send each other.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::frames(bytes));

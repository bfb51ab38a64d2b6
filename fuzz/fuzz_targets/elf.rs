//! A library's headers: any bytes are refused or read within their length.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::elf(bytes));

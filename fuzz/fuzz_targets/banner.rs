//! The release that a library names, found in chunks of any size as in the whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_rs::fuzzing::banner(bytes));

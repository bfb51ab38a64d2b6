//! Stop strings, beside the plain search for the first of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::stop(bytes));

//! Bytes of text in pieces are what they are as a whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::utf8(bytes));

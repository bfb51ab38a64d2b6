//! A template of a stranger, with messages of another: an error or a text, in bounded time and memory.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::template(bytes));

//! Thinking and tool calls of each family: an answer in pieces is what it is as a whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::answer(bytes));

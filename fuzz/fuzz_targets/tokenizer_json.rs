//! A `tokenizer.json` of a stranger.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::tokenizer_json(bytes));

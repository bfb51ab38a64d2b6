//! A `response_template` of a stranger: an answer that it describes, cut anywhere, is what it is as a whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::response_template(bytes));

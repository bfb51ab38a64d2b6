//! Messages, tools and variables of a stranger, in the templates of real models' families.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::messages(bytes));

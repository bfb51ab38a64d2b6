//! Tools of a stranger, and arguments of a model.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::tools(bytes));

//! The grammar of a stranger's tools in a family's spelling: what keeps to it is read as calls.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rkllm_text::fuzzing::calls(bytes));

//! What a program and its worker send each other.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rkllm_rs::fuzzing::frames_from_program(bytes);
    rkllm_rs::fuzzing::frames_from_worker(bytes);
});

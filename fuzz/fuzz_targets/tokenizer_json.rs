//! A `tokenizer.json` of a stranger.

#![no_main]

use rkllm_text::constraint::Vocabulary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    drop(Vocabulary::from_tokenizer_json(&String::from_utf8_lossy(
        bytes,
    )));
});

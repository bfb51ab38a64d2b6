//! A grammar of a stranger.

#![no_main]

use rkllm_rs_fuzz::follow;
use rkllm_text::constraint::Grammar;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    follow(&Grammar::Lark(String::from_utf8_lossy(bytes).into_owned()));
});

//! Bytes of text in pieces are what they are as a whole.

#![no_main]

use rkllm_text::utf8::Utf8Joiner;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let mut joiner = Utf8Joiner::default();
    let mut text = String::new();
    for piece in bytes.chunks(usize::from(*cut).max(1)) {
        joiner.push(piece, &mut text);
    }
    joiner.finish(&mut text);
    assert_eq!(text, String::from_utf8_lossy(bytes));
});

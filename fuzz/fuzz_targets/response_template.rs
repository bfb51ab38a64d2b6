//! A `response_template` of a stranger: an answer that it describes, cut anywhere, is what it is as a whole.

#![no_main]

use std::sync::Arc;

use rkllm_text::answer::{Answer, Format, Options, Parser};

fn read<'a>(format: &Arc<Format>, pieces: impl Iterator<Item = &'a str>) -> Answer {
    let mut parser = Parser::new(Arc::clone(format), Options::default());
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece, &mut events);
    }
    parser.finish(&mut events)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (spec, text) = text
        .split_once('\0')
        .unwrap_or((&text, "<think>a</think>b"));
    let Ok(spec) = serde_json::from_str(spec) else {
        return;
    };
    let Ok(format) = Format::from_response_template(&spec) else {
        return;
    };
    let format = Arc::new(format);
    let whole = read(&format, [text].into_iter());
    assert_eq!(whole, read(&format, text.split_inclusive(|_: char| true)));
});

//! Thinking and tool calls of each family: an answer in pieces is what it is as a whole.

#![no_main]

use std::sync::Arc;

use rkllm_text::answer::{Answer, Options, Parser};
use rkllm_text::families::{self, Family};
use rkllm_text::schema::Tools;

fn read<'a>(
    family: &Family,
    options: &Options,
    text: &str,
    pieces: impl Iterator<Item = &'a str>,
) -> Answer {
    let mut parser = Parser::new(Arc::clone(&family.format), options.clone());
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece, &mut events);
    }
    let answer = parser.finish(&mut events);
    // Nothing is lost: all of the text is content, thinking, part of a call, or markup, in its order.
    let of = |kind: Option<char>| -> String {
        let parts = parser
            .log()
            .iter()
            .filter(|(one, _)| kind.is_none_or(|kind| kind == *one));
        parts.map(|(_, text)| text.as_str()).collect()
    };
    if !options.ends_at_mark {
        assert_eq!(of(None), text);
    }
    if !options.ends_at_mark && !options.ignores_calls {
        assert_eq!(of(Some('t')), answer.content);
        assert_eq!(of(Some('r')), answer.reasoning.clone().unwrap_or_default());
    }
    answer
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [family, how, cut, bytes @ ..] = bytes else {
        return;
    };
    let all = families::all();
    let family = &all[usize::from(*family) % all.len()];
    let tools = serde_json::json!([{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}}}]);
    let options = Options {
        tools: Arc::new(Tools::new(&tools).expect("a tool")),
        ignores_calls: how & 1 != 0,
        ends_at_mark: how & 2 != 0,
        ..Options::default()
    };
    let text = String::from_utf8_lossy(bytes);
    let whole = read(family, &options, &text, [&*text].into_iter());
    let step = usize::from(*cut).max(1);
    let mut cuts: Vec<usize> = (0..text.len())
        .step_by(step)
        .filter(|at| text.is_char_boundary(*at))
        .collect();
    cuts.push(text.len());
    let pieces = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
    assert_eq!(whole, read(family, &options, &text, pieces));
    for call in &whole.tool_calls {
        drop(call.arguments());
        drop(call.object_json());
    }
});

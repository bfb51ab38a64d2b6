//! A template of a stranger, with messages of another: an error or a text, in bounded time and memory.

#![no_main]

use rkllm_text::jinja::Value;
use rkllm_text::template::{ChatTemplate, Prompt};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (source, messages) = text.split_once('\0').unwrap_or((&text, "Hi\0there"));
    let Ok(template) = ChatTemplate::new(source) else {
        return;
    };
    let message = |(at, content): (usize, &str)| {
        let role = ["system", "user", "assistant", "tool"][at % 4];
        Value::from_pairs([
            ("role", Value::from(role)),
            ("content", Value::from(content)),
        ])
    };
    let prompt = Prompt {
        messages: messages.split('\0').enumerate().map(message).collect(),
        add_generation_prompt: bytes.len() % 2 == 0,
        ..Prompt::default()
    };
    drop(template.render(&prompt));
    drop(template.three_strings(Some("Be kind."), &[]));
});

//! Messages, tools and variables of a stranger, in the templates of real models' families.

#![no_main]

use std::sync::LazyLock;

use rkllm_text::families;
use rkllm_text::jinja::{Serde, Value};
use rkllm_text::template::{ChatTemplate, Prompt};

static TEMPLATES: LazyLock<Vec<ChatTemplate>> = LazyLock::new(|| {
    let own = families::all()
        .iter()
        .filter_map(|family| family.template.as_deref().map(str::to_owned));
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/templates"))
        .expect("the tests");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|suffix| suffix == "jinja"));
    files.sort();
    let tested = files
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a text"));
    own.chain(tested)
        .map(|text| ChatTemplate::new(&text).expect("a template"))
        .collect()
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [which, how, bytes @ ..] = bytes else {
        return;
    };
    let template = &TEMPLATES[usize::from(*which) % TEMPLATES.len()];
    let text = String::from_utf8_lossy(bytes);
    let (messages, tools) = text.split_once('\0').unwrap_or((&text, ""));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let messages = match json(messages) {
        Some(serde_json::Value::Array(all)) => all,
        _ => vec![serde_json::json!({"role": "user", "content": messages})],
    };
    let prompt = Prompt {
        messages: messages.iter().map(|one| Value::from(Serde(one))).collect(),
        tools: json(tools).map(|tools| Value::from(Serde(&tools))),
        add_generation_prompt: how & 1 != 0,
        variables: vec![("enable_thinking".to_owned(), Value::from(how & 2 != 0))],
        now: Some(std::time::UNIX_EPOCH),
        ..Prompt::default()
    };
    let first = template.render(&prompt).ok();
    assert_eq!(first, template.render(&prompt).ok());
});

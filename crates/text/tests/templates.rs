//! The templates of `tests/templates/`, with what jinja2 makes of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rkllm_text::jinja::Value;
use rkllm_text::template::{ChatTemplate, Prompt};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    now: u64,
    tokens: BTreeMap<String, String>,
    inputs: Vec<Input>,
    /// For each template a text for each input; `None` where jinja2 raises.
    expected: BTreeMap<String, Vec<Option<String>>>,
}

#[derive(Deserialize)]
struct Input {
    title: String,
    messages: Vec<Value>,
    given: BTreeMap<String, Value>,
}

#[test]
fn our_own_templates_give_what_jinja2_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/templates");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
    let cases: Cases = serde_json::from_str(&read("expected.json")).expect("JSON");
    assert!(cases.expected.len() >= 20);
    for (name, texts) in &cases.expected {
        let template = ChatTemplate::new(&read(name)).expect("compiles");
        let template = template.with_tokens(cases.tokens.clone());
        assert_eq!(texts.len(), cases.inputs.len());
        for (input, expected) in cases.inputs.iter().zip(texts) {
            let prompt = Prompt {
                messages: input.messages.clone(),
                variables: input.given.clone().into_iter().collect(),
                now: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(cases.now)),
                ..Prompt::default()
            };
            let given = template.render(&prompt);
            assert_eq!(
                given.as_ref().ok(),
                expected.as_ref(),
                "{name}, {}: {given:?}",
                input.title
            );
        }
    }
}

//! Conversations without Python, on the fakes.

#![allow(clippy::unwrap_used, reason = "tests say so when they fail")]

mod common;

use std::sync::Arc;

use common::{alone, example, open, script};
use rkllm_rs::chat::{Chat, ChatOptions, Conversation, Serde, Tokenizer, Value};
use rkllm_rs::text::template::ChatTemplate;
use rkllm_rs::{ErrorKind, FinishReason, Model};
use serde_json::json;

const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}\
    <tool_call>{{ c.function.arguments | tojson }}</tool_call>{% endfor %}{% endfor %}[assistant]{{ tools or '' }}";

fn chat() -> Arc<Chat> {
    let template = ChatTemplate::new(TEMPLATE).unwrap();
    Arc::new(Chat::new(template, None, Some("qwen3"), None).unwrap())
}

fn model(name: &str, runs: &[&str]) -> Arc<Model> {
    let runs: Vec<_> = runs.iter().map(|text| json!({"steps": [text]})).collect();
    Arc::new(open("v1_3_1", name, &json!({"quiet": true, "runs": runs})))
}

#[test]
fn a_conversation_keeps_whole_turns() {
    let _alone = alone();
    let model = model("turns", &["Hello", "Fine", "Other", "x"]);
    let mut talk = Conversation::new(chat(), Some("Be brief."), ChatOptions::default());
    assert_eq!(talk.send(&model, "Hi").unwrap().content, "Hello");
    let begun = talk.clone();
    let mut told = String::new();
    let mut turn = talk
        .stream(&model, &[json!({"role": "user", "content": "How?"})])
        .unwrap();
    for delta in turn.deltas().by_ref() {
        told += &delta.unwrap().content;
    }
    let answer = turn.into_answer().unwrap();
    assert_eq!(
        (told.as_str(), answer.finish_reason),
        ("Fine", FinishReason::Stop)
    );
    assert_eq!(talk.messages().len(), 5);
    assert_eq!(begun.messages().len(), 3);
    assert_eq!(talk.undo().as_deref(), Some("How?"));
    assert_eq!(talk.messages(), begun.messages());
    // What is dropped before its end never was.
    drop(
        talk.stream(&model, &[json!({"role": "user", "content": "No"})])
            .unwrap(),
    );
    assert_eq!(talk.messages(), begun.messages());
}

#[test]
fn a_conversation_is_saved_and_loaded() {
    let _alone = alone();
    let path = script("talk", &json!({})).with_extension("json");
    let tools = Value::from(Serde(
        json!([{"type": "function", "function": {"name": "f"}}]),
    ));
    let options = ChatOptions {
        tools: Some(tools),
        ..ChatOptions::default()
    };
    let mut talk = Conversation::new(chat(), Some("Be brief."), options);
    talk.send(&model("saved", &["Hello"]), "Hi").unwrap();
    talk.save(&path).unwrap();
    let mut loaded = Conversation::load(chat(), &path, ChatOptions::default()).unwrap();
    assert_eq!(loaded.messages(), talk.messages());
    let (now, before) = (
        loaded.options_mut().now.unwrap(),
        talk.options_mut().now.unwrap(),
    );
    let apart = now
        .duration_since(before)
        .unwrap_or_else(|early| early.duration());
    assert!(apart.as_millis() < 1);
    assert!(loaded.options_mut().tools.is_some());
    std::fs::write(&path, "{}").unwrap();
    let error = Conversation::load(chat(), &path, ChatOptions::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    let gone = path.with_extension("gone");
    let error = Conversation::load(chat(), &gone, ChatOptions::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FileMissing);
}

#[test]
fn tools_are_run_until_the_model_asks_for_none() {
    let _alone = alone();
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>";
    let wrong = "<tool_call>{\"name\": \"nobody\", \"arguments\": {}}</tool_call>";
    let model = model("tools", &[call, wrong, "Done", call]);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
        "properties": {"a": {"type": "integer"}}}}}]);
    let options = ChatOptions {
        tools: Some(Value::from(Serde(tools))),
        ..ChatOptions::default()
    };
    let mut talk = Conversation::new(chat(), None, options);
    let mut made = Vec::new();
    let answer = talk.run_tools(&model, "Go", 8, |call| {
        made.push(call.arguments_json.clone());
        Err("it rains".to_owned())
    });
    assert_eq!(answer.unwrap().content, "Done");
    assert_eq!(made, ["{\"a\": 1}"]);
    let results: Vec<_> = talk
        .messages()
        .iter()
        .filter(|one| one["role"] == "tool")
        .collect();
    assert_eq!(results[0]["content"], "Error: it rains");
    assert!(results[1]["content"].as_str().unwrap().contains("nobody"));
    // The last round is given back with its calls.
    let answer = talk
        .run_tools(&model, "Again", 1, |_| Ok(String::new()))
        .unwrap();
    assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
}

#[test]
fn no_tools_are_run_for_an_answer_that_is_cut() {
    let _alone = alone();
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
    let run =
        json!({"steps": [call, "<tool_call>{\"name\": \"f", "\"}"], "obey_max_new_tokens": true});
    let model = Arc::new(open(
        "v1_3_1",
        "cut",
        &json!({"quiet": true, "runs": [run]}),
    ));
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let mut options = ChatOptions {
        tools: Some(Value::from(Serde(tools))),
        ..ChatOptions::default()
    };
    options.generate.max_new_tokens = Some(2);
    let mut talk = Conversation::new(chat(), None, options);
    let answer = talk.run_tools(&model, "Go", 8, |_| Err("was run".to_owned()));
    assert_eq!(answer.unwrap().finish_reason, FinishReason::Length);
    assert!(talk.messages().iter().all(|one| one["role"] != "tool"));
}

#[test]
fn a_tokenizer_of_the_programs_counts() {
    let _alone = alone();
    let model = model("counted", &["Hello"]);
    let messages = |text: &str| vec![Value::from(Serde(json!({"role": "user", "content": text})))];
    let mut options = ChatOptions::default();
    let chat = chat();
    let error = chat
        .count_tokens(&model, &messages("Hi"), &options)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
    options.tokenizer = Some(Tokenizer::new(|text| {
        Ok(text.bytes().map(i32::from).collect())
    }));
    let length = "[user]Hi[assistant]".len();
    assert_eq!(
        chat.count_tokens(&model, &messages("Hi"), &options)
            .unwrap(),
        length
    );
    assert_eq!(
        chat.answer(&model, &messages("Hi"), &options)
            .unwrap()
            .content,
        "Hello"
    );
    let long = messages(&"word ".repeat(10_000));
    let error = chat.answer(&model, &long, &options).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ContextLength);
    assert_eq!(
        error.fields.tokens.unwrap().0,
        chat.count_tokens(&model, &long, &options).unwrap()
    );
}

#[test]
fn the_example_chats() {
    let folder = tempfile::tempdir().unwrap();
    let template = include_str!("templates/json-tools.jinja");
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let model = folder.path().join("model.rkllm");
    let call =
        "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}</tool_call>";
    let runs = [call, "It is sunny.", "Rain."].map(|text| json!({"steps": [text]}));
    let script = json!({"quiet": true, "runs": runs});
    std::fs::write(&model, script.to_string()).unwrap();
    let said = example("chat", &model);
    assert!(said.contains("What is the weather in Paris?"), "{said}");
    assert!(said.ends_with("It is sunny.\nRain.\n"), "{said}");
}

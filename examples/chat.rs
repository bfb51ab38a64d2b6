//! A conversation with a tool, without Python: `cargo run --example chat -- LIBRARY MODEL [QUESTION]`.

#![allow(
    clippy::print_stderr,
    reason = "a program tells its user what went wrong"
)]

mod program;

use std::process::ExitCode;
use std::sync::Arc;

use rkllm_rs::chat::{Chat, ChatOptions, Conversation, Serde, Tokenizer, Value};
use rkllm_rs::error::Error;
use rkllm_rs::{LoadOptions, Model, ModelConfig, Runtime};
use serde_json::json;

const QUESTION: &str = "What is the weather in Paris?";

fn run(library: &str, path: &str, question: &str, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let options = LoadOptions {
        library: Some(library.into()),
        ..LoadOptions::default()
    };
    let runtime = Runtime::load(&options)?;
    let model = Arc::new(Model::open(&runtime, path, ModelConfig::default())?);
    let (chat, _) = Chat::of_model(model.file(), None, None)?;

    let tools = json!([{"type": "function", "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }}]);
    let options = ChatOptions {
        tools: Some(Value::from(Serde(tools))),
        // Only a library that cannot count tokens asks this. A program has the model's own tokenizer here;
        // this one counts a token for each three bytes.
        tokenizer: Some(Tokenizer::new(|text| {
            Ok((0..).take(text.len().div_ceil(3)).collect())
        })),
        ..ChatOptions::default()
    };
    let message = Value::from(Serde(json!({"role": "user", "content": question})));
    let tokens = chat.count_tokens(&model, std::slice::from_ref(&message), &options)?;
    say(&chat.render(&[message], &options, true)?);
    say(&format!("\n({tokens} tokens)\n"));

    let mut talk = Conversation::new(Arc::new(chat), Some("Be brief."), options);
    let answer = talk.run_tools(&model, question, 4, |call| {
        let arguments = call.arguments().unwrap_or_default();
        let city = arguments.get("city").and_then(|city| city.as_str());
        Ok(format!("It is sunny in {}.", city.ok_or("name a city")?))
    })?;
    say(&format!("{}\n", answer.content));
    talk.options_mut().tools = None;
    let more = json!({"role": "user", "content": "And tomorrow?"});
    for delta in talk.stream(&model, &[more])?.deltas() {
        say(&delta?.content);
    }
    say("\n");
    Ok(())
}

fn main() -> ExitCode {
    program::main("chat", QUESTION, run)
}

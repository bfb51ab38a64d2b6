//! async-openai and ollama-rs against the server whose address is `RKLLM_RS_TEST_URL`. A line for each check.

use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::CreateChatCompletionRequest;
use async_openai::types::embeddings::CreateEmbeddingRequest;
use async_openai::Client;
use futures::StreamExt;
use ollama_rs::generation::chat::request::ChatMessageRequest;
use ollama_rs::generation::chat::ChatMessage;
use ollama_rs::generation::completion::request::GenerationRequest;
use ollama_rs::generation::embeddings::request::GenerateEmbeddingsRequest;
use ollama_rs::Ollama;
use serde_json::{json, Value};

type Checked = Result<(), Box<dyn std::error::Error>>;

/// Tokens of the long answer of C6.
const LONG: usize = 500;

fn url() -> String {
    std::env::var("RKLLM_RS_TEST_URL").expect("RKLLM_RS_TEST_URL is the address of the server")
}

fn openai() -> Client<OpenAIConfig> {
    Client::with_config(OpenAIConfig::new().with_api_base(format!("{}/v1", url())).with_api_key("any"))
}

fn ollama() -> Ollama {
    let url = url();
    let (host, port) = url.rsplit_once(':').expect("an address with a port");
    Ollama::builder().host(host).port(port.parse().expect("a port")).build()
}

fn equal<T: PartialEq + std::fmt::Debug>(got: &T, expected: &T) -> Checked {
    if got == expected {
        return Ok(());
    }
    Err(format!("got {got:?}, expected {expected:?}").into())
}

fn asked(model: &str, more: Value) -> Result<CreateChatCompletionRequest, serde_json::Error> {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    serde_json::from_value(body)
}

fn weather() -> Value {
    json!({"tools": [{"type": "function", "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }}]})
}

async fn a29_chat() -> Checked {
    let answer = openai().chat().create(asked("words", json!({}))?).await?;
    equal(&answer.choices[0].message.content.as_deref(), &Some("Hello world!"))?;
    equal(&answer.usage.map(|usage| usage.completion_tokens), &Some(4))
}

async fn a29_stream() -> Checked {
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let mut stream = openai().chat().create_stream(asked("words", more)?).await?;
    let (mut text, mut ends, mut counted) = (String::new(), 0, 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        for choice in &chunk.choices {
            text += choice.delta.content.as_deref().unwrap_or("");
            ends += usize::from(choice.finish_reason.is_some());
        }
        counted += usize::from(chunk.usage.is_some());
    }
    equal(&text.as_str(), &"Hello world!")?;
    equal(&(ends, counted), &(1, 1))
}

async fn a29_tools() -> Checked {
    let answer = openai().chat().create(asked("agent", weather())?).await?;
    let message = serde_json::to_value(&answer.choices[0].message)?;
    equal(&message["tool_calls"][0]["function"]["name"], &json!("get_weather"))?;
    let mut more = weather();
    more["stream"] = json!(true);
    let mut stream = openai().chat().create_stream(asked("agent", more)?).await?;
    let (mut names, mut arguments) = (Vec::new(), String::new());
    while let Some(chunk) = stream.next().await {
        for choice in chunk?.choices {
            for part in choice.delta.tool_calls.unwrap_or_default() {
                equal(&part.index, &0)?;
                let function = part.function.ok_or("a part of a call without a function")?;
                names.extend(function.name);
                arguments += function.arguments.as_deref().unwrap_or("");
            }
        }
    }
    equal(&names, &vec!["get_weather".to_owned()])?;
    equal(&serde_json::from_str::<Value>(&arguments)?, &json!({"city": "Paris"}))
}

async fn a29_embeddings() -> Checked {
    let request: CreateEmbeddingRequest = serde_json::from_value(json!({"model": "embeds", "input": ["a", "b"]}))?;
    let answer = openai().embeddings().create(request.clone()).await?;
    equal(&answer.data.iter().map(|one| one.index).collect::<Vec<_>>(), &vec![0, 1])?;
    equal(&answer.data[0].embedding.len(), &4)?;
    let request = CreateEmbeddingRequest {
        encoding_format: Some(serde_json::from_value(json!("base64"))?),
        ..request
    };
    let packed = openai().embeddings().create_base64(request).await?;
    let floats: Vec<f32> = packed.data[0].embedding.clone().into();
    equal(&floats, &answer.data[0].embedding)
}

async fn a29_models() -> Checked {
    let models = openai().models().list().await?;
    equal(&models.data.iter().any(|one| one.id == "words"), &true)?;
    equal(&openai().models().retrieve("words").await?.id.as_str(), &"words")
}

async fn a29_errors() -> Checked {
    let wrong = asked("words", json!({"n": 100}))?;
    match openai().chat().create(wrong).await {
        Err(OpenAIError::ApiError(error)) => {
            equal(&error.status_code.as_u16(), &400)?;
            equal(&error.api_error.param.as_deref(), &Some("n"))
        }
        other => Err(format!("not an error of the API: {other:?}").into()),
    }
}

async fn c06_lists() -> Checked {
    let models = ollama().list_local_models().await?;
    equal(&models.iter().any(|one| one.name.starts_with("words")), &true)?;
    let about = ollama().show_model_info("words".to_owned()).await?;
    equal(&about.template.is_empty(), &false)
}

async fn c06_chat() -> Checked {
    let request = ChatMessageRequest::new("words".to_owned(), vec![ChatMessage::user("Hi".to_owned())]);
    let whole = ollama().send_chat_messages(request.clone()).await?;
    equal(&whole.message.content.as_str(), &"Hello world!")?;
    let mut stream = ollama().send_chat_messages_stream(request).await?;
    let (mut text, mut last) = (String::new(), None);
    while let Some(part) = stream.next().await {
        let part = part.map_err(|()| "a part of a stream could not be read")?;
        text += &part.message.content;
        last = part.final_data;
    }
    equal(&text.as_str(), &"Hello world!")?;
    equal(&last.map(|data| data.eval_count), &Some(4))
}

async fn c06_generate() -> Checked {
    let request = GenerationRequest::new("long".to_owned(), "Hi");
    let mut stream = ollama().generate_stream(request).await?;
    let (mut text, mut count) = (String::new(), None);
    while let Some(parts) = stream.next().await {
        for part in parts? {
            text += &part.response;
            count = part.eval_count;
        }
    }
    equal(&text.matches("wörd ").count(), &LONG)?;
    equal(&count.map(|count| usize::try_from(count).unwrap_or(0)), &Some(LONG))
}

async fn c06_embed() -> Checked {
    let request = GenerateEmbeddingsRequest::new("embeds".to_owned(), vec!["a", "b"].into());
    let answer = ollama().generate_embeddings(request).await?;
    equal(&(answer.embeddings.len(), answer.embeddings[0].len()), &(2, 4))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut failed = false;
    macro_rules! run {
        ($($check:ident),* $(,)?) => {$(
            let began = std::time::Instant::now();
            let error = $check().await.err().map(|error| format!("{error} ({error:?})"));
            failed |= error.is_some();
            let seconds = (began.elapsed().as_secs_f64() * 100.0).round() / 100.0;
            let line = json!({"check": stringify!($check), "ok": error.is_none(), "seconds": seconds, "error": error});
            println!("RESULT {line}");
        )*};
    }
    run!(a29_chat, a29_stream, a29_tools, a29_embeddings, a29_models, a29_errors);
    run!(c06_lists, c06_chat, c06_generate, c06_embed);
    std::process::exit(i32::from(failed));
}

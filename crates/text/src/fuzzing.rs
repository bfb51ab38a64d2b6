//! What each fuzz target of this crate does with its bytes; `fuzz/` runs it under libFuzzer, and [`tests`] on what
//! is kept of that.

#![allow(
    clippy::missing_panics_doc,
    reason = "a target panics at what must not be"
)]

#[cfg(feature = "constraint")]
mod grammars;
#[cfg(all(test, feature = "constraint"))]
mod tests;

use std::sync::{Arc, LazyLock};

use serde_json::json;

use crate::answer::{Answer, Format, Options, Parser, check};
use crate::families::{self, Family};
use crate::jinja::{Serde, Value};
use crate::schema::Tools;
use crate::stop::{Found, StopState, StopStrings};
use crate::template::{ChatTemplate, Prompt};
use crate::utf8::Utf8Joiner;

#[cfg(feature = "constraint")]
pub use grammars::{calls, json_schema, lark, regex, tokenizer_json};

/// Thinking and tool calls of each family: an answer in pieces is what it is as a whole.
pub fn answer(bytes: &[u8]) {
    let [family, how, cut, bytes @ ..] = bytes else {
        return;
    };
    let all = families::all();
    let family = &all[usize::from(*family) % all.len()];
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}}}]);
    let options = Options {
        tools: Arc::new(Tools::new(&tools).expect("a tool")),
        ignores_calls: how & 1 != 0,
        ends_at_mark: how & 2 != 0,
        ..Options::default()
    };
    let text = String::from_utf8_lossy(bytes);
    let whole = of_family(family, &options, &text, [&*text].into_iter());
    let step = usize::from(*cut).max(1);
    let mut cuts: Vec<usize> = (0..text.len())
        .step_by(step)
        .filter(|at| text.is_char_boundary(*at))
        .collect();
    cuts.push(text.len());
    let pieces = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
    assert_eq!(whole, of_family(family, &options, &text, pieces));
    for call in &whole.tool_calls {
        drop(call.arguments());
        drop(call.object_json());
    }
}

fn of_family<'a>(
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

/// A `response_template` of a stranger: an answer that it describes, cut anywhere, is what it is as a whole.
pub fn response_template(bytes: &[u8]) {
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
    let whole = of_format(&format, [text].into_iter());
    assert_eq!(
        whole,
        of_format(&format, text.split_inclusive(|_: char| true))
    );
}

fn of_format<'a>(format: &Arc<Format>, pieces: impl Iterator<Item = &'a str>) -> Answer {
    let mut parser = Parser::new(Arc::clone(format), Options::default());
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece, &mut events);
    }
    parser.finish(&mut events)
}

/// Tools of a stranger, and arguments of a model.
pub fn tools(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (tools, arguments) = text.split_once('\0').unwrap_or((&text, "{}"));
    let Some(tools) = tools_of(tools) else {
        return;
    };
    let names: Vec<String> = tools.names().map(str::to_owned).collect();
    for name in names {
        drop(check(&name, arguments, &tools));
        drop(tools.types(&name, "a"));
        drop(tools.spell(&name, "a", arguments));
    }
}

fn tools_of(text: &str) -> Option<Tools> {
    Tools::new(&serde_json::from_str(text).ok()?).ok()
}

/// A template of a stranger, with messages of another: an error or a text, in bounded time and memory.
pub fn template(bytes: &[u8]) {
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
        add_generation_prompt: bytes.len().is_multiple_of(2),
        ..Prompt::default()
    };
    drop(template.render(&prompt));
    drop(template.three_strings(Some("Be kind."), &[]));
}

static TEMPLATES: LazyLock<Vec<ChatTemplate>> = LazyLock::new(|| {
    let own = families::all()
        .iter()
        .filter_map(|family| family.template.map(str::to_owned));
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/templates");
    let folder = std::fs::read_dir(tests).expect("the tests");
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

/// Messages, tools and variables of a stranger, in the templates of real models' families.
pub fn messages(bytes: &[u8]) {
    let [which, how, bytes @ ..] = bytes else {
        return;
    };
    let template = &TEMPLATES[usize::from(*which) % TEMPLATES.len()];
    let text = String::from_utf8_lossy(bytes);
    let (messages, tools) = text.split_once('\0').unwrap_or((&text, ""));
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let messages = match parsed(messages) {
        Some(serde_json::Value::Array(all)) => all,
        _ => vec![json!({"role": "user", "content": messages})],
    };
    let prompt = Prompt {
        messages: messages.iter().map(|one| Value::from(Serde(one))).collect(),
        tools: parsed(tools).map(|tools| Value::from(Serde(&tools))),
        add_generation_prompt: how & 1 != 0,
        variables: vec![("enable_thinking".to_owned(), Value::from(how & 2 != 0))],
        now: Some(std::time::UNIX_EPOCH),
        ..Prompt::default()
    };
    let first = template.render(&prompt).ok();
    assert_eq!(first, template.render(&prompt).ok());
}

/// Stop strings, beside the plain search for the first of them.
pub fn stop(bytes: &[u8]) {
    // Strings and pieces, each up to the next zero; an empty one begins the pieces.
    let text = String::from_utf8_lossy(bytes);
    let (strings, pieces) = text.split_once("\0\0").unwrap_or((&text, ""));
    let strings: Vec<&str> = strings
        .split('\0')
        .filter(|one| !one.is_empty())
        .take(8)
        .collect();
    let Ok(Some(stop)) = StopStrings::new(&strings) else {
        return;
    };
    let whole: String = pieces.split('\0').collect();
    // The first that is complete; of those that are complete at once the one that began first.
    let ends = |end: usize| {
        let begins = strings.iter().filter(|one| whole[..end].ends_with(**one));
        begins.map(|one| one.len()).max()
    };
    let mut boundaries = (1..=whole.len()).filter(|end| whole.is_char_boundary(*end));
    let naive = boundaries.find_map(|end| Some((end, ends(end)?)));
    let mut state = StopState::default();
    let mut read = 0;
    for piece in pieces.split('\0') {
        match stop.read(&mut state, piece) {
            Found::Held(held) => {
                read += piece.len();
                let rest = &whole[read - held..read];
                let begins = strings.iter().any(|one| one.starts_with(rest));
                assert!(
                    rest.is_empty() || begins,
                    "{rest:?} is held back for nothing"
                );
            }
            Found::Stop { end, length } => {
                assert_eq!(naive, Some((read + end, length)));
                return;
            }
        }
    }
    assert_eq!(naive, None);
}

/// Bytes of text in pieces are what they are as a whole.
pub fn utf8(bytes: &[u8]) {
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
}

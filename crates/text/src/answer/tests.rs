//! All cases of `cases.json`, cut in every way.

mod any_text;
mod cut_calls;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Event, Options, Parser, ToolCall};
use crate::families;
use crate::schema::Tools;
use crate::stop::{Found, StopState, StopStrings};
use crate::utf8::Utf8Joiner;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[allow(dead_code)]
    about: String,
    tools: Value,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    row: u32,
    family: String,
    output: Option<String>,
    runs: Option<Vec<String>>,
    tokens: Option<Vec<(String, Option<i32>)>>,
    prompt: Option<String>,
    tools: Option<Value>,
    stop: Option<Vec<String>>,
    #[serde(default)]
    lenient: bool,
    content: String,
    reasoning: Option<String>,
    calls: Vec<Expected>,
    #[serde(default)]
    notes: usize,
    order: Option<Vec<String>>,
    cuts: Option<Vec<Vec<usize>>>,
    marker_ids: Option<BTreeMap<String, i32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    name: String,
    arguments: Option<Value>,
    error: Option<String>,
    arguments_json: Option<String>,
}

fn cases() -> (Value, Vec<Case>) {
    let file: File = serde_json::from_str(include_str!("cases.json")).unwrap();
    (file.tools, file.cases)
}

impl Case {
    fn parser(&self, tools: &Value) -> Parser {
        let family = families::named(&self.family).unwrap();
        let mut format = Arc::clone(&family.format);
        if self.lenient {
            format = Arc::new((*format).clone().with_bare_json());
        }
        let ids = self.marker_ids.clone().unwrap_or_default();
        let options = Options {
            tools: Arc::new(Tools::new(self.tools.as_ref().unwrap_or(tools)).unwrap()),
            marker_ids: ids.into_iter().collect(),
            ..Options::default()
        };
        let mut parser = Parser::new(format, options);
        if let Some(prompt) = &self.prompt {
            let mut events = Vec::new();
            parser.begin(prompt, 0, &mut events);
            assert_eq!(events, [], "{self:?}");
        }
        parser
    }

    fn runs(&self) -> Vec<&str> {
        match (&self.output, &self.runs) {
            (Some(output), _) => vec![output],
            (_, Some(runs)) => runs.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// What is not as it must be.
    fn wrong(&self, answer: &Answer) -> Vec<&'static str> {
        let is_call = |call: &ToolCall, expected: &Expected| {
            let problem = call
                .problem
                .map(|problem| serde_json::to_value(problem).unwrap());
            let problem = problem.as_ref().and_then(Value::as_str);
            let raw = expected.arguments_json.as_ref();
            call.name == expected.name
                && call.arguments().map(Value::Object) == expected.arguments
                && problem == expected.error.as_deref()
                && problem.is_some() == call.error.is_some()
                && raw.is_none_or(|raw| &call.arguments_json == raw)
        };
        let calls = answer.tool_calls.iter().zip(&self.calls);
        let rules = [
            ("content", answer.content == self.content),
            ("reasoning", answer.reasoning == self.reasoning),
            ("notes", answer.notes.len() == self.notes),
            (
                "number of calls",
                answer.tool_calls.len() == self.calls.len(),
            ),
            (
                "calls",
                calls
                    .into_iter()
                    .all(|(call, expected)| is_call(call, expected)),
            ),
        ];
        rules
            .into_iter()
            .filter(|(_, right)| !right)
            .map(|(what, _)| what)
            .collect()
    }
}

/// What is given to a parser.
enum Piece {
    Text(String),
    Token(i32, String),
    NextRun,
}

/// Reads pieces of text, and sees that events and answer say the same.
fn read(mut parser: Parser, pieces: &[Piece]) -> (Answer, Vec<Event>) {
    let mut events = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => parser.push(text, &mut events),
            Piece::Token(id, text) => parser.push_token(*id, text, &mut events),
            Piece::NextRun => parser.next_run(),
        }
    }
    let answer = parser.finish(&mut events);
    assert_eq!(told(&events), answer, "{events:?}");
    (answer, events)
}

/// The answer that events tell, as far as they do.
fn told(events: &[Event]) -> Told {
    let mut told = Told::default();
    for event in events {
        match event {
            Event::Content { text } => told.content.push_str(text),
            Event::Reasoning { text } => told.reasoning.push_str(text),
            Event::Call { index, name, id } => {
                assert_eq!(*index, told.calls.len());
                told.calls.push((id.clone(), name.clone(), String::new()));
            }
            Event::Arguments { index, text } => told.calls[*index].2.push_str(text),
        }
    }
    told
}

#[derive(Debug, Default, PartialEq)]
struct Told {
    content: String,
    reasoning: String,
    calls: Vec<(String, String, String)>,
}

impl PartialEq<Answer> for Told {
    fn eq(&self, answer: &Answer) -> bool {
        let calls = answer.tool_calls.iter().map(|call| {
            (
                call.id.clone(),
                call.name.clone(),
                call.arguments_json.clone(),
            )
        });
        self.content == answer.content
            && self.reasoning == answer.reasoning.clone().unwrap_or_default()
            && self.calls == calls.collect::<Vec<_>>()
    }
}

/// Pieces of text cut at these bytes: characters are joined as the engine joins them.
fn cut(case: &Case, at: impl Fn(&str) -> Vec<usize>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, run) in case.runs().into_iter().enumerate() {
        if number > 0 {
            pieces.push(Piece::NextRun);
        }
        let stop = StopStrings::new(case.stop.as_deref().unwrap_or_default()).unwrap();
        let (mut state, mut held) = (StopState::default(), String::new());
        let (mut joiner, mut start) = (Utf8Joiner::default(), 0);
        for end in at(run).into_iter().chain([run.len()]) {
            let mut text = String::new();
            joiner.push(&run.as_bytes()[start..end], &mut text);
            start = end;
            let Some(stop) = &stop else {
                pieces.push(Piece::Text(text));
                continue;
            };
            let before = held.len();
            held.push_str(&text);
            if let Found::Stop { end, length } = stop.read(&mut state, &text) {
                held.truncate(before + end - length);
                break;
            }
        }
        pieces.push(Piece::Text(held));
    }
    pieces
}

fn words(text: &str) -> Vec<usize> {
    text.match_indices([' ', '\n', '"', '<'])
        .map(|(at, _)| at)
        .collect()
}

/// Numbers that look random and are the same each time.
fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below.max(1)
}

#[test]
fn every_case_gives_the_same_however_it_is_cut() {
    let (tools, cases) = cases();
    let mut seed = 13;
    let mut wrong = Vec::new();
    for case in &cases {
        let mut ways: Vec<(String, Vec<Piece>)> = Vec::new();
        if let Some(tokens) = &case.tokens {
            let pieces = tokens
                .iter()
                .map(|(text, id)| Piece::Token(id.unwrap_or(-1), text.clone()));
            ways.push(("by ids".to_owned(), pieces.collect()));
        } else {
            ways.push(("whole".to_owned(), cut(case, |_| Vec::new())));
            ways.push((
                "by byte".to_owned(),
                cut(case, |run| (1..run.len()).collect()),
            ));
            ways.push(("by word".to_owned(), cut(case, words)));
            for cuts in case.cuts.iter().flatten() {
                ways.push((format!("at {cuts:?}"), cut(case, |_| cuts.clone())));
            }
            for _ in 0..200 {
                let count = 1 + random(&mut seed, 12);
                let mut at: Vec<usize> = (0..count).map(|_| random(&mut seed, 1 << 20)).collect();
                at.sort_unstable();
                let pieces = cut(case, |run| {
                    at.iter().map(|n| (n * run.len()) >> 20).collect()
                });
                ways.push((format!("at {at:?}"), pieces));
            }
        }
        for (how, pieces) in ways {
            let (answer, events) = read(case.parser(&tools), &pieces);
            let mut what = case.wrong(&answer);
            if case
                .order
                .as_ref()
                .is_some_and(|order| &kinds(&events) != order)
            {
                what.push("order");
            }
            if !what.is_empty() {
                wrong.push(format!(
                    "{what:?} of row {} {how}: {case:?}\n  gives {answer:?}",
                    case.row
                ));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What kinds of events came, with the text of content.
fn kinds(events: &[Event]) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for event in events {
        match (event, kinds.last_mut()) {
            (Event::Content { text }, Some(last)) if last.starts_with("content:") => {
                last.push_str(text);
            }
            (Event::Content { text }, _) => kinds.push(format!("content:{text}")),
            (Event::Reasoning { .. }, _) => kinds.push("reasoning".to_owned()),
            (Event::Call { index, .. }, _) => kinds.push(format!("call:{index}")),
            (Event::Arguments { .. }, _) => {}
        }
    }
    kinds
}

#[test]
fn every_row_of_the_list_has_a_case() {
    let (_, cases) = cases();
    for row in 1..=66 {
        assert!(cases.iter().any(|case| case.row == row), "{row}");
    }
}

#[test]
fn markers_in_the_prompt_count_as_text_and_begin_a_call() {
    let format = &families::named("qwen3").unwrap().format;
    let ids = [
        ("<think>", 1),
        ("</think>", 2),
        ("<tool_call>", 3),
        ("</tool_call>", 4),
    ];
    let options = Options {
        marker_ids: ids.map(|(text, id)| (text.to_owned(), id)).to_vec(),
        ..Options::default()
    };
    let mut parser = Parser::new(Arc::clone(format), options.clone());
    let mut events = Vec::new();
    parser.begin("<|im_start|>assistant\n<think>\n", 0, &mut events);
    assert!(parser.is_in_reasoning());

    let mut parser = Parser::new(Arc::clone(format), options);
    let forced = "<|im_start|>assistant\n<tool_call>\n{\"name\": \"f\", \"arguments\": ";
    parser.begin(forced, 0, &mut events);
    parser.push("{\"a\": 1}}\n", &mut events);
    parser.push_token(4, "</tool_call>", &mut events);
    let answer = parser.finish(&mut events);
    assert_eq!(told(&events), answer);
    assert_eq!(answer.tool_calls[0].arguments_json, "{\"a\": 1}");
}

#[test]
fn reasoning_that_somebody_ends_is_over() {
    let format = &families::named("qwen3").unwrap().format;
    let mut parser = Parser::new(Arc::clone(format), Options::default());
    let mut events = Vec::new();
    parser.push("<think>\nwhy </thi", &mut events);
    parser.end_reasoning(&mut events);
    parser.push("</think>\n\nhi", &mut events);
    let answer = parser.finish(&mut events);
    assert_eq!(answer.reasoning.as_deref(), Some("why </thi"));
    assert_eq!(answer.content, "hi");
}

#[test]
fn without_calls_their_text_is_content() {
    let format = &families::named("qwen3").unwrap().format;
    let options = Options {
        ignores_calls: true,
        ..Options::default()
    };
    let mut parser = Parser::new(Arc::clone(format), options);
    let (text, mut events) = ("<tool_call>{\"name\": \"f\"}</tool_call>", Vec::new());
    parser.push(text, &mut events);
    assert_eq!(parser.finish(&mut events).content, text);
}

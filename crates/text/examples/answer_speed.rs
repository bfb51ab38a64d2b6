//! What reading an answer costs for each token, beside copying the same text, and how long a megabyte of
//! tool arguments takes. Run with `cargo run --release -p rkllm-text --example answer_speed`.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rkllm_text::answer::{Event, Options, Parser};
use rkllm_text::families;

/// Pieces of text as a model's tokens give them: four bytes and a little more.
fn tokens(text: &str) -> Vec<&str> {
    let (mut all, mut start) = (Vec::new(), 0);
    for (number, (at, _)) in text.char_indices().enumerate() {
        if at > start && number % 4 == 0 {
            all.push(&text[start..at]);
            start = at;
        }
    }
    all.push(&text[start..]);
    all
}

fn parser(family: &str) -> Parser {
    let format = Arc::clone(&families::named(family).expect("a family").format);
    Parser::new(format, Options::default())
}

/// The best of several runs, in nanoseconds.
fn best(mut run: impl FnMut()) -> f64 {
    let times = (0..9).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_nanos() as f64
    });
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    let prose =
        "The sky is blue, since air scatters short waves <more> than long ones.\n\n".repeat(2000);
    let thought = format!("<think>\n{prose}</think>\n\n{prose}");
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}\n</tool_call>\n";
    let calls = call.repeat(2000);
    println!(
        "{:<34}{:>12}{:>12}",
        "one piece for each token", "ns/token", "copying"
    );
    for (family, what, text) in [
        ("qwen3", "reasoning and content", &thought),
        ("qwen3", "tool calls", &calls),
        ("llama3", "content", &prose),
        ("deepseek", "reasoning and content", &thought),
    ] {
        let tokens = tokens(text);
        let mut events: Vec<Event> = Vec::new();
        let parsing = best(|| {
            let mut parser = parser(family);
            for token in &tokens {
                // As a reader does that takes what is new of each token.
                events.clear();
                parser.push(token, &mut events);
                black_box(&events);
            }
            black_box(parser.finish(&mut events));
        });
        let copying = best(|| {
            let mut copy = String::new();
            for token in &tokens {
                copy.push_str(black_box(token));
            }
            black_box(copy);
        });
        let each = tokens.len() as f64;
        println!(
            "{:<34}{:>12.1}{:>12.1}",
            format!("{family}: {what}"),
            parsing / each,
            copying / each
        );
    }
    println!(
        "\n{:<34}{:>12}{:>12}",
        "1 MB of arguments", "whole, ms", "by token"
    );
    let long = "line } of { \\\"text\\\" < with 'everything'\\n".repeat(26_000);
    let plain = "line } of { text < with 'everything'\n".repeat(28_000);
    for (family, text) in [
        (
            "qwen3",
            format!(
                "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": \"{long}\"}}}}</tool_call>"
            ),
        ),
        (
            "llama3-pythonic",
            format!("<|python_tag|>[f(a=\"{long}\")]"),
        ),
        (
            "gemma4",
            format!("<|tool_call>call:f{{a:<|\"|>{plain}<|\"|>}}<tool_call|>"),
        ),
        (
            "qwen3-coder",
            format!(
                "<tool_call>\n<function=f>\n<parameter=a>\n{plain}</parameter>\n</function>\n</tool_call>"
            ),
        ),
    ] {
        let run = |pieces: &[&str]| {
            best(|| {
                let (mut parser, mut events) = (parser(family), Vec::new());
                for piece in pieces {
                    parser.push(piece, &mut events);
                }
                let answer = parser.finish(&mut events);
                assert_eq!(answer.tool_calls.len(), 1);
                black_box(answer);
            }) / 1e6
        };
        println!(
            "{family:<34}{:>12.2}{:>12.2}",
            run(&[&text]),
            run(&tokens(&text))
        );
    }
}

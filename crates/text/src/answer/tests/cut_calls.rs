//! Calls that end anywhere: all that was written of them is somewhere in the answer.

use std::sync::Arc;

use super::super::{Options, Parser};
use crate::families;
use crate::schema::Tools;

/// Words of the formats, not of what is called.
const FORM: [&str; 8] = [
    "arguments",
    "call",
    "function",
    "id",
    "name",
    "parameter",
    "tool",
    "type",
];

/// Each family's way to call, up to where its end mark begins.
const CALLS: [(&str, &str); 5] = [
    (
        "qwen3",
        "<tool_call>\n{\"name\": \"alpha\", \"bravo\": \"charlie\", \"delta\": [{\"echo\": 2}], \"arguments\": \
         {\"golf\": \"hotel\"}, \"india\": \"juliett\"",
    ),
    (
        "qwen3",
        "<tool_call>\n{\"name\": \"alpha\", \"arguments\": \"{\\\"golf\\\": \\\"hotel\\\"}\", \"india\": kilo",
    ),
    (
        "qwen3",
        "<tool_call>\n{\"arguments\": {\"golf\": \"hotel\"}, \"lima\": true, \"name\": \"alpha\", \"mike\": {}",
    ),
    (
        "qwen3.5",
        "<tool_call>\n<function=alpha>\n<parameter=golf>\nhotel\n</parameter>\n<parameter=india>\njuliett",
    ),
    (
        "mistral",
        "[TOOL_CALLS]alpha[ARGS]{\"golf\": \"hotel\", \"india\": [\"juliett\"",
    ),
];

#[test]
fn nothing_of_a_call_is_lost_wherever_it_ends() {
    let tools = Arc::new(Tools::new(&serde_json::json!([{"name": "alpha"}])).unwrap());
    for (family, output) in CALLS {
        let format = &families::named(family).unwrap().format;
        for end in 1..=output.len() {
            let options = Options {
                tools: Arc::clone(&tools),
                ..Options::default()
            };
            let mut parser = Parser::new(Arc::clone(format), options);
            let text = &output[..end];
            parser.push(text, &mut Vec::new());
            let answer = parser.finish(&mut Vec::new());
            let calls = answer.tool_calls.iter();
            let mut found: Vec<&str> = calls
                .flat_map(|call| [&*call.name, &*call.arguments_json])
                .collect();
            found.push(&answer.content);
            found.extend(answer.notes.iter().map(String::as_str));
            let found = found.join("\n");
            for word in text.split(|c: char| !c.is_alphabetic()) {
                let is_form = FORM.contains(&word) || word.chars().all(char::is_uppercase);
                let is_found = is_form || found.contains(word);
                assert!(is_found, "{word:?} of {text:?} is not in {answer:?}");
            }
        }
    }
}

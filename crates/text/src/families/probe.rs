//! What a chat template can do, found by rendering it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the template of a probe is rendered with: names as the template sees them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probe {
    /// The messages.
    pub messages: Value,
    /// The tools, or null.
    pub tools: Value,
    /// Whether the beginning of an answer is asked for.
    pub add_generation_prompt: bool,
    /// Keywords besides, such as `enable_thinking`.
    pub keywords: serde_json::Map<String, Value>,
}

/// How a template takes the content of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentShape {
    /// As a string.
    Text,
    /// As a list of parts as well.
    Parts,
}

/// What a chat template can do.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// It shows system messages.
    pub system: bool,
    /// It shows messages with the role `developer` as such, and does not fail on them.
    pub developer: bool,
    /// It shows tools.
    pub tools: bool,
    /// It shows the calls of earlier turns.
    pub tool_calls: bool,
    /// It takes several calls in one message.
    pub parallel_calls: bool,
    /// It shows the results of tools.
    pub tool_results: bool,
    /// It wants the arguments of earlier calls as a string; most want an object.
    pub string_arguments: bool,
    /// How it takes the content of messages.
    pub content: ContentShape,
    /// It shows reasoning of an earlier turn that is still going on.
    pub reasoning: bool,
    /// The keyword that switches its thinking, if one does.
    pub thinking_keyword: Option<String>,
    /// What it writes to begin an answer: all after the last message.
    pub generation_prompt: String,
}

/// Texts that no template holds by itself. In the JSON of probes they are `$needle`, `$other` and `$tool`.
const NEEDLE: &str = "q7Zx2";
const OTHER: &str = "w9Kp4";
const TOOL: &str = "tool3Bn8";
/// Keywords that switch thinking.
const KEYWORDS: [&str; 2] = ["enable_thinking", "thinking"];

const USER: &str = r#"[{"role": "user", "content": "$needle"}]"#;
const PARTS: &str = r#"[{"role": "user", "content": [{"type": "text", "text": "$needle"}]}]"#;
const TOOLS: &str = r#"[{"type": "function", "function": {
    "name": "$tool", "description": "d",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}}]"#;
/// The arguments of a call as an object and as text, and those of a second call.
const OBJECT: [&str; 2] = [r#"{"a":"$other"}"#, r#"{"a":"$needle"}"#];
const STRING: [&str; 2] = [r#""{\"a\":\"$other\"}""#, r#""{\"a\":\"$needle\"}""#];

/// The JSON of a probe.
fn json(text: &str) -> Value {
    let names = [("$needle", NEEDLE), ("$other", OTHER), ("$tool", TOOL)];
    let text = names.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(name, value)
    });
    serde_json::from_str(&text).expect("probes are part of the program")
}

/// A user's message after one of this role.
fn with_first(role: &str) -> Value {
    json(
        &r#"[{"role": "$role", "content": "$other"}, {"role": "user", "content": "$needle"}]"#
            .replace("$role", role),
    )
}

/// A turn in which the assistant's message has these calls, and `more` before them; and the first one's result.
fn turn(calls: &[&str], more: &str, result: &str) -> Value {
    let call = |(at, arguments): (usize, &&str)| {
        r#"{"id": "abcdefgh$at", "type": "function", "function": {"name": "f", "arguments": $arguments}}"#
            .replace("$at", &(at + 1).to_string())
            .replace("$arguments", arguments)
    };
    let calls: Vec<_> = calls.iter().enumerate().map(call).collect();
    json(
        &r#"[
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", $more"tool_calls": [$calls]},
            {"role": "tool", "tool_call_id": "abcdefgh1", "name": "f", "content": "$result"}]"#
            .replace("$more", more)
            .replace("$calls", &calls.join(", "))
            .replace("$result", result),
    )
}

impl Abilities {
    /// Those of a template of which nothing is known.
    #[must_use]
    pub fn none() -> Self {
        Self {
            system: false,
            developer: false,
            tools: false,
            tool_calls: false,
            parallel_calls: false,
            tool_results: false,
            string_arguments: false,
            content: ContentShape::Text,
            reasoning: false,
            thinking_keyword: None,
            generation_prompt: String::new(),
        }
    }

    /// Finds them by rendering probes. A probe that the template refuses counts as not able to. None if it
    /// cannot render even one user's message.
    #[allow(clippy::too_many_lines)]
    pub fn probe<E>(mut render: impl FnMut(&Probe) -> Result<String, E>) -> Option<Self> {
        let mut draw = |messages: Value, change: &dyn Fn(&mut Probe)| {
            let mut probe = Probe {
                messages,
                tools: Value::Null,
                add_generation_prompt: true,
                keywords: serde_json::Map::new(),
            };
            change(&mut probe);
            render(&probe).ok()
        };
        let as_is = |_: &mut Probe| {};
        let plain = draw(json(USER), &as_is)?;
        let without = draw(json(USER), &|probe| probe.add_generation_prompt = false);

        let shows = |text: Option<String>, what: &str| text.is_some_and(|text| text.contains(what));
        let with_tools = |probe: &mut Probe| probe.tools = json(TOOLS);
        let as_object = draw(turn(&OBJECT[..1], "", "r"), &with_tools);
        let as_string = draw(turn(&STRING[..1], "", "r"), &with_tools);
        let object_works = shows(as_object.clone(), OTHER);
        // Some old templates take the arguments as text: an object they refuse, drop, or spell as Python.
        let as_python = format!("'a': '{OTHER}'");
        let spoils = |text: &Option<String>| {
            text.as_ref()
                .is_none_or(|text| !text.contains(OTHER) || text.contains(&as_python))
        };
        let string_arguments = spoils(&as_object) && !spoils(&as_string);
        let arguments = if string_arguments { STRING } else { OBJECT };
        let both = draw(turn(&arguments, "", "r"), &with_tools);

        let parts = draw(json(PARTS), &as_is);
        let takes_parts = parts.is_some_and(|text| {
            text.matches(NEEDLE).count() == 1
                && !text.contains("'type'")
                && !text.contains("\"type\"")
        });
        let thought = r#""reasoning_content": "$other", "thinking": "$other", "#;
        let calls_only = draw(turn(&arguments[..1], "", "r"), &with_tools).unwrap_or_default();
        let thinks = draw(turn(&arguments[..1], thought, "r"), &with_tools).unwrap_or_default();

        let keyword = KEYWORDS.into_iter().find(|keyword| {
            let mut with = |on: bool| {
                draw(json(USER), &|probe| {
                    probe
                        .keywords
                        .insert((*keyword).to_owned(), Value::Bool(on));
                })
            };
            let (on, off) = (with(true), with(false));
            on.is_some() && off.is_some() && on != off
        });
        Some(Self {
            system: shows(draw(with_first("system"), &as_is), OTHER),
            developer: shows(draw(with_first("developer"), &as_is), OTHER),
            tools: shows(draw(json(USER), &with_tools), TOOL),
            tool_calls: object_works || shows(as_string, OTHER),
            parallel_calls: both.is_some_and(|text| text.contains(NEEDLE) && text.contains(OTHER)),
            tool_results: shows(
                draw(turn(&arguments[..1], "", "$needle"), &with_tools),
                NEEDLE,
            ),
            string_arguments,
            content: if takes_parts {
                ContentShape::Parts
            } else {
                ContentShape::Text
            },
            reasoning: thinks.matches(OTHER).count() > calls_only.matches(OTHER).count(),
            thinking_keyword: keyword.map(str::to_owned),
            generation_prompt: after(&plain, without.as_deref()),
        })
    }
}

/// What a text has after what it shares with another, from the marker on in which they part.
fn after(with: &str, without: Option<&str>) -> String {
    let without = without.unwrap_or_default();
    let same = with
        .chars()
        .zip(without.chars())
        .take_while(|(a, b)| a == b);
    let same: usize = same.map(|(c, _)| c.len_utf8()).sum();
    let begun = with[..same]
        .rfind('<')
        .filter(|&at| !with[at..same].contains('>'));
    with[begun.unwrap_or(same)..].to_owned()
}

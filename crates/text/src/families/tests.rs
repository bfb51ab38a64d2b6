//! A template or a file tells its family; the table is whole, and so is its page.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Abilities, ContentShape, Probe, Thinking, ToolPrompt, all, named, of_file, recognise};
use crate::answer::{Body, CallForm, Options, Parser};
use crate::jinja::Jinja;

/// Short templates of our own with what a family's template holds.
const TEMPLATES: [(&str, &str); 18] = [
    ("hermes", "<|im_start|>{{ m }}<tool_call><tools></tools>"),
    (
        "qwen3",
        "<|im_start|><tool_call><think>{{ enable_thinking }}",
    ),
    (
        "qwen3.5",
        "<|im_start|><tool_call><function=x><parameter=y><think>",
    ),
    (
        "qwen3-coder",
        "<|im_start|><tool_call><function=x><parameter=y>",
    ),
    (
        "llama3",
        "<|start_header_id|>user<|end_header_id|><|python_tag|>",
    ),
    (
        "llama3-pythonic",
        "<|start_header_id|>[func_name1(params_name1=params_value1)]",
    ),
    ("gemma", "<start_of_turn>model"),
    ("gemma4", "<|turn>model <|tool_call>call:"),
    (
        "functiongemma",
        "<start_of_turn>model<start_function_declaration>",
    ),
    ("mistral", "[INST] x [/INST]"),
    ("deepseek", "<｜User｜>x<｜Assistant｜>"),
    ("granite3", "<|start_of_role|>x<|tool_call|>"),
    ("granite4", "<|start_of_role|>x<tool_call>"),
    ("spark", "<|User|><|Bot|><arg_key>"),
    ("internlm2", "<|im_start|>system name=<|plugin|>"),
    ("chatml", "<|im_start|>{{ role }}<|im_end|>"),
    ("zephyr", "<|user|>{{ x }}</s><|assistant|>"),
    ("generic", "{{ messages }}"),
];

#[test]
fn a_template_tells_its_family() {
    for (family, template) in TEMPLATES {
        assert_eq!(recognise(template).name, family, "{template}");
    }
}

#[test]
fn the_table_is_whole() {
    let all = all();
    for (number, family) in all.iter().enumerate() {
        let twin = all
            .iter()
            .skip(number + 1)
            .find(|other| other.name == family.name);
        assert!(twin.is_none(), "{}", family.name);
        assert_eq!(named(&family.name).as_ref(), Some(family));
        let is_last = number + 1 == all.len();
        assert_eq!(family.recognise.is_empty(), is_last, "{}", family.name);
        assert!(!family.format.calls.is_empty(), "{}", family.name);
        // Nobody comes after one that takes everything of his.
        for texts in &family.recognise {
            let template = texts.concat();
            assert_eq!(recognise(&template).name, family.name, "{template}");
        }
    }
}

#[test]
fn a_simple_template_shows_every_turn_in_the_familys_way() {
    let said = ["Be brief.", "What is up?", "Not much.", "And now?"];
    for family in all() {
        let Some(text) = family.template else {
            continue;
        };
        let template = Jinja::new(text).unwrap();
        let roles = ["system", "user", "assistant", "user"]
            .into_iter()
            .zip(said);
        let mut messages: Vec<_> = roles
            .map(|(role, content)| json!({"role": role, "content": content}))
            .collect();
        let render = |messages: &[Value]| {
            let context = json!({"messages": messages, "add_generation_prompt": true});
            template.render(minijinja::value::Serde(&context).into())
        };
        if render(&messages).is_err() {
            // It has no place for what the system says.
            messages.remove(0);
        }
        let whole = render(&messages).unwrap();
        let first = render(&messages[..messages.len() - 2]).unwrap();
        for message in &messages {
            assert!(
                whole.contains(message["content"].as_str().unwrap()),
                "{whole}"
            );
        }
        // Where thinking is opened in the prompt, later turns leave it out.
        let first = first.trim_end_matches("<think>\n");
        assert!(
            whole.starts_with(first),
            "{}: {first:?} {whole:?}",
            family.name
        );
    }
}

#[test]
fn a_file_tells_its_family() {
    for (file, family) in [
        ("Qwen3-1.7B-w8a8-rk3588.rkllm", "qwen3"),
        ("qwen3.5-2b.rkllm", "qwen3.5"),
        ("Qwen3-Coder-30B.gguf", "qwen3-coder"),
        ("Qwen2.5-1.5B-Instruct.rkllm", "hermes"),
        (
            "DeepSeek-R1-Distill-Qwen-1.5B_W8A8_RK3588.rkllm",
            "deepseek",
        ),
        ("DeepSeek-R1-Distill-Llama-8B.rkllm", "deepseek"),
        ("Llama-3.2-3B-Instruct.rkllm", "llama3"),
        ("gemma-3-1b-it.rkllm", "gemma"),
        ("TinyLlama-1.1B-Chat.rkllm", "zephyr"),
    ] {
        assert_eq!(of_file(file).unwrap().name, family, "{file}");
    }
    for file in ["model.rkllm", "functiongemma-270m.rkllm", "llava.gguf"] {
        assert_eq!(of_file(file), None, "{file}");
    }
}

#[test]
fn a_models_own_response_template_is_read() {
    let spec = json!({
        "defaults": {"role": "assistant"},
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {
            "reasoning_content": {"open": "<think>", "close": "</think>"},
            "tool_calls": {
                "open_pattern": r"\s*<call>\s*<fn=(?P<name>[^>\n]+)>",
                "close_pattern": r"</fn>\s*</call>",
                "repeats": true,
                "content": "xml-inline",
                "content_args": {"tag_pattern": r"<p=(?P<key>[^>\n]+)>\s*(?P<value>.*?)\s*</p>"},
                "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
            },
            "content": {"close_pattern": r"\s*(?:<\|im_end\|>|<\|endoftext\|>)"},
        },
    });
    let family = named("qwen3")
        .unwrap()
        .with_response_template(&spec)
        .unwrap();
    let mut parser = Parser::new(family.format, Options::default());
    let mut events = Vec::new();
    parser.begin("<|im_start|>assistant\n<think>\n", 0, &mut events);
    parser.push(
        "w</think>\n\nhi\n<call>\n<fn=f>\n<p=a>\nx\n</p>\n</fn>\n</call><|im_end|>\n",
        &mut events,
    );
    let answer = parser.finish(&mut events);
    assert_eq!(answer.reasoning.as_deref(), Some("w"));
    assert_eq!(answer.content, "hi");
    assert_eq!(answer.tool_calls[0].arguments_json, r#"{"a": "x"}"#);

    let named_json = json!({"start_anchor": ["<|turn>model\n"], "fields": {"tool_calls": {
        "open_pattern": r"<\|tool_call>call:(?P<name>\w+)", "close": "<tool_call|>", "content": "json",
        "content_args": {"unquoted_keys": true, "string_delims": [["<|\"|>", "<|\"|>"]]},
        "transform": {"function": {"name": "{name}", "arguments": "{content}"}},
    }}});
    let family = named("gemma4")
        .unwrap()
        .with_response_template(&named_json)
        .unwrap();
    assert!(matches!(family.format.calls[0].body, Body::Named { .. }));
    let mut parser = Parser::new(family.format, Options::default());
    parser.push(
        "<|tool_call>call:f{a:<|\"|>x<|\"|>}<tool_call|><turn|>",
        &mut events,
    );
    assert_eq!(
        parser.finish(&mut events).tool_calls[0].arguments_json,
        r#"{"a": "x"}"#
    );
}

#[test]
fn response_templates_that_are_none_are_refused() {
    let field = |name: &str, field: Value| json!({"fields": {name: field}});
    let bad = [
        json!(1),
        json!({"version": 2, "fields": {}}),
        json!({}),
        field("song", json!({"open": "a"})),
        field("reasoning", json!({"close": "a"})),
        field("tool_calls", json!({"open": "a", "content": "song"})),
        field("tool_calls", json!({"open": "", "content": "json"})),
        field(
            "tool_calls",
            json!({"open": "a".repeat(300), "content": "json"}),
        ),
        field(
            "tool_calls",
            json!({"open": vec!["a"; 100], "content": "json"}),
        ),
        field(
            "tool_calls",
            json!({"open_pattern": "(a+)+", "content": "json"}),
        ),
        field("tool_calls", json!({"open": "a", "content": "xml-inline"})),
        field("tool_calls", json!({"content": "json"})),
    ];
    for spec in bad {
        assert!(
            named("qwen3")
                .unwrap()
                .with_response_template(&spec)
                .is_err(),
            "{spec}"
        );
    }
}

/// Renders probes with our own engine.
fn probe(template: &str) -> Option<Abilities> {
    let jinja = Jinja::new(template).unwrap();
    Abilities::probe(|probe: &Probe| {
        let mut context = serde_json::to_value(probe).unwrap();
        let keywords = context["keywords"].take();
        context
            .as_object_mut()
            .unwrap()
            .extend(keywords.as_object().unwrap().clone());
        jinja.render(minijinja::value::Serde(&context).into())
    })
}

#[test]
fn abilities_are_found_by_rendering() {
    let plain = probe("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}").unwrap();
    assert!(plain.system && plain.developer && plain.tool_results);
    assert!(!plain.tools && !plain.tool_calls && !plain.parallel_calls && !plain.reasoning);
    assert_eq!(
        (plain.content, plain.generation_prompt.as_str()),
        (ContentShape::Text, "")
    );
    assert_eq!(plain.thinking_keyword, None);

    let rich = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}\
        {% if m.role == 'developer' %}{{ raise_exception('no') }}{% endif %}\
        <{{ m.role }}>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}\
        {% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}\
        {% for c in m.tool_calls or [] %}<call>{{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}\
        {% endfor %}{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}";
    let rich = probe(rich).unwrap();
    assert!(rich.system && !rich.developer && rich.tools && rich.tool_calls && rich.parallel_calls);
    assert!(rich.tool_results && rich.reasoning && !rich.string_arguments);
    assert_eq!(
        (rich.content, rich.generation_prompt.as_str()),
        (ContentShape::Parts, "<assistant>")
    );
    assert_eq!(rich.thinking_keyword.as_deref(), Some("enable_thinking"));

    let single = "{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}\
        {{ raise_exception('one') }}{% endif %}{{ '{\"arguments\": ' + m.tool_calls[0].function.arguments + '}' }}\
        {% else %}{{ m.content }}{% endif %}{% endfor %}";
    let single = probe(single).unwrap();
    assert!(single.string_arguments && single.tool_calls && !single.parallel_calls);

    // Bare keys and marked strings are not the string that some templates want.
    let marked = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}call:{{ c.function.name }}{{ '{' }}\
        {% if c.function.arguments is mapping %}{% for k, v in c.function.arguments | items %}{{ k }}:<q>{{ v }}<q>{% endfor %}\
        {% else %}{{ c.function.arguments }}{% endif %}{{ '}' }}{% endfor %}{% endfor %}";
    assert!(!probe(marked).unwrap().string_arguments);

    assert_eq!(probe("{{ raise_exception('never') }}"), None);
}

#[test]
fn families_that_think_say_how_it_is_marked() {
    for family in all()
        .iter()
        .filter(|family| family.thinking != Thinking::None)
    {
        assert!(!family.format.reasoning.is_empty(), "{}", family.name);
    }
}

/// One way to call tools, for people.
fn described(call: &CallForm) -> String {
    let kind = match &call.body {
        Body::Json { .. } => "JSON",
        Body::Named { quotes, .. } if quotes.is_empty() => "name and JSON",
        Body::Named { .. } => "name and bare keys",
        Body::Tags(_) => "a tag for each value",
        Body::Python { .. } => "Python calls",
    };
    match call.open.first() {
        // A marker that holds backquotes itself takes more of them around it.
        Some(open) if open.contains('`') => format!("{kind} after ```` {} ````", open.trim()),
        Some(open) => format!("{kind} after `{}`", open.trim()),
        None => format!("{kind} alone"),
    }
}

/// The table of the guide, made from the data.
fn page_table() -> String {
    let mut page = String::from(
        "| family | models | thinking | tool calls | notes |\n|---|---|---|---|---|\n",
    );
    for family in all() {
        let default = match family.thinking {
            Thinking::None => "",
            Thinking::On => "on by default",
            Thinking::Off => "off by default",
            Thinking::Always => "the template decides",
        };
        let keyword = family
            .thinking_keyword
            .as_ref()
            .map(|word| format!("`{word}`"));
        let words = family
            .thinking_words
            .as_ref()
            .map(|[on, off]| format!("`{on}`, `{off}` in a message"));
        let thinking = [Some(default.to_owned()), keyword, words]
            .into_iter()
            .flatten();
        let thinking: Vec<String> = thinking.filter(|text| !text.is_empty()).collect();
        let calls: Vec<String> = family.format.calls.iter().map(described).collect();
        let mut notes = family.notes.clone();
        if family.tools == ToolPrompt::Generic {
            notes.insert(0, "Its template does not show tools.".to_owned());
        }
        if family.template.is_some() {
            notes.push("A simple chat template is built in.".to_owned());
        }
        if family.needs_special_tokens {
            notes.push(
                "Its markers are special tokens: on the NPU, `skip_special_token` is `False` by default."
                    .to_owned(),
            );
        }
        let row = [
            format!("`{}`", family.name),
            family.models.clone(),
            thinking.join("; "),
            calls.join("; "),
            notes.join(" "),
        ];
        let row = row.map(|cell| cell.replace('|', "\\|"));
        writeln!(page, "| {} |", row.join(" | ")).unwrap();
    }
    page
}

/// `RKLLM_RS_UPDATE=1 cargo test -p rkllm-text` writes the page anew.
#[test]
fn the_guide_lists_the_table() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/guides/model-families.md"
    );
    let page = std::fs::read_to_string(path).unwrap();
    let start = page.find("| family |").unwrap();
    let whole = format!("{}{}", &page[..start], page_table());
    if std::env::var_os("RKLLM_RS_UPDATE").is_some() {
        std::fs::write(path, whole).unwrap();
    } else {
        assert!(
            page == whole,
            "docs/guides/model-families.md is not what the table gives"
        );
    }
}

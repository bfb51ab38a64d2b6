//! What a template is given, as transformers gives it.

use std::time::Duration;

use serde_json::json;

use crate::jinja::Serde;

use super::*;

const CHATML: &str = "{% for m in messages %}{% if loop.first and m.role != 'system' %}\
{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}\
{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}";

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source).expect("compiles")
}

fn messages(all: serde_json::Value) -> Vec<Value> {
    let all = Value::from(Serde(all));
    all.try_iter().expect("a list").collect()
}

fn rendered(source: &str, prompt: &Prompt) -> String {
    template(source).render(prompt).expect("renders")
}

#[test]
fn a_template_is_given_what_transformers_gives() {
    let prompt = Prompt {
        messages: messages(json!([{"role": "user", "content": "q"}])),
        ..Prompt::default()
    };
    let source = "{{ messages }} {{ tools is none }} {{ documents is none }} {{ add_generation_prompt }} \
                  {{ bos_token }} {{ eos_token is defined }} {{ x is defined }}";
    let template = template(source).with_tokens([("bos_token", "<s>")]);
    assert_eq!(
        template.render(&prompt).as_deref(),
        Ok("[{'role': 'user', 'content': 'q'}] True True False <s> False False")
    );
}

#[test]
fn variables_win_over_all_others() {
    let prompt = Prompt {
        variables: vec![
            ("bos_token".to_owned(), Value::from("mine")),
            ("tools".to_owned(), Value::from(5)),
        ],
        ..Prompt::default()
    };
    let template = template("{{ bos_token }}{{ tools }}").with_tokens([("bos_token", "<s>")]);
    assert_eq!(template.render(&prompt).as_deref(), Ok("mine5"));
}

#[test]
fn what_is_none_in_a_message_is_missing() {
    let prompt = Prompt {
        messages: messages(json!([
            {"role": "assistant", "content": null, "tool_calls": [{"id": null}]},
            {"role": "assistant", "content": "a", "reasoning": "r"},
            {"role": "assistant", "reasoning_content": null, "thinking": "t"},
            "no map",
        ])),
        ..Prompt::default()
    };
    assert_eq!(
        rendered("{% for m in messages %}{{ m }}\n{% endfor %}", &prompt),
        "{'role': 'assistant', 'tool_calls': [{'id': None}]}\n\
         {'thinking': 'r', 'role': 'assistant', 'content': 'a', 'reasoning': 'r', 'reasoning_content': 'r'}\n\
         {'role': 'assistant', 'thinking': 't', 'reasoning_content': 't'}\n\
         no map\n"
    );
}

#[test]
fn the_keys_of_tools_keep_their_order() {
    let tools =
        json!([{"type": "function", "function": {"name": "f", "description": "d", "a": 1}}]);
    let prompt = Prompt {
        tools: Some(Value::from(Serde(tools))),
        ..Prompt::default()
    };
    assert_eq!(
        rendered("{{ tools[0] | tojson }}", &prompt),
        r#"{"type": "function", "function": {"name": "f", "description": "d", "a": 1}}"#
    );
}

#[test]
fn a_given_time_is_the_templates_time_everywhere() {
    let prompt = Prompt {
        now: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 365 + 43_200)),
        ..Prompt::default()
    };
    let source = "{% macro year() %}{{ strftime_now('%Y') }}{% endmacro %}{{ year() }} {{ strftime_now('%m') }}";
    assert_eq!(rendered(source, &prompt), "1971 01");
    assert_ne!(rendered(source, &Prompt::default()), "1971 01");
}

#[test]
fn compiled_templates_are_kept_and_not_mixed_up() {
    for round in 0..3 {
        for at in 0..2 * KEPT {
            let source = format!("{at} {{{{ 1 + {at} }}}}");
            let text = rendered(&source, &Prompt::default());
            assert_eq!(text, format!("{at} {}", at + 1), "{round}");
        }
    }
    assert!(ChatTemplate::new("{% if %}").is_err());
    assert_eq!(template("{{ 1 }}").source(), "{{ 1 }}");
}

fn strings(source: &str, system: Option<&str>) -> Result<ThreeStrings, CannotSay> {
    template(source).three_strings(system, &[])
}

#[test]
fn three_strings_say_what_chatml_says() {
    let mut expected = ThreeStrings {
        system: "<|im_start|>system\nBe helpful.<|im_end|>\n".to_owned(),
        prefix: "<|im_start|>user\n".to_owned(),
        postfix: "<|im_end|>\n<|im_start|>assistant\n".to_owned(),
        trims: false,
        answer_end: Some("<|im_end|>\n".to_owned()),
    };
    assert_eq!(strings(CHATML, None), Ok(expected.clone()));
    expected.system = "<|im_start|>system\nSpeak Latin.<|im_end|>\n".to_owned();
    assert_eq!(strings(CHATML, Some("Speak Latin.")), Ok(expected.clone()));
    expected.postfix += "<think>\n\n</think>\n\n";
    let off = [("enable_thinking".to_owned(), Value::from(false))];
    let said = template(CHATML).three_strings(Some("Speak Latin."), &off);
    // The template writes the empty block for the last turn only.
    expected.system += &expected.prefix;
    expected.prefix = std::mem::take(&mut expected.system);
    expected.answer_end = None;
    assert_eq!(said, Ok(expected));
}

#[test]
fn three_strings_say_when_they_cannot() {
    let turn = "{% for m in messages %}[{{ m.role }}:{{ m.content | trim }}]{% endfor %}>";
    let said = strings(turn, None).expect("can be said");
    assert!(said.trims);
    assert_eq!((said.system.as_str(), said.prefix.as_str()), ("", "[user:"));
    let refuses = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}\
                   {% endif %}{{ m.content }}{% endfor %}";
    for (source, system, reason) in [
        ("Hello", None, CannotSay::Text),
        ("{{ messages[-1].content * 2 }}", None, CannotSay::Text),
        ("{{ messages[-1].content | upper }}", None, CannotSay::Text),
        ("{{ messages[-1].content | tojson }}", None, CannotSay::Text),
        (
            "{{ messages[-1].content }}",
            Some("Be brief."),
            CannotSay::System,
        ),
        (
            "{{ messages[-1].content }}{{ messages[0].content }}",
            Some("Be brief."),
            CannotSay::System,
        ),
        (
            refuses,
            Some("Be brief."),
            CannotSay::Trouble(Trouble::Refused("no system".to_owned())),
        ),
    ] {
        assert_eq!(strings(source, system), Err(reason), "{source}");
    }
}

#[test]
fn three_strings_give_the_templates_own_text() {
    let said = strings(CHATML, Some("S")).expect("can be said");
    let end = said.answer_end.expect("later turns");
    let (prefix, postfix) = (said.prefix, said.postfix);
    let prompt = Prompt {
        messages: messages(json!([
            {"role": "system", "content": "S"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ])),
        add_generation_prompt: true,
        ..Prompt::default()
    };
    assert_eq!(
        rendered(CHATML, &prompt),
        format!(
            "{}{prefix}one{postfix}two{end}{prefix}three{postfix}",
            said.system
        )
    );
}

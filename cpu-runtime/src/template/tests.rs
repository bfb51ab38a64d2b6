//! What is put around a turn: by a template, or by three strings.

use super::*;

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}\
{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
{% if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}{% endif %}";

fn chatml() -> Template {
    Template::of_model(Some(CHATML.into()), String::new(), "<|im_end|>".into()).expect("compiles")
}

fn user(text: &str) -> Turn<'_> {
    Turn {
        role: Role::User,
        text: text.as_bytes(),
        thinking: true,
    }
}

fn rendered(template: &Template, place: Place, turn: Turn<'_>) -> String {
    String::from_utf8(template.render(place, turn).expect("renders")).expect("text")
}

#[test]
fn a_first_turn_has_system_prompt_and_generation_prompt() {
    assert_eq!(
        rendered(&chatml(), Place::First, user("Hi")),
        "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn a_next_turn_ends_the_answer_and_repeats_no_system_prompt() {
    assert_eq!(
        rendered(&chatml(), Place::AfterAnswer, user("And?")),
        "<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn thinking_reaches_the_template() {
    let turn = Turn {
        thinking: false,
        ..user("Hi")
    };
    assert!(rendered(&chatml(), Place::First, turn).ends_with("assistant\n<think></think>"));
}

#[test]
fn the_system_text_ends_before_the_first_turn() {
    assert_eq!(
        chatml().system_text(),
        b"<|im_start|>system\nBe helpful.<|im_end|>\n"
    );
}

#[test]
fn three_strings_replace_the_template() {
    let mut template = chatml();
    template.replace(b"S:".to_vec(), b"<".to_vec(), b">".to_vec());
    assert_eq!(rendered(&template, Place::First, user("x")), "S:<x>");
    assert_eq!(rendered(&template, Place::AfterAnswer, user("x")), "<x>");
    assert_eq!(template.system_text(), b"S:");
    assert!(template.keeps_end_mark());
    template.replace(Vec::new(), Vec::new(), Vec::new());
    let raw = Turn {
        text: b"\xFFraw",
        ..user("")
    };
    assert_eq!(template.render(Place::First, raw).expect("raw"), b"\xFFraw");
    assert!(!template.keeps_end_mark());
}

#[test]
fn tools_are_given_to_the_template() {
    let source = "{% if tools %}{{ tools | tojson }}{% endif %}\
                  {% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}";
    let mut template =
        Template::of_model(Some(source.into()), String::new(), String::new()).expect("compiles");
    template
        .set_tools(b"Use tools.", br#"[{"name": "f"}]"#, b"result")
        .expect("set");
    assert_eq!(
        rendered(&template, Place::First, user("q")),
        r#"[{"name": "f"}][system:Use tools.][user:q]"#
    );
    let tool = Turn {
        role: Role::Tool,
        ..user("42")
    };
    assert_eq!(
        rendered(&template, Place::AfterAnswer, tool),
        "][user:<result>\n42\n</result>]"
    );
    assert!(template.set_tools(b"", b"{}", b"").is_err());
    assert!(template.set_tools(b"", b"not json", b"").is_err());
    template.replace(Vec::new(), Vec::new(), Vec::new());
    assert!(template.set_tools(b"", b"[]", b"").is_err());
}

#[test]
fn a_model_without_template_takes_raw_text() {
    let mut template = Template::of_model(None, String::new(), String::new()).expect("none");
    assert_eq!(rendered(&template, Place::First, user("x")), "x");
    assert!(template.set_tools(b"", b"[]", b"").is_err());
}

#[test]
fn python_habits_work() {
    let source = "{% for m in messages %}{% if loop.index0 > 5 %}{% break %}{% endif %}\
                  {{ m['content'].strip().split(' ')[-1] }}{% endfor %}{{ bos_token }}{{ strftime_now('%Y') | length }}";
    let template =
        Template::of_model(Some(source.into()), "<s>".into(), String::new()).expect("compiles");
    assert_eq!(rendered(&template, Place::First, user(" a bc ")), "bc<s>4");
}

#[test]
fn what_is_not_given_is_none_and_not_missing() {
    let source = "{{ tools is defined }} {{ tools is none }} {{ documents is none }}";
    let template =
        Template::of_model(Some(source.into()), String::new(), String::new()).expect("compiles");
    assert_eq!(
        rendered(&template, Place::First, user("q")),
        "True True True"
    );
}

//! Templates give what Python's Jinja gives, and hostile ones end.

use minijinja::context;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn rendered(template: &str) -> Result<String, Trouble> {
    Jinja::new(template)?.render(context! {})
}

/// Each with what jinja2 3.1.6 gives, set up as transformers 5 does; `null` where it raises.
#[derive(Deserialize)]
struct Cases {
    context: Value,
    cases: Vec<(String, Option<String>)>,
}

#[test]
fn templates_give_what_python_gives() {
    let all: Cases = serde_json::from_str(include_str!("cases.json")).expect("JSON");
    for (template, expected) in all.cases {
        let got = Jinja::new(&template).and_then(|jinja| jinja.render(all.context.clone()));
        assert_eq!(got.as_ref().ok(), expected.as_ref(), "{template}: {got:?}");
    }
}

#[test]
fn lines_may_end_as_on_windows() {
    assert_eq!(
        rendered("{% if true %}\r\na\r\nb{% endif %}\r\n").as_deref(),
        Ok("a\nb")
    );
}

/// Programs that would take the process with them: by time, by memory, by depth.
const HOSTILE: &[&str] = &[
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    // Strings that grow.
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s * 2 %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s.replace('x', 'xx') %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s | replace('x', 'xx') %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s.join([n.s, n.s, n.s]) %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = '%s%s' % (n.s, n.s) %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = '{0}{0}'.format(n.s) %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = [n.s, n.s] | tojson %}{% endfor %}",
    "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set n.s = [n.s, n.s] | string %}{% endfor %}",
    "{{ 'x' * 90000000 }}",
    "{{ '{:9999999999}'.format('x') }}",
    "{{ '%9999999999s' % 'x' }}",
    "{{ 'x'.zfill(9999999999) }}{{ 'x'.center(9999999999) }}",
    "{{ [[]] | tojson(indent=999999999) }}",
    "{{ 'x' | indent(999999999) }}",
    "{{ strftime_now('%c' * 9999999) }}",
    "{{ strftime_now('%999999d') }}",
    "{% for i in range(99999) %}{% set s = strftime_now('%60000d') %}{% endfor %}",
    "{{ strftime_now('%99999999999999999999d') }}",
    "{{ strftime_now('a\\0b') }}",
    // A long string that a list holds many times.
    "{% set s = 'x' * 1000000 %}{{ [s] * 10000 }}",
    "{% set s = 'x' * 1000000 %}{% set t = [s] * 10000 ~ '' %}",
    "{% set s = 'x' * 1000000 %}{% set t = ([s] * 10000) | string %}",
    "{% set s = 'x' * 1000000 %}{% set t = ([s] * 10000) | join %}",
    "{% set s = 'x' * 1000000 %}{% set t = ''.join([s] * 10000) %}",
    "{% set s = 'x' * 1000000 %}{% set t = ([s] * 10000) | tojson %}",
    "{% set s = 'x' * 1000000 %}{% set t = ([s] * 10000) | sort %}",
    "{% set s = 'x' * 1000000 %}{% set t = ('{0}' * 100000).format(s) %}",
    "{% set s = 'x' * 1000000 %}{{ (s + 'a') in [s + 'b'] * 1000000 }}",
    // Lists that double.
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ 7 in n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s | list }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{% for x in n.s %}{% endfor %}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s ~ '' }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | tojson }}",
    "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s == n.t }}",
    "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ 1 < n.s < n.t }}",
    "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s is eq(n.t) }}",
    "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ [n.s].count(n.t) }}",
    "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ [{'a': n.s}] | selectattr('a', 'eq', n.t) | list }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ {n.s: 1} }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ {}[n.s] }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ dict([(n.s, 1)]) }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ dict.fromkeys([n.s]) }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ {}.get(n.s) }}",
    // What holds itself.
    "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
    "{% set n = namespace() %}{% set m = namespace(n=n) %}{% set n.n = m %}{{ n == m }}",
];

#[test]
fn hostile_programs_end_with_an_error() {
    for template in HOSTILE {
        let began = std::time::Instant::now();
        let outcome = rendered(template);
        assert!(outcome.is_err(), "{template}");
        // Generous: what this catches takes for ever.
        assert!(began.elapsed().as_secs() < 60, "{template}");
    }
}

#[test]
fn values_lead_to_nothing_behind_them() {
    let names = "__class__ __globals__ __init__ __mro__ __subclasses__".split(' ');
    let values = "'' 1 [] {} messages range namespace() ''.upper".split(' ');
    for (name, value) in names.flat_map(|name| values.clone().map(move |value| (name, value))) {
        for way in [
            format!(".{name}"),
            format!("['{name}']"),
            format!("|attr('{name}')"),
        ] {
            let template = format!("{{% if ({value}){way} is defined %}}found{{% endif %}}");
            assert_ne!(
                rendered(&template).unwrap_or_default(),
                "found",
                "{value}{way}"
            );
        }
    }
}

/// Each is done again and again until the fuel is spent, with texts, lists and dicts of different lengths.
const EXPENSIVE: &[&str] = &[
    "s[0]",
    "s[-1]",
    "s[i]",
    "s[-5:]",
    "s[::2]",
    "s.find('zz')",
    "s.count('b')",
    "s.lower()",
    "s.swapcase()",
    "s.capitalize()",
    "s.casefold()",
    "s.title()",
    "s.split()",
    "s.replace('b', 'bb')",
    "s | replace('b', 'bb')",
    "s | tojson",
    "s | join",
    "s | min",
    "s | map('tojson') | list",
    "s is lower",
    "s == s ~ 'b'",
    "[s] | string",
    "[s] | unique | list",
    "l.count(-7)",
    "l.index(7)",
    "l[-5:]",
    "l | max",
    "l | batch(3) | list",
    "l | tojson(indent=1)",
    "-7 in l",
    "d.copy()",
    "d.items() | list",
    "d | tojson",
    "d | string",
    "dict(d)",
    "dict(a=l)",
];

#[test]
fn fuel_lasts_about_as_long_whatever_it_is_spent_on() {
    let until_spent = |what: &str, length: usize| {
        let template = format!(
            "{{% for i in range(99999) %}}{{% for j in range(9) %}}{{% set x = {what} %}}{{% endfor %}}{{% endfor %}}"
        );
        let list: Vec<usize> = (0..length / 10).collect();
        let dict = Value::from_pairs(list.iter().map(|n| (Value::from(*n), Value::from(*n))));
        let context = context! { s => "ab é ".repeat(length / 5), l => list, d => dict };
        let jinja = Jinja::new(&template).expect("compiles");
        let times = (0..2).map(|_| {
            let began = std::time::Instant::now();
            let context = context.clone();
            let outcome = outcome(RENDERING.with(|| jinja.run(&jinja.environment, context)));
            // Finding no number is an error, too.
            assert!(
                matches!(outcome, Err(Trouble::Endless | Trouble::Failed { .. })),
                "{what}"
            );
            began.elapsed()
        });
        times.min().expect("two")
    };
    for what in EXPENSIVE {
        for length in [100, 10_000, 400_000] {
            // Beside each other, since a busy machine changes from one moment to the next.
            let (plain, took) = (until_spent("1", length), until_spent(what, length));
            assert!(
                took < plain * 40,
                "{what} of {length}: {took:?}, an empty loop: {plain:?}"
            );
        }
    }
}

#[test]
fn deep_values_and_deep_templates_do_no_harm() {
    // Lists as deep as fuel reaches are freed; whether they end with an error matters to nobody.
    for step in [
        "[n.s]",
        "n.s[0:]",
        "{'a': n.s}",
        "dict(a=n.s)",
        "n.s | batch(1)",
        "[[[[[[[[[n.s]]]]]]]]]",
    ] {
        let template = format!(
            "{{% set n = namespace(s=[1]) %}}{{% for i in range(99999) %}}{{% set n.s = {step} %}}{{% endfor %}}done"
        );
        let _ = rendered(&template);
    }
    let many = |part: &str| part.repeat(100_000);
    for template in [
        format!("{{{{ 1{} }}}}", many("+1")),
        format!("{{{{ x{} }}}}", many("|a")),
        format!("{{{{ x{} }}}}", many(".a")),
        many("{% if 1 %}"),
        format!("{{{{ {} }}}}", many("[")),
        format!("{{{{ {}1 }}}}", many("not ")),
    ] {
        let _ = rendered(&template);
    }
}

#[test]
fn a_long_text_is_no_hostile_one() {
    let text = "word ".repeat(700_000);
    let jinja = Jinja::new(
        "{% for m in messages %}{{ m.content | trim }}{{ m.content.split('x')[-1] }}{% endfor %}",
    )
    .expect("compiles");
    let message = context! { content => text.clone() };
    let out = jinja
        .render(context! { messages => vec![message] })
        .expect("renders");
    assert_eq!(out.len(), 2 * text.len() - 1);
    let jinja = Jinja::new("{{ text }}").expect("compiles");
    let longer = context! { text => "x".repeat(LONGEST + 1) };
    assert_eq!(jinja.render(longer), Err(Trouble::TooLong));
}

#[test]
fn a_long_conversation_is_no_hostile_one() {
    let template = "{% for m in messages %}{% if loop.index0 % 2 == 0 and m.role == 'user' %}{{ '<u>' + m['content'] }}\
        {% else %}{{ '<a>' + m['content'] | trim }}{% endif %}{% set x = messages[loop.index0 - 1] %}\
        {% if not loop.last and x.content is string %}{{ '\\n' }}{% endif %}{% endfor %}";
    let message = |at: usize| {
        context! { role => if at.is_multiple_of(2) { "user" } else { "assistant" }, content => format!("number {at}") }
    };
    let messages: Vec<Value> = (0..10_000).map(message).collect();
    let jinja = Jinja::new(template).expect("compiles");
    let out = jinja.render(context! { messages }).expect("renders");
    assert_eq!(out.lines().count(), 10_000);
}

/// Pieces that make, copy and print values in one variable.
fn programs() -> impl Strategy<Value = String> {
    let step = prop::sample::select(vec![
        "n.s ~ n.t",
        "n.s + n.s",
        "[n.s, n.t]",
        "[n.s] * 1000",
        "n.s * 1000",
        "{'k': n.s, 'l': n.t}",
        "n.s | string",
        "n.s | tojson",
        "n.s | join(n.t)",
        "n.t | list",
        "n.s | replace('x', n.t)",
        "n.s.replace('x', n.t)",
        "n.t.join(n.s)",
        "'%s%s' % (n.s, n.s)",
        "'{0}{0}'.format(n.s)",
        "n.s | batch(2) | list",
        "n.s | indent(1000)",
        "n.s[::-1]",
        "n.s == n.t",
        "n.s in n.t",
        "(n.s, n.t)",
        "dict(a=n.s)",
        "n.s | upper",
        "n",
        "n.s.split('x')",
        "n.s | map('string') | list",
    ]);
    let part = (step, prop::bool::ANY).prop_map(|(step, which)| {
        format!(
            "{{% set n.{} = {step} %}}{{{{ n.s }}}}",
            if which { "s" } else { "t" }
        )
    });
    prop::collection::vec(part, 1..8).prop_map(|parts| {
        format!(
            "{{% set n = namespace(s='xxxxxxxx', t='xyz') %}}{{% for i in range(50) %}}{}{{% endfor %}}",
            parts.concat()
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_program_writes_more_than_it_may(template in programs()) {
        if let Ok(text) = rendered(&template) {
            prop_assert!(text.len() <= LONGEST);
        }
    }

    #[test]
    fn any_text_is_survived(
        text in "(\\{[%{#]|[%}#]\\}|-|generation|endgeneration|raw|endraw|if|for|x|'|\"|\\\\| |\n|\\||é|%|\\[|\\]|\\(|1|\\+|in|set|=){0,40}"
    ) {
        if let Ok(jinja) = Jinja::new(&text) {
            let _ = jinja.render(context! { x => vec!["a", "b"] });
        }
    }
}

/// So many messages, each with so many bytes, in the template with the most steps for each.
fn conversation(count: usize, bytes: usize) -> (Jinja, Value) {
    let source = include_str!("../../../../tests/templates/json-tools.jinja");
    let text = "word ".repeat(bytes / 5);
    let role = |at: usize| ["user", "assistant"][at % 2];
    let messages = (0..count).map(|at| serde_json::json!({"role": role(at), "content": text}));
    let messages: Vec<_> = messages.collect();
    let context =
        serde_json::json!({"messages": messages, "tools": null, "add_generation_prompt": true});
    (Jinja::new(source).unwrap(), Value::from(Serde(context)))
}

#[test]
fn fuel_grows_with_what_a_template_is_given() {
    for (count, bytes) in [(10_001, 10), (1, 5_000_000), (2001, 2000)] {
        let (template, context) = conversation(count, bytes);
        let text = template.render(context).unwrap();
        assert!(
            text.len() > count * bytes,
            "{count} messages of {bytes} bytes"
        );
    }
    // What it is given does not pay for more than itself.
    let (_, context) = conversation(1000, 10);
    let endless =
        Jinja::new("{% for a in messages %}{% for b in messages %}x{% endfor %}{% endfor %}");
    assert_eq!(endless.unwrap().render(context), Err(Trouble::Endless));
}

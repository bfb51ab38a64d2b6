//! Properties of any text, whatever it says.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Options, Parser};
use super::{Case, Piece, cases, read, told};
use crate::families;
use crate::schema::Tools;

/// All bytes of the text are content, reasoning, part of a call, or markup, in their order.
fn nothing_is_lost(family: &str, text: &str, tools: &Arc<Tools>, cuts: &[usize]) {
    let family = families::named(family).unwrap();
    let options = Options {
        tools: Arc::clone(tools),
        ..Options::default()
    };
    let mut parser = Parser::new(Arc::clone(&family.format), options);
    let (mut events, mut start) = (Vec::new(), 0);
    let cuts = cuts.iter().copied().filter(|&at| text.is_char_boundary(at));
    for end in cuts.chain([text.len()]) {
        parser.push(&text[start..end], &mut events);
        start = end;
    }
    let answer = parser.finish(&mut events);
    let of = |kind| {
        let parts = parser.log.iter().filter(|(k, _)| *k == kind);
        parts.map(|(_, text)| text.as_str()).collect::<String>()
    };
    let all: String = parser.log.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(all, text, "{} {:?}", family.name, parser.log);
    assert_eq!(of('t'), answer.content);
    assert_eq!(of('r'), answer.reasoning.clone().unwrap_or_default());
    // What is neither text nor a call is a marker, or white space around one.
    let mut markup = of('m');
    let mut markers = family.format.markers();
    markers.sort_by_key(|marker| std::cmp::Reverse(marker.len()));
    for marker in markers {
        markup = markup.replace(marker, "");
    }
    assert!(
        markup.trim().is_empty() || markup.starts_with("all"),
        "{markup:?} of {text:?}"
    );
    assert_eq!(told(&events), answer);
    let called = of('c');
    assert_eq!(called.is_empty(), answer.tool_calls.is_empty(), "{text:?}");
}

#[test]
fn nothing_of_a_case_is_lost() {
    let (tools, cases) = cases();
    for case in cases.iter().filter(|case| case.prompt.is_none()) {
        let tools = Tools::new(case.tools.as_ref().unwrap_or(&tools)).unwrap();
        for run in case.runs() {
            nothing_is_lost(&case.family, run, &Arc::new(tools.clone()), &[]);
            let bytes: Vec<usize> = (0..run.len()).collect();
            nothing_is_lost(&case.family, run, &Arc::new(tools.clone()), &bytes);
        }
    }
}

#[test]
fn a_block_of_code_that_begins_an_answer_is_read_in_every_family() {
    let (tools, _) = cases();
    let tools = Arc::new(Tools::new(&tools).unwrap());
    for family in families::all() {
        for text in [
            "\n```\nx\n```",
            "\n\n```json\n[1]\n```\n",
            "```python\nf()\n```",
        ] {
            nothing_is_lost(&family.name, text, &tools, &[]);
            nothing_is_lost(&family.name, text, &tools, &[1, 2, 3, 4]);
        }
    }
}

#[test]
fn a_key_or_name_without_end_is_given_up_at_the_same_place_however_it_comes() {
    let (tools, _) = cases();
    let tools = Arc::new(Tools::new(&tools).unwrap());
    let long = "\u{e9}".repeat(200);
    for begin in [r#"{"name": "f", ""#, r#"{"name": ""#] {
        let text = format!("<tool_call>{begin}{long}\": {{g>");
        let format = &families::named("qwen3").unwrap().format;
        let parser = || {
            let options = Options {
                tools: Arc::clone(&tools),
                ..Options::default()
            };
            Parser::new(Arc::clone(format), options)
        };
        let (whole, _) = read(parser(), &[Piece::Text(text.clone())]);
        let pieces = text.chars().map(|one| Piece::Text(one.to_string()));
        let pieces: Vec<_> = pieces.collect();
        assert_eq!(read(parser(), &pieces).0, whole, "{begin}");
    }
}

/// Text made of what parsers look for.
fn tangled() -> impl Strategy<Value = (String, String)> {
    let names: Vec<String> = families::all()
        .iter()
        .map(|family| family.name.clone())
        .collect();
    let (_, cases) = cases();
    let outputs: Vec<String> = cases
        .iter()
        .flat_map(Case::runs)
        .map(str::to_owned)
        .collect();
    (
        0..names.len(),
        prop::collection::vec(
            (0_usize..12, any::<prop::sample::Index>(), any::<u8>()),
            0..24,
        ),
    )
        .prop_map(move |(family, parts)| {
            let format = &families::named(&names[family]).unwrap().format;
            let markers = format.markers();
            let mut text = String::new();
            for (kind, index, byte) in parts {
                match kind {
                    0..=4 => text.push_str(
                        markers
                            .get(index.index(markers.len().max(1)))
                            .unwrap_or(&"<"),
                    ),
                    5 => text.push(byte as char),
                    6 => {
                        let output = &outputs[index.index(outputs.len())];
                        let mut end = output.len() * usize::from(byte) / 255;
                        while !output.is_char_boundary(end) {
                            end -= 1;
                        }
                        text.push_str(&output[..end]);
                    }
                    _ => text.push_str(
                        [
                            "\n",
                            "{\"name\": \"f\", \"arguments\": {",
                            "}",
                            "]",
                            "[",
                            "f",
                            "(a=",
                            "\"",
                            "\\",
                            "'",
                            " ",
                            "call:f{",
                        ][index.index(12)],
                    ),
                }
            }
            (names[family].clone(), text)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_cut_anywhere_gives_the_same_and_all_of_it(
        (family, text) in tangled(),
        cuts in prop::collection::vec(0_usize..2000, 0..10),
    ) {
        let (tools, _) = cases();
        let tools = Arc::new(Tools::new(&tools).unwrap());
        let format = &families::named(&family).unwrap().format;
        let parser = || {
            let options = Options { tools: Arc::clone(&tools), ..Options::default() };
            Parser::new(Arc::clone(format), options)
        };
        let (whole, _) = read(parser(), &[Piece::Text(text.clone())]);
        let chars: Vec<Piece> = text.chars().map(|c| Piece::Text(c.to_string())).collect();
        let (by_char, _) = read(parser(), &chars);
        prop_assert_eq!(&whole, &by_char, "{:?}", &text);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|&at| at <= text.len()).collect();
        cuts.sort_unstable();
        nothing_is_lost(&family, &text, &tools, &cuts);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), family in 0_usize..40) {
        let all = families::all();
        let tools = Arc::new(Tools::default());
        let text = String::from_utf8_lossy(&bytes);
        nothing_is_lost(&all[family % all.len()].name, &text, &tools, &[3, 50, 51]);
    }
}

/// Texts that a parser which looks back would take minutes for, in the smallest pieces.
#[test]
fn long_texts_are_read_once() {
    let started = std::time::Instant::now();
    let (tools, _) = cases();
    let tools = Arc::new(Tools::new(&tools).unwrap());
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}";
    for (family, begin, again) in [
        ("qwen3", "", "<tool_call>x"),
        ("qwen3", "", "<tool_cal\n"),
        ("qwen3", "", "<|im_end|>"),
        ("qwen3", "<|im_end|>", "\n "),
        ("qwen3", "<tool_call>", " \n"),
        ("qwen3", "<tool_call>[", "{\"name\": \"f\"},"),
        ("qwen3", "<tool_call>{\"a\": \"", "\\\"{"),
        (
            "qwen3",
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ",
            "[{<",
        ),
        ("qwen3", call, "\n }"),
        ("qwen3.5", "<think>", "\n<tool_call>"),
        ("qwen3-coder", "<function=f><parameter=a>", " <"),
        ("glm4", "<tool_call>f<arg_key>a</arg_key>", "\n"),
        ("llama3", "{\"name\": \"f\", \"x", "\\n"),
        ("llama3-pythonic", "[f(a=1)", " \n"),
        ("llama3-pythonic", "[", " \n"),
        ("gemma4", "<|tool_call>call:f{", "a:<|\"|>"),
        ("mistral", "", "[TOOL_CALLS]f[ARGS]"),
        ("functionary-v3.2", "", ">>>f\nx"),
    ] {
        let text = format!("{begin}{}", again.repeat(120_000 / again.len()));
        let family = families::named(family).unwrap();
        let options = Options {
            tools: Arc::clone(&tools),
            ..Options::default()
        };
        let mut parser = Parser::new(Arc::clone(&family.format), options);
        let mut events = Vec::new();
        let mut small = [0; 4];
        for c in text.chars() {
            events.clear();
            parser.push(c.encode_utf8(&mut small), &mut events);
        }
        parser.finish(&mut events);
        let read: usize = parser.log.iter().map(|(_, text)| text.len()).sum();
        assert_eq!(read, text.len());
        assert!(started.elapsed().as_secs() < 120, "{begin}{again}…");
    }
}

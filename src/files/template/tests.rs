//! Which of a model's templates wins, and what is wrong with those that cannot be used.

use std::fs;

use serde_json::json;

use super::super::gguf;
use super::*;

/// A folder with a model and these files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.model(), b"\xe5 not GGUF").unwrap();
        for (name, content) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model.gguf")
    }

    fn with_gguf(self, texts: &[(&str, &str)], numbers: &[(&str, u16)]) -> Self {
        fs::write(self.model(), gguf::tests::made(texts, numbers)).unwrap();
        self
    }

    fn found(&self) -> Templates {
        Templates::of_model(&self.model()).expect("can be read")
    }
}

/// Names and texts.
fn texts(found: &Templates) -> Vec<(&str, &str)> {
    let all = found.all.iter();
    all.map(|one| (one.name.as_str(), one.text.as_str()))
        .collect()
}

#[test]
fn a_template_file_wins_over_the_configuration_and_that_over_the_model() {
    let config = json!({"chat_template": "{{ config }}"}).to_string();
    let processor = json!({"chat_template": "{{ processor }}"}).to_string();
    let model = [("tokenizer.chat_template", "{{ model }}")];
    let mut files = vec![
        ("chat_template.jinja", "{{ file }}"),
        ("tokenizer_config.json", config.as_str()),
        ("chat_template.json", processor.as_str()),
    ];
    for expected in [
        "{{ file }}",
        "{{ config }}",
        "{{ processor }}",
        "{{ model }}",
    ] {
        let folder = Folder::new(&files).with_gguf(&model, &[]);
        let found = folder.found();
        assert_eq!(texts(&found), [("default", expected)]);
        let source = match files.first() {
            Some((name, _)) => TemplateSource::Beside(folder.path(name)),
            None => TemplateSource::Model(folder.model()),
        };
        assert_eq!(found.all[0].source, source);
        if !files.is_empty() {
            files.remove(0);
        }
    }
    assert_eq!(Folder::new(&[]).found(), Templates::default());
}

#[test]
fn named_templates_are_found_in_every_place() {
    let list = json!({"chat_template": [
        {"name": "default", "template": "D"}, {"name": "rag", "template": "R"},
    ]});
    let folder = Folder::new(&[
        ("tokenizer_config.json", &list.to_string()),
        ("additional_chat_templates/tool_use.jinja", "T"),
        ("additional_chat_templates/notes.txt", "none"),
    ]);
    assert_eq!(
        texts(&folder.found()),
        [("default", "D"), ("rag", "R"), ("tool_use", "T")]
    );
    let folder = Folder::new(&[]).with_gguf(
        &[
            ("tokenizer.chat_template.tool_use", "T"),
            ("tokenizer.chat_template", "D"),
        ],
        &[],
    );
    assert_eq!(
        texts(&folder.found()),
        [("default", "D"), ("tool_use", "T")]
    );
}

#[test]
fn the_template_that_fits_is_chosen() {
    let folder = Folder::new(&[]).with_gguf(
        &[
            ("tokenizer.chat_template", "D"),
            ("tokenizer.chat_template.tool_use", "T"),
            ("tokenizer.chat_template.rag", "R"),
        ],
        &[],
    );
    let mut found = folder.found();
    let chosen = |found: &Templates, name, tools| {
        let chosen = found.choose(name, tools);
        chosen.map(|one| one.map(|one| one.text.clone()))
    };
    assert_eq!(chosen(&found, None, false), Ok(Some("D".to_owned())));
    assert_eq!(chosen(&found, None, true), Ok(Some("T".to_owned())));
    assert_eq!(chosen(&found, Some("rag"), true), Ok(Some("R".to_owned())));
    let wrong = chosen(&found, Some("none"), false).expect_err("no such name");
    assert_eq!(wrong.kind, ErrorKind::InvalidArgument);
    assert!(wrong.hint.expect("a hint").contains("rag, tool_use"));
    found.all.retain(|one| one.name == "rag");
    let wrong = chosen(&found, None, false).expect_err("no default");
    assert_eq!(wrong.kind, ErrorKind::Template);
    found.all.clear();
    assert_eq!(chosen(&found, None, true), Ok(None));
}

#[test]
fn tokens_come_from_the_files_and_what_they_lack_from_the_model() {
    let config = json!({
        "bos_token": {"content": "<bos>", "lstrip": false}, "eos_token": "</e>", "pad_token": null,
        "add_bos_token": true, "extra_special_tokens": {"image_token": "<image>"},
        "response_template": {"fields": {}},
    });
    let map = json!({"eos_token": "other", "unk_token": {"content": "<unk>"}});
    let folder = Folder::new(&[
        ("tokenizer_config.json", &config.to_string()),
        ("special_tokens_map.json", &map.to_string()),
        ("generation_config.json", r#"{"eos_token_id": [7, 9, "x"]}"#),
    ])
    .with_gguf(
        &[(
            "tokenizer.chat_template",
            "{{ bos_token }}{{ pad_token }}{{ image_token }}",
        )],
        &[
            ("tokenizer.ggml.bos_token_id", 0),
            ("tokenizer.ggml.eos_token_id", 1),
            ("tokenizer.ggml.padding_token_id", 1),
        ],
    );
    let found = folder.found();
    let token = |name: &str| {
        let found = found.tokens.iter().find(|(known, _)| known == name);
        found.map(|(_, token)| token.as_str())
    };
    let names = [
        "bos_token",
        "eos_token",
        "unk_token",
        "image_token",
        "pad_token",
        "add_bos_token",
    ];
    let expected = [
        Some("<bos>"),
        Some("</e>"),
        Some("<unk>"),
        Some("<image>"),
        Some("a"),
        None,
    ];
    assert_eq!(names.map(token), expected);
    assert_eq!(
        (found.add_bos, &found.stop_ids[..]),
        (Some(true), &[7, 9][..])
    );
    assert!(found.response_template.is_some());
    let one = found.choose(None, false).unwrap().expect("a template");
    let compiled = found.compile(one).expect("compiles");
    assert_eq!(
        compiled
            .render(&rkllm_text::template::Prompt::default())
            .as_deref(),
        Ok("<bos>a<image>")
    );
}

#[test]
fn an_argument_is_a_text_or_a_path() {
    let folder = Folder::new(&[
        ("mine.jinja", "{{ 1 }}"),
        ("line.jinja", "{{ 1 }}\\n\\n{{ 2 }}\n"),
    ]);
    let mut found = folder.found();
    found.replace("{% if x %}{% endif %}").expect("a text");
    assert_eq!(found.all[0].source, TemplateSource::Argument);
    for (name, expected) in [
        ("mine.jinja", "{{ 1 }}"),
        ("line.jinja", "{{ 1 }}\n\n{{ 2 }}\n"),
    ] {
        let path = folder.path(name);
        found.replace(path.to_str().unwrap()).expect("a file");
        assert_eq!(texts(&found), [("default", expected)]);
        assert_eq!(found.all[0].source, TemplateSource::GivenFile(path));
    }
    let missing = found.replace("/none/mine.jinja").expect_err("missing");
    assert_eq!(missing.kind, ErrorKind::FileMissing);
    assert_eq!(found.all.len(), 1);
}

#[test]
fn what_cannot_be_used_is_named() {
    let long = format!("\"{}\"", "x".repeat(LONGEST_JSON as usize));
    let too_long = "x".repeat(LONGEST_TEMPLATE as usize + 1);
    for (name, content, line) in [
        ("tokenizer_config.json", "{\n\n nonsense", Some(3)),
        ("tokenizer_config.json", "[]", Some(1)),
        ("tokenizer_config.json", r#"{"chat_template": 5}"#, None),
        (
            "tokenizer_config.json",
            r#"{"chat_template": [{"name": "x"}]}"#,
            None,
        ),
        ("tokenizer_config.json", &long, None),
        ("chat_template.json", "{}", None),
        ("special_tokens_map.json", "", None),
        ("chat_template.jinja", &too_long, None),
    ] {
        let folder = Folder::new(&[(name, content)]);
        let failure = Templates::of_model(&folder.model()).expect_err(name);
        assert_eq!(failure.kind, ErrorKind::Template);
        assert_eq!(failure.fields.path, Some(folder.path(name)));
        assert!(failure.fields.line == line || line.is_none(), "{failure}");
    }
    let folder = Folder::new(&[("chat_template.jinja/x", "a folder")]);
    assert!(Templates::of_model(&folder.model()).is_err());
    let folder = Folder::new(&[]).with_gguf(&[("tokenizer.chat_template", &too_long)], &[]);
    assert!(Templates::of_model(&folder.model()).is_err());
}

#[test]
fn a_template_that_does_not_compile_names_file_and_line() {
    let folder = Folder::new(&[("chat_template.jinja", "one\n{% if %}\n")]);
    let found = folder.found();
    let one = found.choose(None, false).unwrap().expect("a template");
    let failure = found.compile(one).expect_err("no template");
    assert_eq!(failure.kind, ErrorKind::Template);
    assert_eq!(
        failure.fields.path,
        Some(folder.path("chat_template.jinja"))
    );
    assert_eq!(failure.fields.line, Some(2));
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = Folder::new(&[]);
    let path = folder.path("chat_template.jinja");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let failure = Templates::of_model(&folder.model()).expect_err("a pipe");
    assert_eq!(failure.fields.path, Some(path));
}

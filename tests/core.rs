//! The core without Python, on the fakes and through the real loader: what a Rust program needs. What else it
//! does is shown through Python.

#![allow(clippy::unwrap_used, reason = "tests say so when they fail")]

mod common;

use std::time::Duration;

use common::{ABI_VERSIONS, alone, example, hello, open, runtime, script};
use rkllm_rs::model::{Poll, Source as _};
use rkllm_rs::protocol::question::{Question, Response};
use rkllm_rs::{ErrorKind, FinishReason, GenerateOptions, Input, Model, ModelConfig, RowsKind};
use serde_json::json;

fn tokens(ids: &[i32]) -> Input {
    Input::tokens(ids.to_vec()).unwrap()
}

#[test]
fn text_comes_joined_on_every_generation() {
    let _alone = alone();
    for abi_version in ABI_VERSIONS {
        let steps =
            json!(["a", {"bytes": [0xE2], "state": 1}, {"bytes": [0x82, 0xAC]}, {"bytes": [0xF0]}]);
        let model = open(
            abi_version,
            "joined",
            &json!({"quiet": true, "runs": [{"steps": steps}]}),
        );
        let answer = model
            .generate(hello(), &GenerateOptions::default())
            .unwrap();
        assert_eq!(answer.text, "a€\u{FFFD}", "{abi_version}");
        assert_eq!(answer.token_ids, [1, 2, 3, 4]);
        assert_eq!(answer.finish_reason, FinishReason::Stop);
        assert_eq!(answer.perf.library.is_some(), abi_version >= "v1_2_1");
    }
}

#[test]
fn a_dropped_stream_leaves_nothing_for_the_next_answer() {
    let _alone = alone();
    for abi_version in ["v1_1_0", "v1_3_1"] {
        let model = open(
            abi_version,
            "dropped",
            &json!({"quiet": true, "runs": [
                {"steps": ["old"], "repeat": 100_000, "delay_ms": 1, "late": ["late"]},
                {"steps": ["new"], "delay_ms": 60},
            ]}),
        );
        let mut stream = model.stream(hello(), &GenerateOptions::default()).unwrap();
        assert_eq!(stream.next().unwrap().unwrap().text, "old");
        drop(stream);
        let answer = model
            .generate(hello(), &GenerateOptions::default())
            .unwrap();
        assert_eq!(answer.text, "new", "{abi_version}");
    }
}

#[test]
fn a_limit_and_a_deadline_end_a_run_everywhere() {
    let _alone = alone();
    for abi_version in ["v1_1_0", "v1_3_1"] {
        let model = open(
            abi_version,
            "limits",
            &json!({"quiet": true, "runs": [{"steps": ["x"], "repeat": 100_000, "delay_ms": 1}]}),
        );
        let options = GenerateOptions {
            max_new_tokens: Some(5),
            ..Default::default()
        };
        let answer = model.generate(hello(), &options).unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.finish_reason),
            ("xxxxx", FinishReason::Length)
        );
        let options = GenerateOptions {
            timeout: Some(Duration::from_millis(50)),
            ..Default::default()
        };
        let error = model.generate(hello(), &options).unwrap_err();
        assert!(error.kind == ErrorKind::Timeout, "{abi_version}: {error}");
    }
}

#[test]
fn errors_carry_the_library_s_words() {
    let _alone = alone();
    let abi_version = "v1_3_1";
    let words = json!([
        ["stderr", "E rkllm: it broke"],
        ["stdout", "I rkllm: the prompt"]
    ]);
    let model = open(
        abi_version,
        "words",
        &json!({"quiet": true, "runs": [{"return": -1, "log": words}]}),
    );
    let error = model
        .generate(hello(), &GenerateOptions::default())
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Generation, "{error}");
    assert_eq!(error.fields.log, ["E rkllm: it broke"], "{abi_version}");
}

#[test]
fn rows_come_whole_on_every_generation() {
    let _alone = alone();
    for abi_version in ABI_VERSIONS {
        let states =
            json!([{"rows": 2, "width": 3, "start": 1.0}, {"rows": 1, "width": 3, "start": 7.0}]);
        let model = open(
            abi_version,
            "rows",
            &json!({"quiet": true, "hidden": states, "logits": {"width": 4, "start": 0.5}, "runs": [{}]}),
        );
        let options = GenerateOptions::default();
        let states = model
            .rows(RowsKind::HiddenStates, tokens(&[1, 2, 3]), &options)
            .unwrap();
        assert_eq!((states.rows(), states.width()), (3, 3));
        assert_eq!(
            states.with(<[f32]>::to_vec),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
        );
        let logits = model.rows(RowsKind::Logits, tokens(&[1, 2]), &options);
        if abi_version == "v1_1_0" {
            let error = logits.unwrap_err();
            assert!(error.kind == ErrorKind::UnsupportedFeature, "{error}");
            continue;
        }
        let logits = logits.unwrap();
        assert_eq!((logits.rows(), logits.width()), (2, 4));
        assert_eq!(logits.with(|all| all[6..].to_vec()), [6.5, 7.5]);
        assert_eq!(model.info().vocab_size.map(|known| known.0), Some(4));
    }
}

#[test]
fn steps_pause_and_take_what_is_sent() {
    let _alone = alone();
    for abi_version in ["v1_2_1", "v1_3_1"] {
        let model = open(
            abi_version,
            "steps",
            &json!({"quiet": true, "kv_cache_size": [5], "runs": [
                {"steps": ["a"]}, {"steps": ["b"]}, {"steps": [{"echo": true}]}, {"steps": []}, {"steps": ["free"]},
            ]}),
        );
        let options = GenerateOptions::default();
        let mut steps = model.steps(hello(), &options).unwrap();
        assert_eq!(steps.step(None).unwrap().unwrap().text, "a");
        assert_eq!(model.kv_cache_size().unwrap(), [5]);
        let busy = model.stream(hello(), &options).err().unwrap();
        assert_eq!(busy.kind, ErrorKind::Busy, "{busy}");
        assert_eq!(steps.step(None).unwrap().unwrap().text, "b");
        let sent = steps.step(Some(tokens(&[7, 8]))).unwrap().unwrap();
        assert_eq!(sent.text, "7 8");
        assert_eq!(steps.step(None).unwrap(), None);
        let answer = steps.generation().unwrap().unwrap();
        assert_eq!((answer.text.as_str(), answer.token_ids.len()), ("ab7 8", 3));
        assert_eq!(model.generate(hello(), &options).unwrap().text, "free");
    }
}

#[test]
fn questions_are_answered_by_who_reads() {
    let _alone = alone();
    let path = script(
        "asks",
        &json!({"quiet": true, "runs": [
            {"ask": [{"tokenize": "héllo", "capacity": 8}, {"embed": [4, 5], "width": 2}], "steps": ["ok"]},
        ]}),
    );
    let config = ModelConfig {
        tokenizer: true,
        embedder: true,
        ..ModelConfig::default()
    };
    let model = Model::open(&runtime("v1_3_1"), path, config).unwrap();
    let mut stream = model.stream(hello(), &GenerateOptions::default()).unwrap();
    let handle = stream.handle().clone();
    let mut asked = Vec::new();
    let text = loop {
        match stream.poll_piece() {
            Poll::Ready((text, _)) => break text.to_owned(),
            Poll::Ended(outcome) => panic!("{outcome:?}"),
            Poll::Nothing => {}
        }
        if let Some(question) = handle.desk().take() {
            assert_eq!(question.run, Some(handle.run()));
            let response = match &question.question {
                Question::Tokenize { text, .. } => Response::Tokens(vec![text.len() as i32]),
                Question::Embed { floats, .. } => Response::Embeddings(vec![1.5; *floats]),
                Question::Logits { row, .. } => Response::Logits(row.clone()),
            };
            handle.desk().answer(question.number, response);
            asked.push(question.question);
        }
        let _ = handle.wait(Duration::from_secs(1));
    };
    assert_eq!(text, "ok");
    assert_eq!(
        asked,
        [
            Question::Tokenize {
                text: "héllo".to_owned(),
                capacity: 8
            },
            Question::Embed {
                tokens: vec![4, 5],
                floats: 4
            },
        ]
    );
    // One who reads without looking at the desk refuses, and the run fails instead of hanging.
    drop(stream);
    let refused = model.generate(hello(), &GenerateOptions::default());
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Generation);
}

#[test]
fn the_example_streams() {
    let model = script(
        "example",
        &json!({"quiet": true, "runs": [{"steps": ["It ", "works."]}]}),
    );
    assert_eq!(example("stream", &model), "It works.\n");
}

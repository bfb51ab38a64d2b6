//! The core without Python, on the fake of every generation, through the real loader.

#![allow(clippy::unwrap_used, reason = "tests say so when they fail")]

mod common;

use std::process::Command;
use std::time::Duration;

use common::{GENERATIONS, alone, fake, hello, open, runtime, script};
use rkllm_rs::{Error, FinishReason, GenerateOptions, Model, ModelConfig, SamplingParams};
use serde_json::json;

#[test]
fn text_comes_joined_on_every_generation() {
    let _alone = alone();
    for generation in GENERATIONS {
        let steps =
            json!(["a", {"bytes": [0xE2], "state": 1}, {"bytes": [0x82, 0xAC]}, {"bytes": [0xF0]}]);
        let model = open(
            generation,
            "joined",
            &json!({"quiet": true, "runs": [{"steps": steps}]}),
        );
        let answer = model
            .generate(hello(), &GenerateOptions::default())
            .unwrap();
        assert_eq!(answer.text, "a€\u{FFFD}", "{generation}");
        assert_eq!(answer.token_ids, [1, 2, 3, 4]);
        assert_eq!(answer.finish_reason, FinishReason::Stop);
        assert_eq!(answer.perf.library.is_some(), generation >= "v1_2_1");
    }
}

#[test]
fn a_dropped_stream_leaves_nothing_for_the_next_answer() {
    let _alone = alone();
    for generation in GENERATIONS {
        let model = open(
            generation,
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
        assert_eq!(answer.text, "new", "{generation}");
    }
}

#[test]
fn a_limit_and_a_deadline_end_a_run_everywhere() {
    let _alone = alone();
    for generation in GENERATIONS {
        let model = open(
            generation,
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
        assert!(
            matches!(*error, Error::Timeout { .. }),
            "{generation}: {error}"
        );
    }
}

#[test]
fn sampling_of_one_call_needs_1_3_0() {
    let _alone = alone();
    for generation in GENERATIONS {
        let model = open(
            generation,
            "sampling",
            &json!({"quiet": true, "runs": [{"steps": ["x"]}]}),
        );
        let sampling = SamplingParams {
            top_k: Some(7),
            ..Default::default()
        };
        let options = GenerateOptions {
            sampling,
            ..Default::default()
        };
        let outcome = model.generate(hello(), &options);
        if generation >= "v1_3_0" {
            assert_eq!(outcome.unwrap().text, "x");
        } else {
            let error = outcome.unwrap_err();
            assert!(error.to_string().contains("1.3.0"), "{generation}: {error}");
        }
    }
}

#[test]
fn errors_carry_the_library_s_words() {
    let _alone = alone();
    for generation in GENERATIONS {
        let words = json!([
            ["stderr", "E rkllm: it broke"],
            ["stdout", "I rkllm: the prompt"]
        ]);
        let model = open(
            generation,
            "words",
            &json!({"quiet": true, "runs": [{"return": -1, "log": words}]}),
        );
        let error = model
            .generate(hello(), &GenerateOptions::default())
            .unwrap_err();
        let Error::Run { log, .. } = &*error else {
            panic!("{error}")
        };
        assert_eq!(log, &["E rkllm: it broke"], "{generation}");
    }
}

#[test]
fn init_that_returns_zero_without_a_handle_has_failed() {
    let _alone = alone();
    for generation in GENERATIONS {
        let path = script(
            &format!("null-{generation}"),
            &json!({"quiet": true, "init": {"null_handle": true}}),
        );
        let outcome = Model::open(&runtime(generation), path, ModelConfig::default());
        assert!(
            matches!(outcome, Err(Error::Init { code: 0, .. })),
            "{generation}"
        );
    }
}

#[test]
fn a_second_model_is_refused_where_it_would_give_wrong_text() {
    let _alone = alone();
    for generation in GENERATIONS {
        let script = json!({"quiet": true, "runs": [{"steps": ["x"]}]});
        let first = open(generation, "first", &script);
        let path = self::script(&format!("second-{generation}"), &script);
        let second = Model::open(&runtime(generation), &path, ModelConfig::default());
        // The fake of v1_2_1 calls itself 1.2.3.
        if generation < "v1_2_1" {
            assert!(
                matches!(second, Err(Error::OneModelOnly { .. })),
                "{generation}"
            );
        } else {
            assert_eq!(
                second
                    .unwrap()
                    .generate(hello(), &GenerateOptions::default())
                    .unwrap()
                    .text,
                "x"
            );
        }
        first.close();
        assert!(Model::open(&runtime(generation), &path, ModelConfig::default()).is_ok());
    }
}

#[test]
fn the_example_streams() {
    let model = script(
        "example",
        &json!({"quiet": true, "runs": [{"steps": ["It ", "works."]}]}),
    );
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "stream", "--"])
        .args([&fake("v1_3_1"), &model])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "It works.\n",
        "{output:?}"
    );
}

//! The core without Python: rows, batches, steps, stop strings and questions, on the fakes.

#![allow(clippy::unwrap_used, reason = "tests say so when they fail")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{GENERATIONS, alone, hello, open, runtime, script};
use rkllm_rs::desk::{Question, Response};
use rkllm_rs::model::{Batch, LoraAdapter};
use rkllm_rs::stream::Poll;
use rkllm_rs::{
    Embeddings, Error, FinishReason, GenerateOptions, Input, Model, ModelConfig, RowsKind,
};
use serde_json::json;

fn tokens(ids: &[i32]) -> Input {
    Input::tokens(ids.to_vec()).unwrap()
}

#[test]
fn rows_come_whole_on_every_generation() {
    let _alone = alone();
    for generation in GENERATIONS {
        let states =
            json!([{"rows": 2, "width": 3, "start": 1.0}, {"rows": 1, "width": 3, "start": 7.0}]);
        let model = open(
            generation,
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
        if generation == "v1_1_0" {
            let error = logits.unwrap_err();
            assert!(
                matches!(*error, Error::UnsupportedFeature { .. }),
                "{error}"
            );
            continue;
        }
        let logits = logits.unwrap();
        assert_eq!((logits.rows(), logits.width()), (2, 4));
        assert_eq!(logits.with(|all| all[6..].to_vec()), [6.5, 7.5]);
        assert_eq!(model.info().vocab_size.map(|known| known.0), Some(4));
    }
}

#[test]
fn embeddings_of_another_width_are_refused_once_the_width_is_known() {
    let model = open(
        "v1_3_1",
        "width",
        &json!({"quiet": true, "hidden": {"rows": 1, "width": 3, "start": 0}, "runs": [{}]}),
    );
    let input = |width| Input::Embeddings(Embeddings::new(vec![0.5; width * 2], width).unwrap());
    let options = GenerateOptions::default();
    model
        .rows(RowsKind::HiddenStates, input(4), &options)
        .unwrap();
    let error = model.stream(input(4), &options).err().unwrap();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    model.generate(input(3), &options).unwrap();
}

#[test]
fn steps_pause_and_take_what_is_sent() {
    for generation in ["v1_2_1", "v1_3_1"] {
        let _alone = alone();
        let model = open(
            generation,
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
        assert!(matches!(busy, Error::Busy(_)), "{busy}");
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
fn abandoned_steps_free_the_model() {
    let model = open(
        "v1_3_1",
        "abandoned",
        &json!({"quiet": true, "runs": [{"steps": ["a", "b", "c"]}, {"steps": ["free"]}]}),
    );
    let options = GenerateOptions::default();
    let mut steps = model.steps(hello(), &options).unwrap();
    assert_eq!(steps.step(None).unwrap().unwrap().text, "a");
    drop(steps);
    assert_eq!(model.generate(hello(), &options).unwrap().text, "free");
}

#[test]
fn rows_of_a_batch_end_at_their_own_time() {
    for generation in ["v1_2_1", "v1_3_1"] {
        let _alone = alone();
        let path = script(
            &format!("batch-{generation}"),
            &json!({"quiet": true, "runs": [{"rows": [["x"], ["1", "2", "STOP", "3"]]}]}),
        );
        let config = ModelConfig {
            n_batch: Some(2),
            ..ModelConfig::default()
        };
        let model = Model::open(&runtime(generation), path, config).unwrap();
        let options = GenerateOptions {
            stop: vec!["STOP".to_owned()],
            ..GenerateOptions::default()
        };
        let batch = Batch::new(vec![hello(), hello()]);
        let answers: Vec<_> = model
            .stream_batch(batch, &options)
            .unwrap()
            .into_iter()
            .map(|stream| stream.into_generation().unwrap())
            .collect();
        assert_eq!(answers[0].text, "x");
        assert_eq!(answers[1].text, "12");
        assert_eq!(answers[1].finish_reason, FinishReason::Stop);
        let one = model.stream(hello(), &options).err().unwrap();
        assert!(matches!(one, Error::InvalidArgument { .. }), "{one}");
    }
}

#[test]
fn no_part_of_a_stop_string_is_delivered() {
    let _alone = alone();
    for generation in GENERATIONS {
        let model = open(
            generation,
            "stop",
            &json!({"quiet": true, "runs": [{"steps": ["a", "E", "N", "x", "EN", "D", "never"]}]}),
        );
        let options = GenerateOptions {
            stop: vec!["END".to_owned()],
            ..GenerateOptions::default()
        };
        let pieces: Vec<String> = model
            .stream(hello(), &options)
            .unwrap()
            .map(|chunk| chunk.unwrap().text)
            .collect();
        assert_eq!(pieces, ["a", "ENx"], "{generation}");
    }
}

#[test]
fn questions_are_answered_by_who_reads() {
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
        match stream.poll() {
            Poll::Ready((text, _)) => break text.to_owned(),
            Poll::Ended(outcome) => panic!("{outcome:?}"),
            Poll::Nothing => {}
        }
        if let Some(question) = handle.desk().take() {
            assert_eq!(question.run, Some(handle.run()));
            let response = match &question.question {
                Question::Tokenize { text, .. } => Response::Tokens(vec![text.len() as i32]),
                Question::Embed { floats, .. } => Response::Embeddings(vec![1.5; *floats]),
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
    assert!(matches!(*refused.unwrap_err(), Error::Run { .. }));
}

#[test]
fn adapters_are_known_by_their_names() {
    let model = open(
        "v1_3_1",
        "lora",
        &json!({"quiet": true, "runs": [{"steps": ["x"]}]}),
    );
    let adapter = LoraAdapter {
        name: "style".to_owned(),
        path: script("adapter", &json!({})),
        scale: 0.5,
    };
    model
        .begin_load_lora(adapter.clone())
        .unwrap()
        .wait_for_ever()
        .unwrap();
    assert_eq!(model.loras().len(), 1);
    assert!(model.begin_load_lora(adapter).is_err());
    let with = |name: &str| GenerateOptions {
        lora: Some(name.to_owned()),
        ..GenerateOptions::default()
    };
    model.generate(hello(), &with("style")).unwrap();
    let error = model.generate(hello(), &with("other")).unwrap_err();
    let text = Arc::clone(&error).to_string();
    assert!(text.contains("style"), "{text}");
}

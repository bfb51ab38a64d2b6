//! Whole runs over a link that turns every message into bytes and back, as a child process will.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::{GenerateOptions, Model, Source as _};
use crate::engine::Outbox;
use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::link::{self, Link};
use crate::protocol::LoraAdapter;
use crate::protocol::config::ModelConfig;
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::input::{Embeddings, Input};
use crate::protocol::message::{Command, Event};
use crate::protocol::output::RowsKind;
use crate::protocol::question::{Question, Response};
use crate::runtime::{LoadOptions, Runtime};

/// The names of the messages that have passed.
type Seen = Arc<Mutex<HashSet<String>>>;

fn note(seen: &Seen, message: &impl std::fmt::Debug) {
    let text = format!("{message:?}");
    let name = text.split([' ', '(', '{']).next().unwrap();
    seen.lock().insert(name.to_owned());
}

struct RecodedLink(Arc<dyn Link>, Seen);

impl Link for RecodedLink {
    fn send(
        &self,
        command: Command,
        lanes: Vec<Arc<dyn Outbox>>,
        side: Side,
    ) -> Result<(), Failure> {
        note(&self.1, &command);
        let bytes = postcard::to_stdvec(&command).unwrap();
        let read: Command = postcard::from_bytes(&bytes).unwrap();
        // As bytes, since not every float equals itself.
        assert_eq!(postcard::to_stdvec(&read).unwrap(), bytes);
        let recoded = |out| Arc::new(RecodedOutbox(out, Arc::clone(&self.1))) as Arc<dyn Outbox>;
        self.0
            .send(read, lanes.into_iter().map(recoded).collect(), side)
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn wait_until_gone(&self, limit: Duration) -> bool {
        self.0.wait_until_gone(limit)
    }
}

struct RecodedOutbox(Arc<dyn Outbox>, Seen);

impl Outbox for RecodedOutbox {
    fn put(&self, event: Event<'_>, side: Side) {
        note(&self.1, &event);
        let bytes = postcard::to_stdvec(&event).unwrap();
        let read: Event<'_> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&read).unwrap(), bytes);
        self.0.put(read, side);
    }

    fn lend(&self, number: u64, block: FloatBlock) {
        self.0.lend(number, block);
    }
}

/// A scripted model behind a link that recodes.
fn open(
    seen: &Seen,
    folder: &Path,
    script: &serde_json::Value,
    config: ModelConfig,
) -> Result<Model, Failure> {
    let fakes = std::env::var_os("RKLLM_RS_FAKES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release"),
        PathBuf::from,
    );
    let runtime = Runtime::load(&LoadOptions {
        library: Some(fakes.join("libfake_rkllm_v1_3_1.so")),
        ..LoadOptions::default()
    })
    .unwrap();
    let path = folder.join("model.rkllm");
    std::fs::write(&path, script.to_string()).unwrap();
    let opening = Model::begin_open_over(&runtime, &path, config, |runtime, path, config, out| {
        let out = Arc::new(RecodedOutbox(out, Arc::clone(seen)));
        let link = link::open(runtime, path, config, out)?;
        Ok(Arc::new(RecodedLink(link, Arc::clone(seen))))
    });
    opening.unwrap().wait(Duration::from_secs(60)).unwrap()
}

fn tokens(ids: &[i32]) -> Input {
    Input::tokens(ids.to_vec()).unwrap()
}

fn hello() -> Input {
    Input::prompt("hello").unwrap()
}

fn runs(model: &Model, folder: &Path) {
    let options = GenerateOptions::default();
    let stopped = GenerateOptions {
        stop: vec!["END".to_owned()],
        ..options.clone()
    };
    let answer = model.generate(hello(), &stopped).unwrap();
    assert_eq!(answer.text, "a€b");
    let rows = model
        .rows(RowsKind::HiddenStates, tokens(&[1, 2]), &options)
        .unwrap();
    assert_eq!(rows.with(<[f32]>::to_vec), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let embeddings = Embeddings::new(vec![f32::NAN, 1.0, 2.0], 3).unwrap();
    let answer = model.generate(Input::Embeddings(embeddings), &options);
    assert_eq!(answer.unwrap().text, "embedded");
    let failed = model.generate(hello(), &options).unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Generation);
    assert_eq!(failed.fields.log, ["E rkllm: it broke"]);
    assert!(failed.hint.is_some());
    let mut steps = model.steps(hello(), &options).unwrap();
    assert_eq!(steps.step(None).unwrap().unwrap().text, "a");
    assert_eq!(steps.step(Some(tokens(&[7]))).unwrap().unwrap().text, "7");
    drop(steps);
    let adapter = LoraAdapter {
        name: "style".to_owned(),
        path: folder.join("style.rkllm"),
        scale: 0.5,
    };
    std::fs::write(&adapter.path, [0; 64]).unwrap();
    let loaded = model.begin_load_lora(adapter).unwrap();
    loaded.wait_for_ever().unwrap();
    assert_eq!(model.loras().len(), 1);
    let mut endless = model.stream(hello(), &options).unwrap();
    assert_eq!(endless.next().unwrap().unwrap().text, "x");
    drop(endless);
    model.close();
}

fn asked(model: &Model) {
    let mut stream = model.stream(hello(), &GenerateOptions::default()).unwrap();
    let handle = stream.handle().clone();
    let text = loop {
        if let Some(answer) = stream.generation() {
            break answer.unwrap().text;
        }
        if let Some(asked) = handle.desk().take() {
            let Question::Tokenize { text, .. } = asked.question else {
                panic!("nobody asks for embeddings")
            };
            let ids = vec![text.len() as i32];
            handle.desk().answer(asked.number, Response::Tokens(ids));
        }
        let _ = handle.wait(Duration::from_secs(1));
    };
    assert_eq!(text, "ok");
    // Nobody answers any more.
    drop(stream);
    let mut left = model.stream(hello(), &GenerateOptions::default()).unwrap();
    while left.handle().desk().take().is_none() {
        let _ = left.handle().wait(Duration::from_secs(1));
    }
    left.handle().cancel();
    assert!(left.generation().is_some());
}

/// Every message.
const ALL: [&str; 19] = [
    "Answer",
    "Ask",
    "Asked",
    "Close",
    "Ended",
    "Gone",
    "Learned",
    "Look",
    "OpenFailed",
    "Opened",
    "Paused",
    "Piece",
    "Replied",
    "Resume",
    "Rows",
    "RowsCome",
    "Run",
    "Stop",
    "Unasked",
];

#[test]
fn every_message_goes_as_bytes() {
    let seen = Seen::default();
    let folder = tempfile::tempdir().unwrap();
    let states = json!([{"rows": 2, "width": 3, "start": 1.0}]);
    let script = json!({"quiet": true, "hidden": states, "runs": [
        {"steps": ["a", {"bytes": [0xE2], "state": 1}, {"bytes": [0x82, 0xAC]}, "bEN", "D and more"]},
        {},
        {"steps": ["embedded"]},
        {"return": -1, "log": [["stderr", "E rkllm: it broke"]]},
        {"steps": ["a"]},
        {"steps": ["7"]},
        {"steps": ["x"], "repeat": 100_000, "delay_ms": 1},
    ]});
    runs(
        &open(&seen, folder.path(), &script, ModelConfig::default()).unwrap(),
        folder.path(),
    );
    let script = json!({"quiet": true, "runs": [
        {"ask": [{"tokenize": "héllo", "capacity": 8}], "steps": ["ok"]},
        {"ask": [{"tokenize": "again", "capacity": 8}], "steps": ["never"]},
    ]});
    let config = ModelConfig {
        tokenizer: true,
        ..ModelConfig::default()
    };
    asked(&open(&seen, folder.path(), &script, config).unwrap());
    let script = json!({"init": {"return": -1, "log": [["stderr", "E rkllm: no"]]}});
    let refused = open(&seen, folder.path(), &script, ModelConfig::default());
    let refused = refused.err().unwrap();
    assert_eq!(refused.fields.function.as_deref(), Some("rkllm_init"));
    assert_eq!(refused.fields.log, ["E rkllm: no"]);
    // What the thread says last comes after the model was dropped.
    for _ in 0..1000 {
        if ALL.iter().all(|name| seen.lock().contains(*name)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let seen = seen.lock();
    let missing: Vec<_> = ALL.iter().filter(|name| !seen.contains(**name)).collect();
    panic!("never sent: {missing:?}");
}

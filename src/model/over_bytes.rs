//! Whole runs over a link that turns every message into bytes and back, as a child process will.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::{GenerateOptions, Model, Source as _, TokenStream};
use crate::engine::Outbox;
use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::link::{self, Link};
use crate::protocol::LoraAdapter;
use crate::protocol::config::ModelConfig;
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::input::{
    CrossAttention, Embeddings, Images, Input, Markers, Multimodal, Rendered,
};
use crate::protocol::message::{Command, Event, Request};
use crate::protocol::output::{Generation, RowsKind};
use crate::protocol::question::{Question, Response};
use crate::protocol::sampling::{Sampler, SamplingParams};
use crate::runtime::{LoadOptions, Runtime};

/// The names of the messages that have passed.
type Seen = Arc<Mutex<HashSet<&'static str>>>;

/// The names of all that passes: what is new has to be given one, and then has to pass.
macro_rules! named {
    ($($function:ident: $type:ident $(<$life:lifetime>)? { $($name:ident)* })*) => {
        $(fn $function(seen: &Seen, message: &$type$(<$life>)?) {
            seen.lock().insert(match message {
                $($type::$name { .. } => concat!(stringify!($type), "::", stringify!($name)),)*
            });
        })*
        const ALL: &[&str] = &[$($(concat!(stringify!($type), "::", stringify!($name)),)*)*];
    };
}

named! {
    note_command: Command { Run Resume Stop Ask Answer Look Close }
    note_event: Event<'_> {
        Opened OpenFailed Settled Piece Likely RowsCome Rows Paused Ended Asked Unasked Learned Replied Working
        Gone
    }
    note_request: Request {
        ClearKvCache ClearKvRanges KvCacheSize HeldTokens LoadLora LoadPromptCache ReleasePromptCache
        SetChatTemplate SetFunctionTools SetCrossAttention Tokenize Detokenize
    }
    note_input: Input { Prompt Rendered Tokens Embeddings Multimodal }
    note_question: Question { Tokenize Embed Logits }
    note_response: Response { Tokens Embeddings Logits Failed }
}

struct RecodedLink(Arc<dyn Link>, Seen);

impl Link for RecodedLink {
    fn send(
        &self,
        command: Command,
        lanes: Vec<Arc<dyn Outbox>>,
        side: Side,
    ) -> Result<(), Failure> {
        note_command(&self.1, &command);
        match &command {
            Command::Run { spec, .. } => {
                for lane in &spec.lanes {
                    note_input(&self.1, &lane.input);
                }
            }
            Command::Resume { input, .. } => note_input(&self.1, input),
            Command::Ask { request, .. } => note_request(&self.1, request),
            Command::Answer { response, .. } => note_response(&self.1, response),
            _ => {}
        }
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
        if let Event::Asked(asked) = &event {
            note_question(&self.1, &asked.question);
        }
        note_event(&self.1, &event);
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
    let stream = model.stream(hello(), &GenerateOptions::default()).unwrap();
    let answer = answered(stream, |question| match question {
        Question::Tokenize { text, .. } => Response::Tokens(vec![text.len() as i32]),
        _ => panic!("nobody asks for embeddings"),
    });
    assert_eq!(answer.unwrap().text, "ok");
    // Nobody answers any more.
    let mut left = model.stream(hello(), &GenerateOptions::default()).unwrap();
    while left.handle().desk().take().is_none() {
        let _ = left.handle().wait(Duration::from_secs(1));
    }
    left.handle().cancel();
    assert!(left.generation().is_some());
}

/// Answers what is asked, as `answer` says, until the run has ended.
fn answered(
    mut stream: TokenStream,
    answer: impl Fn(&Question) -> Response,
) -> Result<Generation, Arc<Failure>> {
    let handle = stream.handle().clone();
    loop {
        if let Some(ended) = stream.generation() {
            return ended;
        }
        if let Some(asked) = handle.desk().take() {
            let response = answer(&asked.question);
            handle.desk().answer(asked.number, response);
        }
        let _ = handle.wait(Duration::from_secs(1));
    }
}

/// Inputs and requests that the other models have no use for.
fn rest(model: &Model, folder: &Path) {
    let options = GenerateOptions::default();
    let images = Images {
        values: [1.0; 4].into(),
        count: 1,
        tokens: 1,
        size: (2, 2),
        markers: Markers::default(),
    };
    let seen = Multimodal::new("<image>", Some(images), None, None).unwrap();
    let answer = model.generate(Input::Multimodal(Box::new(seen)), &options);
    assert_eq!(answer.unwrap().text, "seen");
    let ask = |question: &Question| match question {
        Question::Embed { floats, .. } => Response::Embeddings(vec![0.5; *floats]),
        Question::Logits { row, .. } => Response::Logits(row.clone()),
        Question::Tokenize { .. } => Response::Failed,
    };
    let stream = model.stream(hello(), &options).unwrap();
    assert_eq!(answered(stream, ask).unwrap().text, "embedded");
    let failed = answered(model.stream(hello(), &options).unwrap(), ask).unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Generation);
    let chosen = GenerateOptions {
        sampler: Sampler::Own,
        logprobs: Some(1),
        logits_processor: Some(1),
        max_new_tokens: Some(1),
        sampling: SamplingParams {
            top_k: Some(1),
            ..SamplingParams::default()
        },
        ..options
    };
    let answer = answered(model.stream(hello(), &chosen).unwrap(), ask).unwrap();
    assert_eq!(
        (answer.token_ids, answer.logprobs.unwrap().len()),
        (vec![72], 1)
    );
    // A model that has had one takes no text any more.
    let rendered = Input::Rendered(Rendered::new("<|user|>hello").unwrap());
    let answer = model.generate(rendered, &GenerateOptions::default());
    assert_eq!(answer.unwrap().text, "rendered");
    let path = folder.join("saved.bin");
    std::fs::write(&path, [0; 64]).unwrap();
    let strings = || [c"a".to_owned(), c"b".to_owned(), c"c".to_owned()];
    let shape = [1; 4];
    let encoder = CrossAttention::new(([1.0], shape), ([1.0], shape), [1.0], [0]).unwrap();
    for request in [
        Request::ClearKvCache {
            keep_system_prompt: true,
        },
        Request::KvCacheSize,
        Request::HeldTokens,
        Request::LoadPromptCache {
            path,
            verify: false,
        },
        Request::ReleasePromptCache,
        Request::SetFunctionTools(strings()),
        Request::SetChatTemplate(strings()),
        Request::SetCrossAttention(encoder),
    ] {
        model.ask(request).unwrap().wait_for_ever().unwrap();
    }
    // Without a pause, and of a library that has no such function.
    for request in [
        Request::ClearKvRanges(vec![(0, 1)]),
        Request::Tokenize {
            text: "a".to_owned(),
            leading: true,
        },
        Request::Detokenize {
            ids: vec![1],
            skip_special: true,
        },
    ] {
        model.ask(request).unwrap().wait_for_ever().unwrap_err();
    }
}

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
    let script = json!({"quiet": true, "runs": [
        {"steps": ["seen"]},
        {"ask": [{"embed": [7, 8], "width": 2}], "steps": ["embedded"]},
        {"ask": [{"tokenize": "héllo", "capacity": 8}], "steps": ["never"]},
        {"logits": [{"width": 73}], "no_finish": true},
        {"steps": ["rendered"]},
    ]});
    let tokenizer = json!({"version": "1.0", "added_tokens": [],
        "model": {"type": "BPE", "vocab": {"H": 72, "!": 0}, "merges": []},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}});
    let beside = |name: &str, text: &serde_json::Value| {
        std::fs::write(folder.path().join(name), text.to_string()).unwrap();
    };
    beside("tokenizer.json", &tokenizer);
    beside("generation_config.json", &json!({"eos_token_id": 0}));
    let config = ModelConfig {
        tokenizer: true,
        embedder: true,
        use_cross_attn: Some(true),
        ..ModelConfig::default()
    };
    rest(
        &open(&seen, folder.path(), &script, config).unwrap(),
        folder.path(),
    );
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

//! Beginnings of conversations that are kept in files: loaded where the library does not hold them, and
//! computed by a run of their own where there is no file.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rkllm_digest::{Mark, of_bytes};

use super::{RunLanes, Server};
use crate::engine::outbox::Outbox;
use crate::engine::run::{Plan, RunLane};
use crate::files::prompt_cache::{self, Saving};
use crate::files::prompt_store::Store;
use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::native::Lane as _;
use crate::protocol::Reuse;
use crate::protocol::error::Failure;
use crate::protocol::input::{Beginning, Input, Rendered, c_path};
use crate::protocol::message::{Event, LaneSpec, Limit, RunSpec};

/// What is known of the files.
#[derive(Default)]
pub(super) struct Warm {
    /// The library was given a cache, which it has not been told to release.
    pub(super) is_loaded: bool,
    /// The beginning of what the library computed last.
    holds: Option<u64>,
    model: Option<Mark>,
}

impl Warm {
    /// Something else was computed, or the cache was changed.
    pub(super) fn forget(&mut self) {
        self.holds = None;
    }
}

/// Nobody reads the token of a run that is made for its prompt.
struct Nobody;

impl Outbox for Nobody {
    fn put(&self, _: Event<'_>, _: Side) {}

    fn lend(&self, _: u64, _: FloatBlock) {}
}

impl Server<'_> {
    /// Sees to it that the library holds the beginning of a run that is kept in a file; what the caller should
    /// know of that.
    pub(super) fn warm(&mut self, spec: &mut RunSpec, lanes: &RunLanes) -> Vec<String> {
        let count = spec.lanes.len();
        let beginning = spec
            .lanes
            .first_mut()
            .and_then(|lane| match &mut lane.input {
                Input::Rendered(text) => text.beginning.take(),
                _ => None,
            });
        let Some(beginning) = beginning.filter(|_| !self.model.is_paused()) else {
            self.warm.forget();
            return Vec::new();
        };
        // A loaded cache gains nothing for a run that keeps its history.
        spec.turn = false;
        let warmed = if count == 1 {
            self.warm_from(&beginning, spec, lanes)
        } else {
            Err(Failure::invalid("prompt_cache_dir", "needs n_batch=1"))
        };
        let notes = match warmed {
            Ok(note) => note,
            Err(failure) => Some(failure.text),
        };
        notes.into_iter().collect()
    }

    fn warm_from(
        &mut self,
        beginning: &Beginning,
        spec: &RunSpec,
        lanes: &RunLanes,
    ) -> Result<Option<String>, Failure> {
        let key = self.key(beginning, spec)?;
        if self.warm.holds == Some(key) {
            return Ok(None);
        }
        self.warm.forget();
        let store = Store::open(&beginning.store)?;
        let file = store.file(key);
        let mut note = None;
        if file.exists() {
            // Another process may just write it: then it is not there yet.
            let Some(_loading) = store.lock(false)? else {
                return Ok(None);
            };
            match self.load_kept(&file) {
                Ok(()) => {
                    Store::used(&file);
                    self.warm.holds = Some(key);
                    return Ok(None);
                }
                Err(failure) => note = Some(format!("{}; it was made again", failure.text)),
            }
        }
        let Some(_writing) = store.lock(true)? else {
            return Ok(None);
        };
        Store::remove(&file);
        self.compute(beginning, spec, lanes, &file)?;
        self.warm.holds = Some(key);
        store.shrink();
        if !file.exists() {
            let max = beginning.store.max_bytes;
            note = Some(format!(
                "the prompt cache was not kept: it is larger than prompt_cache_bytes ({max})"
            ));
        }
        Ok(note)
    }

    /// Tells a beginning from all others, of other models, libraries and adapters too.
    fn key(&mut self, beginning: &Beginning, spec: &RunSpec) -> Result<u64, Failure> {
        let model = match self.warm.model {
            Some(mark) => mark,
            None => *self.warm.model.insert(Mark::of(self.path).map_err(|error| {
                Failure::system("cannot read the model for its prompt caches", error)
            })?),
        };
        let maker = serde_json::to_vec(&self.maker()).unwrap_or_default();
        let lora = spec.lora.as_ref().map_or(&[][..], |name| name.as_bytes());
        let parts = [&maker[..], b"\0", lora, b"\0", beginning.text.as_bytes()];
        Ok(parts
            .iter()
            .fold(model.hash, |hash, part| of_bytes(hash, part)))
    }

    fn load_kept(&mut self, file: &Path) -> Result<(), Failure> {
        prompt_cache::verify(file, self.path, &self.maker())?;
        self.held.forget();
        if std::mem::take(&mut self.warm.is_loaded) {
            self.model.release_prompt_cache()?;
        }
        self.model.load_prompt_cache(&c_path("path", file)?)?;
        self.warm.is_loaded = true;
        Ok(())
    }

    /// Computes a beginning alone, in a run of one token, and has the library save it.
    fn compute(
        &mut self,
        beginning: &Beginning,
        spec: &RunSpec,
        lanes: &RunLanes,
        file: &Path,
    ) -> Result<(), Failure> {
        self.held.forget();
        if std::mem::take(&mut self.warm.is_loaded) {
            self.model.release_prompt_cache()?;
        }
        let saving = Saving::to(&c_path("prompt_cache_dir", file)?);
        saving.clear();
        let text = beginning.text.to_string_lossy();
        let mut own = RunSpec {
            lanes: vec![LaneSpec {
                input: Input::Rendered(Rendered::new(&text)?),
                ..spec.lanes[0].clone()
            }],
            save_prompt_cache: saving.part(),
            // As all runs have it of a library that is told the limit at its opening.
            max_new_tokens: spec.max_new_tokens.min(1),
            reuse: Reuse::Off,
            ..spec.clone()
        };
        self.model.settle(&mut own)?;
        self.model.set_reuse(own.reuse);
        // Not the number of the run that it is for: an abort of one must not reach the other.
        let run = lanes[0].run() | 1 << 63;
        let plan = Plan {
            constraint: None,
            choosing: None,
            run,
            limit: Limit {
                tokens: 1,
                by_library: own.max_new_tokens > 0,
            },
            stop: None,
            wants: None,
            stepping: false,
            by_token: false,
            batch: false,
            follows: None,
            submitted: Instant::now(),
            desk: Arc::clone(&self.engine.desk),
            watch: Arc::clone(&self.engine.watch),
        };
        let lane = Arc::new(RunLane::new(Arc::new(plan), 0, Arc::new(Nobody)));
        // What the library asks meanwhile, the reader of the run that comes after it answers.
        let outcome = self.call(
            &own,
            &(Arc::new([Arc::clone(&lane)]) as RunLanes),
            lanes,
            false,
        );
        let lora = spec.lora.as_ref();
        let lora = lora.map(|name| name.to_string_lossy().into_owned());
        // A library that was stopped by us after the token may call that an error.
        let outcome = outcome.map(drop).or_else(|error| {
            let is_stopped = lane.abort_wanted();
            is_stopped.then_some(()).ok_or(error)
        });
        let kept = outcome.and_then(|()| saving.keep(self.path, self.maker(), lora));
        if kept.is_err() {
            saving.clear();
        }
        kept
    }
}

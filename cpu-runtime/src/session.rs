//! What a model keeps between runs: the KV cache, the conversation, the adapters.

mod blocks;
mod cache;
mod generate;
mod input;
mod live;
mod prefill;

pub(crate) use input::{first_tokens, system_tokens};

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rkllm_digest::Mark;
use rkllm_ffi::cpu_table::{LogitsProcessor, PromptFigures};

use self::blocks::BLOCK;
use self::live::Live;
use crate::flag::RunFlag;
use crate::llama::{Adapter, Context, ContextOptions, Model};
use crate::params::Options;

/// Stands in [`Lane::cache`] for a position that came from an embedding.
const EMBEDDING: i32 = -1;

/// A token that was chosen but not computed: the last one of a run that was not paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    token: i32,
    /// The model's end mark.
    ends: bool,
}

/// One lane of the KV cache.
#[derive(Debug, Default)]
struct Lane {
    /// The token at each position.
    cache: Vec<i32>,
    pending: Option<Pending>,
    /// While a run that made tokens is paused: its state.
    held: Option<Live>,
    /// Positions from the start that are what their tokens give. A shift moves what follows to
    /// positions it was not computed at.
    sound: usize,
    /// Where the whole blocks end, of which each was computed at once and behind such: what a prompt takes
    /// that is to be computed as if nothing were held.
    blocks: Vec<usize>,
}

impl Lane {
    fn truncate(&mut self, length: usize) {
        self.cache.truncate(length);
        self.sound_up_to(length);
    }

    /// What follows the first `length` positions is not what its tokens give, or is no more.
    fn sound_up_to(&mut self, length: usize) {
        self.sound = self.sound.min(length);
        self.blocks.retain(|&end| end <= length);
    }

    /// How many of the first `length` positions whole blocks make up.
    fn exact(&self, length: usize) -> usize {
        let ends = self.blocks.iter().rev();
        ends.copied().find(|&end| end <= length).unwrap_or(0)
    }

    /// Lets go of what the run before has left beyond the cache.
    fn forget(&mut self) {
        self.pending = None;
        self.held = None;
    }

    /// Takes down what was computed at once, and whether that is a whole block.
    fn push(&mut self, tokens: &[i32], whole: bool) {
        let length = self.cache.len();
        if self.sound == length {
            self.sound += tokens.len();
        }
        if whole && self.exact(length) == length {
            self.blocks.push(length + tokens.len());
        }
        self.cache.extend_from_slice(tokens);
    }
}

/// An adapter with the scale it was loaded at.
#[derive(Debug)]
struct Loaded {
    adapter: Adapter,
    scale: f32,
    /// Tells it, at this scale, from others.
    digest: u64,
}

/// What goes on after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequel {
    /// The next run stands alone.
    None,
    /// The next run with history continues the conversation.
    Conversation,
    /// The callback has paused the run. The next one, whatever its mode, goes on from the cache, where
    /// what it brings takes the place of the token delivered last.
    Paused,
}

/// What runs may take from the cache in place of computing it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// What cannot change the answer where that is certain, else all that is held.
    #[default]
    Auto,
    Held,
    None,
}

/// What is set for the runs that follow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Following {
    pub(crate) seed: Option<u64>,
    pub(crate) reuse: Reuse,
    /// Who may change the logits.
    pub(crate) processor: Option<LogitsProcessor>,
}

/// Figures of the last run's prompts, for whoever asks meanwhile.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<Vec<PromptFigures>>>);

impl Figures {
    pub(crate) fn get(&self) -> Vec<PromptFigures> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, figures: Vec<PromptFigures>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

/// The state behind a handle, used by one run at a time.
#[derive(Debug)]
pub(crate) struct Session {
    options: Options,
    flag: Arc<RunFlag>,
    model: Arc<Model>,
    lanes: Vec<Lane>,
    sequel: Sequel,
    adapters: HashMap<Vec<u8>, Loaded>,
    /// The adapter that the cache was computed with.
    active: Option<Vec<u8>>,
    cache_loaded: bool,
    pub(crate) figures: Figures,
    // Last, though before the model: llama.cpp frees a context before its adapters.
    context: Context,
}

impl Session {
    /// Makes the context. None if llama.cpp refuses; the reason is in the log.
    pub(crate) fn new(
        model: &Arc<Model>,
        options: Options,
        threads: usize,
        flag: &Arc<RunFlag>,
    ) -> Option<Self> {
        let context = Context::new(
            model,
            ContextOptions {
                length: u32::try_from(options.max_context_len).ok()?,
                batch: BLOCK.max(options.lanes) as u32,
                threads: threads as i32,
                lanes: options.lanes as u32,
            },
            flag,
        )?;
        Some(Self {
            lanes: (0..options.lanes).map(|_| Lane::default()).collect(),
            options,
            flag: Arc::clone(flag),
            model: Arc::clone(model),
            sequel: Sequel::None,
            adapters: HashMap::new(),
            active: None,
            cache_loaded: false,
            figures: Figures::default(),
            context,
        })
    }

    /// Positions in the cache of each lane.
    pub(crate) fn cache_sizes(&self) -> Vec<usize> {
        self.lanes.iter().map(|lane| lane.cache.len()).collect()
    }

    /// Empties the cache, but for a common start with `spared`.
    pub(crate) fn clear(&mut self, spared: &[i32]) {
        for at in 0..self.lanes.len() {
            let keep = common(&self.lanes[at].cache[..self.lanes[at].sound], spared);
            self.cut_back(at, keep);
            self.lanes[at].forget();
        }
        self.sequel = Sequel::None;
        self.cache_loaded &= !spared.is_empty();
    }

    /// Ends a pause and keeps the cache: the next run stands alone, and takes from it what any run may.
    pub(crate) fn end_pause(&mut self) {
        if self.sequel == Sequel::Paused {
            self.lanes.iter_mut().for_each(Lane::forget);
            self.sequel = Sequel::None;
        }
    }

    /// Removes the positions `start..end` of each lane from a paused run.
    pub(crate) fn remove(&mut self, ranges: &[(usize, usize)]) -> Result<(), String> {
        if self.sequel != Sequel::Paused {
            return Err("ranges of the KV cache can be cleared only while a run is paused".into());
        }
        for (lane, &(start, end)) in self.lanes.iter().zip(ranges) {
            if start > end || end > lane.cache.len() {
                return Err(format!(
                    "the range {start}..{end} is not within the KV cache of {}",
                    lane.cache.len()
                ));
            }
        }
        for (at, &(start, end)) in ranges.iter().enumerate() {
            if start == end {
                continue;
            }
            if end == self.lanes[at].cache.len() {
                if !self.context.truncate(at as i32, start) {
                    return Err("ranges cannot be removed from this model's memory".into());
                }
            } else if !self.context.can_shift() || !self.context.cut(at as i32, start, end) {
                return Err("ranges cannot be removed from this model's memory".into());
            }
            let lane = &mut self.lanes[at];
            lane.cache.drain(start..end);
            lane.sound_up_to(start);
        }
        Ok(())
    }

    /// Shortens a lane's cache to `length`, or to nothing where the model cannot do that.
    fn cut_back(&mut self, at: usize, length: usize) {
        if length >= self.lanes[at].cache.len() {
            return;
        }
        if length > 0 && self.context.truncate(at as i32, length) {
            self.lanes[at].truncate(length);
        } else {
            self.context.clear(at as i32);
            self.lanes[at].truncate(0);
        }
    }

    /// Loads an adapter under a name.
    pub(crate) fn load_adapter(
        &mut self,
        name: Vec<u8>,
        path: &CStr,
        scale: f32,
    ) -> Result<(), String> {
        let shown = String::from_utf8_lossy(&name).into_owned();
        if self.adapters.contains_key(&name) {
            return Err(format!("a LoRA adapter named {shown} is already loaded"));
        }
        let failed = |reason: &str| {
            let file = path.to_string_lossy();
            format!("failed to load the LoRA adapter {shown} from {file}: {reason}")
        };
        let file = Path::new(OsStr::from_bytes(path.to_bytes()));
        let content = Mark::of(file).map_err(|e| failed(&e.to_string()))?;
        let adapter = Adapter::load(&self.model, path)
            .ok_or_else(|| failed("it is not a .gguf adapter for this model"))?;
        let loaded = Loaded {
            adapter,
            scale,
            digest: rkllm_digest::of_bytes(content.hash, &scale.to_le_bytes()),
        };
        self.adapters.insert(name, loaded);
        Ok(())
    }

    /// Makes the following decodes use an adapter; what was computed with another one is dropped
    /// unless the run continues it.
    fn select_adapter(&mut self, name: Option<&Vec<u8>>, continues: bool) -> Result<(), String> {
        if self.active.as_ref() == name {
            return Ok(());
        }
        let adapter = match name {
            None => None,
            Some(name) => Some(self.adapters.get(name).ok_or_else(|| {
                format!(
                    "no LoRA adapter named {} is loaded",
                    String::from_utf8_lossy(name)
                )
            })?),
        };
        if !self
            .context
            .use_adapter(adapter.map(|loaded| (&loaded.adapter, loaded.scale)))
        {
            return Err("the LoRA adapter does not fit the model".into());
        }
        self.active = name.cloned();
        for at in 0..self.lanes.len() {
            if continues {
                // Of two adapters: no other prompt may take it for its own.
                self.lanes[at].sound_up_to(0);
            } else {
                self.cut_back(at, 0);
            }
        }
        Ok(())
    }
}

/// How many tokens two texts have in common from the start.
fn common(a: &[i32], b: &[i32]) -> usize {
    a.iter()
        .zip(b)
        .take_while(|(x, y)| x == y && **x != EMBEDDING)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_behind_whole_blocks_are_exact() {
        let state = |lane: &Lane| (lane.sound, lane.exact(lane.cache.len()));
        let mut lane = Lane::default();
        lane.push(&[1; BLOCK], true);
        lane.push(&[2; 30], true);
        lane.push(&[3; 10], false);
        assert_eq!(state(&lane), (BLOCK + 40, BLOCK + 30));
        // Of a run that goes on from there.
        lane.push(&[4; BLOCK], true);
        assert_eq!(state(&lane), (2 * BLOCK + 40, BLOCK + 30));
        assert_eq!((lane.exact(BLOCK + 29), lane.exact(BLOCK - 1)), (BLOCK, 0));
        lane.truncate(BLOCK + 29);
        assert_eq!(state(&lane), (BLOCK + 29, BLOCK));
        lane.push(&[5; 1], false);
        assert_eq!(state(&lane), (BLOCK + 30, BLOCK));
        lane.truncate(BLOCK);
        lane.push(&[6; BLOCK], true);
        assert_eq!(state(&lane), (2 * BLOCK, 2 * BLOCK));
        lane.sound_up_to(0);
        lane.push(&[7; BLOCK], true);
        assert_eq!(state(&lane), (0, 0));
    }
}

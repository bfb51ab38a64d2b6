//! Prompt cache files: the computed start of a context, with what tells whether it fits.
//!
//! llama.cpp's own files say nothing of the model, and one that is damaged can end the process. So
//! theirs is wrapped: a digest of all that follows, then what the cache was made with, then the data.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rkllm_digest::of_bytes;

use super::{EMBEDDING, Session, blocks};

const MAGIC: &[u8; 8] = b"RKLLMPC4";
/// The digest of a cache without adapter.
const NO_ADAPTER: u64 = 0;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
struct Cache {
    model: u64,
    adapter: u64,
    /// Lanes of the context: llama.cpp lays out the cache by them.
    lanes: u32,
    /// How many of the tokens a prompt may take over; see [`super::Lane`].
    exact: u32,
    tokens: Vec<i32>,
    state: Vec<u8>,
}

impl Cache {
    fn write(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(36 + 4 * self.tokens.len() + self.state.len());
        body.extend_from_slice(&self.model.to_le_bytes());
        body.extend_from_slice(&self.adapter.to_le_bytes());
        body.extend_from_slice(&self.lanes.to_le_bytes());
        body.extend_from_slice(&self.exact.to_le_bytes());
        body.extend_from_slice(&(self.tokens.len() as u32).to_le_bytes());
        for token in &self.tokens {
            body.extend_from_slice(&token.to_le_bytes());
        }
        body.extend_from_slice(&self.state);
        let mut file = Vec::with_capacity(16 + body.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&of_bytes(0, &body).to_le_bytes());
        file.extend_from_slice(&body);
        file
    }

    fn read(file: &[u8]) -> Result<Self, &'static str> {
        let rest = file
            .strip_prefix(MAGIC)
            .ok_or("it is not a prompt cache of the CPU runtime")?;
        let damaged = "it is truncated or damaged";
        let (whole, body) = rest.split_first_chunk().ok_or(damaged)?;
        if u64::from_le_bytes(*whole) != of_bytes(0, body) {
            return Err(damaged);
        }
        let (model, rest) = body.split_first_chunk().ok_or(damaged)?;
        let (adapter, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (lanes, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (exact, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (count, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let count = u32::from_le_bytes(*count) as usize;
        let (tokens, state) = rest.split_at_checked(4 * count).ok_or(damaged)?;
        Ok(Self {
            model: u64::from_le_bytes(*model),
            adapter: u64::from_le_bytes(*adapter),
            lanes: u32::from_le_bytes(*lanes),
            exact: u32::from_le_bytes(*exact),
            tokens: tokens
                .chunks_exact(4)
                .map(|four| i32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect(),
            state: state.to_vec(),
        })
    }
}

fn file(path: &CStr) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()))
}

impl Session {
    fn adapter_digest(&self, name: Option<&Vec<u8>>) -> u64 {
        name.and_then(|name| self.adapters.get(name))
            .map_or(NO_ADAPTER, |loaded| loaded.digest)
    }

    /// Writes the first lane's cache to a file.
    pub(super) fn save_cache(&mut self, path: &CStr) -> Result<(), String> {
        let lane = &self.lanes[0];
        if lane.cache.contains(&EMBEDDING) {
            return Err("a prompt cache with embeddings cannot be saved".into());
        }
        if lane.sound < lane.cache.len() {
            return Err("a KV cache with removed ranges, or computed with several adapters, cannot be saved".into());
        }
        let shown = path.to_string_lossy();
        let cache = Cache {
            model: self.model.digest(),
            adapter: self.adapter_digest(self.active.as_ref()),
            lanes: self.lanes.len() as u32,
            exact: lane.exact(lane.cache.len()) as u32,
            tokens: lane.cache.clone(),
            state: self
                .context
                .state(0)
                .ok_or_else(|| format!("failed to write the prompt cache {shown}"))?,
        };
        std::fs::write(file(path), cache.write())
            .map_err(|e| format!("failed to write the prompt cache {shown}: {e}"))
    }

    /// Reads a prompt cache, from which the next prompt takes what it has in common.
    pub(crate) fn load_cache(&mut self, path: &CStr) -> Result<usize, String> {
        if self.cache_loaded {
            return Err("a prompt cache is already loaded; release it first".into());
        }
        let failed = |reason: &dyn std::fmt::Display| {
            let shown = path.to_string_lossy();
            format!("failed to read the prompt cache {shown}: {reason}")
        };
        let bytes = std::fs::read(file(path)).map_err(|e| failed(&e))?;
        let cache = Cache::read(&bytes).map_err(|reason| failed(&reason))?;
        if cache.model != self.model.digest() {
            return Err(failed(&"it was made with another model"));
        }
        if cache.lanes as usize != self.lanes.len() {
            return Err(failed(&format_args!(
                "it was made with n_batch={}, but the model was opened with n_batch={}",
                cache.lanes,
                self.lanes.len()
            )));
        }
        if cache.tokens.len() > self.options.max_context_len {
            return Err(failed(&format_args!(
                "its {} tokens exceed max_context_len {}",
                cache.tokens.len(),
                self.options.max_context_len
            )));
        }
        let adapter = if cache.adapter == NO_ADAPTER {
            None
        } else {
            let found = self
                .adapters
                .iter()
                .find(|(_, loaded)| loaded.digest == cache.adapter);
            let name = found.map(|(name, _)| name.clone());
            Some(name.ok_or_else(|| {
                failed(&"it was made with a LoRA adapter that is not loaded, or at another scale")
            })?)
        };
        self.clear(&[]);
        self.select_adapter(adapter.as_ref(), false)?;
        if !self.context.restore(0, &cache.state) || self.context.used(0) != cache.tokens.len() {
            self.context.clear(0);
            return Err(failed(&"it does not fit the context"));
        }
        let exact = &cache.tokens[..cache.tokens.len().min(cache.exact as usize)];
        let blocks = blocks::ends(exact, |token| self.model.marks(token));
        let lane = &mut self.lanes[0];
        lane.push(&cache.tokens, false);
        lane.blocks = blocks;
        self.cache_loaded = true;
        Ok(cache.tokens.len())
    }

    /// Forgets a loaded prompt cache.
    pub(crate) fn release_cache(&mut self) {
        self.clear(&[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        Cache {
            model: 1,
            adapter: 2,
            lanes: 3,
            exact: 5,
            tokens: vec![4, -1, 6],
            state: vec![7; 33],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Cache::read(&cache().write()), Ok(cache()));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let file = cache().write();
        for length in 0..file.len() {
            assert!(Cache::read(&file[..length]).is_err(), "{length}");
            let mut changed = file.clone();
            changed[length] ^= 0x10;
            assert!(Cache::read(&changed).is_err(), "{length}");
        }
        assert!(Cache::read(b"GGUF").is_err());
    }
}

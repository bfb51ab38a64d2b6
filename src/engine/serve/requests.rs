//! What a model is asked for besides runs: caches, adapters, templates.

use super::Server;
use crate::engine::beside;
use crate::files::prompt_cache;
use crate::host::wake::Side;
use crate::protocol::error::Failure;
use crate::protocol::input::{c_path, c_text};
use crate::protocol::message::{LoraAdapter, Reply, Request, StopReason};

impl Server<'_> {
    /// The library, as far as its prompt caches depend on it.
    pub(super) fn maker(&self) -> prompt_cache::Maker {
        let identity = self.runtime.identity();
        prompt_cache::Maker::new(
            self.runtime.backend(),
            identity.abi.as_str(),
            identity.version.as_deref(),
        )
    }

    /// Answers a request that is no run.
    pub(super) fn answer(&mut self, request: Request) -> Result<Reply, Failure> {
        if request.changes_the_cache() {
            self.held.forget();
            self.warm.forget();
        }
        let model = &mut self.model;
        match request {
            Request::HeldTokens => return Ok(Reply::Numbers(self.held.ids().to_vec())),
            Request::KvCacheSize => return model.kv_cache_size().map(Reply::Numbers),
            Request::Tokenize { .. } | Request::Detokenize { .. } => {
                return beside::answer(&model.words(), request);
            }
            Request::ClearKvCache { keep_system_prompt } => {
                model.clear_kv_cache(keep_system_prompt)?;
                // What was to go on is gone.
                if let Some((_, lanes)) = self.steps.take() {
                    for lane in lanes.iter() {
                        lane.stop(StopReason::Cancelled, Side::Vendor);
                    }
                }
            }
            Request::ClearKvRanges(ranges) => model.clear_kv_range(&ranges)?,
            Request::LoadLora(LoraAdapter { name, path, scale }) => {
                let name = c_text("name", &name)?;
                model.load_lora(&c_path("path", &path)?, &name, scale)?;
            }
            Request::LoadPromptCache { path, verify } => {
                // Here and not where it was asked for: a run before it may just have written the file.
                prompt_cache::check(&path)?;
                if verify {
                    prompt_cache::verify(&path, self.path, &self.maker())?;
                }
                if std::mem::take(&mut self.warm.is_loaded) {
                    self.model.release_prompt_cache()?;
                }
                self.model.load_prompt_cache(&c_path("path", &path)?)?;
            }
            Request::ReleasePromptCache => {
                self.warm.is_loaded = false;
                self.model.release_prompt_cache()?;
            }
            Request::SetChatTemplate(strings) => model.replace_chat_template(&strings)?,
            Request::SetFunctionTools(strings) => model.set_function_tools(&strings)?,
            Request::SetCrossAttention(encoder) => model.set_cross_attention(encoder)?,
        }
        Ok(Reply::Done)
    }
}

//! Calls that do not run the model: caches, adapters, templates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Caller, Keeper, LoraAdapter, Model};
use crate::abi::AbiVersion;
use crate::client::oneshot::Answer;
use crate::engine::desk::DeskHandle;
use crate::engine::{Reply, Request, Template};
use crate::error::Error;
use crate::files::{BackendKind, ModelKind, check_adapter};
use crate::protocol::input::{CrossAttention, c_text};

/// An answer that the model's thread will give.
pub struct Pending {
    answer: Answer<Reply>,
    desk: DeskHandle,
    /// The model stays open for it.
    _keeper: Arc<Keeper>,
}

impl Pending {
    /// Waits, `limit` at most. What has no numbers to give gives an empty list.
    ///
    /// # Errors
    /// What the request met.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Option<Result<Vec<i32>, Error>> {
        self.answer.wait(limit)
    }

    /// A descriptor that becomes readable when [`Pending::wait`] has something; `None` when it has.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&self) -> std::io::Result<Option<std::os::fd::RawFd>> {
        self.answer.arm()
    }

    /// Where the library's questions are answered while this goes on.
    #[must_use]
    pub fn desk(&self) -> DeskHandle {
        self.desk
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What the request met.
    pub fn wait_for_ever(&self) -> Result<Vec<i32>, Error> {
        loop {
            if let Some(answer) = self.wait(Duration::from_secs(3600)) {
                return answer;
            }
        }
    }
}

/// Each call comes as `begin_…`, to be waited for in steps; those that a Rust program calls often come
/// without that as well.
impl Model {
    fn ask(&self, request: Request) -> Result<Pending, Error> {
        self.check()?;
        if !request.fits_a_pause() {
            self.check_steps(None)?;
        }
        Ok(Pending {
            answer: self.shared.ask(request)?,
            desk: self.desk(),
            _keeper: Arc::clone(&self.keeper),
        })
    }

    /// Refuses what would wait for the end of the caller's own steps.
    ///
    /// # Errors
    /// [`Error::Busy`] in the middle of them; `None` stands for the calling thread.
    pub fn check_steps(&self, caller: Option<Caller>) -> Result<(), Error> {
        self.shared.state.check_steps(caller)
    }

    fn able(&self, feature: &str) -> Result<(), Error> {
        self.check()?;
        self.runtime.capabilities().require(feature)
    }

    /// Empties the KV cache (`rkllm_clear_kv_cache`).
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] before 1.2.0, [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_clear_kv_cache")]
    pub fn clear_kv_cache(&self, keep_system_prompt: bool) -> Result<(), Error> {
        self.begin_clear_kv_cache(keep_system_prompt)?
            .wait_for_ever()
            .map(drop)
    }

    /// Tokens in the KV cache, one number for each row of a batch (`rkllm_get_kv_cache_size`).
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] before 1.2.1, [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_get_kv_cache_size")]
    pub fn kv_cache_size(&self) -> Result<Vec<i32>, Error> {
        self.begin_kv_cache_size()?.wait_for_ever()
    }

    /// [`Model::clear_kv_cache`], to be waited for in steps.
    ///
    /// # Errors
    /// As there, as far as they can be known at once.
    pub fn begin_clear_kv_cache(&self, keep_system_prompt: bool) -> Result<Pending, Error> {
        self.able("clear_kv_cache")?;
        self.ask(Request::ClearKvCache { keep_system_prompt })
    }

    /// Removes one range of positions from each row of the KV cache (`rkllm_clear_kv_cache`), between
    /// two steps of [`Model::steps`]. The end of a range is exclusive.
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] before 1.2.1, [`Error::InvalidArgument`] for ranges that are not
    /// in the cache or while nothing is paused, [`Error::Run`] if the library refuses.
    pub fn begin_clear_kv_ranges(&self, ranges: Vec<(i32, i32)>) -> Result<Pending, Error> {
        self.able("kv_cache_range")?;
        self.ask(Request::ClearKvRanges(ranges))
    }

    /// [`Model::kv_cache_size`], to be waited for in steps.
    ///
    /// # Errors
    /// As there, as far as they can be known at once.
    pub fn begin_kv_cache_size(&self) -> Result<Pending, Error> {
        self.able("kv_cache_size")?;
        self.ask(Request::KvCacheSize)
    }

    /// Loads an adapter (`rkllm_load_lora`), to be selected by its name in calls.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a name that is taken or empty, or a scale that is no number;
    /// [`Error::FileMissing`]; [`Error::AdapterFile`] for a file that is no adapter of this kind;
    /// [`Error::Run`] if the library refuses, [`ErrorKind::ModelFormat`](crate::error::ErrorKind) if
    /// the file is why.
    #[doc(alias = "rkllm_load_lora")]
    pub fn begin_load_lora(&self, mut adapter: LoraAdapter) -> Result<Pending, Error> {
        self.able("lora")?;
        if adapter.name.is_empty() {
            let hint = "Give the name that will select it.";
            return Err(Error::invalid_with_hint("name", "it is empty", hint));
        }
        c_text("name", &adapter.name)?;
        if !adapter.scale.is_finite() {
            return Err(Error::invalid_with_hint(
                "scale",
                format!("got {}", adapter.scale),
                "Give a finite number; 1 is the adapter's own strength, 0 switches it off.",
            ));
        }
        adapter.path = absolute("path", &adapter.path)?;
        let kind = match self.runtime.backend() {
            BackendKind::Npu => ModelKind::Rkllm,
            BackendKind::Cpu => ModelKind::Gguf,
        };
        check_adapter(&adapter.path, kind).map_err(|problem| {
            if problem.is_missing() {
                return missing("path", &adapter.path);
            }
            Error::AdapterFile {
                path: adapter.path.clone(),
                problem,
                needed: kind,
            }
        })?;
        self.shared.state.lora_begins(&adapter)?;
        let name = adapter.name.clone();
        let asked = self.ask(Request::LoadLora(adapter));
        if asked.is_err() {
            self.shared.state.lora_loaded(&name, false);
        }
        asked
    }

    /// The adapters that are loaded, in the order of their loading.
    #[must_use]
    pub fn loras(&self) -> Vec<LoraAdapter> {
        self.shared.state.loras()
    }

    /// Loads a prompt cache (`rkllm_load_prompt_cache`): following prompts that begin alike need not
    /// compute that part. With `verify` its side file must say that it is of this model and library.
    ///
    /// # Errors
    /// [`Error::FileMissing`]; [`Error::PromptCache`] for one of another model or library, a damaged
    /// one, or one that nothing is known of; [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_load_prompt_cache")]
    pub fn begin_load_prompt_cache(&self, path: &Path, verify: bool) -> Result<Pending, Error> {
        self.able("prompt_cache")?;
        let path = absolute("path", path)?;
        self.ask(Request::LoadPromptCache { path, verify })
    }

    /// Lets go of the loaded prompt cache (`rkllm_release_prompt_cache`).
    ///
    /// # Errors
    /// [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_release_prompt_cache")]
    pub fn begin_release_prompt_cache(&self) -> Result<Pending, Error> {
        self.able("prompt_cache")?;
        self.ask(Request::ReleasePromptCache)
    }

    /// Replaces the model's chat template (`rkllm_set_chat_template`): a system prompt, and what comes
    /// before and after each user's text. Three empty strings give raw text.
    ///
    /// Releases before 1.2.0 have no templates: there the strings are put around each text by us, and
    /// nothing is left to wait for.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a NUL, [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_set_chat_template")]
    pub fn begin_set_chat_template(
        &self,
        system_prompt: &str,
        prefix: &str,
        postfix: &str,
    ) -> Result<Option<Pending>, Error> {
        self.check()?;
        let strings = [
            c_text("system_prompt", system_prompt)?,
            c_text("prompt_prefix", prefix)?,
            c_text("prompt_postfix", postfix)?,
        ];
        if self.runtime.identity().abi == AbiVersion::V1_1_0 {
            let ours = [system_prompt, prefix, postfix].map(str::to_owned);
            *self.shared.state.template.lock() = Template::Ours(ours);
            return Ok(None);
        }
        self.able("chat_template")?;
        self.ask(Request::SetChatTemplate(strings)).map(Some)
    }

    /// Tells the model which functions it may call (`rkllm_set_function_tools`): a system prompt, the
    /// tools as a JSON list, and the tag that encloses their results.
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] before 1.2.1; [`Error::InvalidArgument`] for what is no JSON list
    /// of objects, or after the chat template has been replaced; [`Error::Run`] if the library
    /// refuses, as it does for models without a template.
    #[doc(alias = "rkllm_set_function_tools")]
    pub fn begin_set_function_tools(
        &self,
        system_prompt: &str,
        tools: &str,
        tool_response_str: &str,
    ) -> Result<Pending, Error> {
        self.able("function_tools")?;
        if *self.shared.state.template.lock() != Template::Model {
            return Err(Error::invalid_with_hint(
                "tools",
                "the model's chat template, which they need, has been replaced",
                "Open the model with template=\"model\", and do not call set_chat_template.",
            ));
        }
        check_tools(tools)?;
        self.ask(Request::SetFunctionTools([
            c_text("system_prompt", system_prompt)?,
            c_text("tools", tools)?,
            c_text("tool_response_str", tool_response_str)?,
        ]))
    }

    /// Hands over an encoder's output (`rkllm_set_cross_attn_params`); it stays until the next one.
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] before 1.2.1, [`Error::InvalidArgument`] if the model was not
    /// opened with `use_cross_attn`, [`Error::Run`] if the library refuses.
    #[doc(alias = "rkllm_set_cross_attn_params")]
    pub fn begin_set_cross_attention(&self, encoder: CrossAttention) -> Result<Pending, Error> {
        self.able("cross_attention")?;
        if !self.effective.use_cross_attn {
            return Err(Error::invalid_with_hint(
                "use_cross_attn",
                "the model was opened without it",
                "Open it with use_cross_attn=True.",
            ));
        }
        self.ask(Request::SetCrossAttention(encoder))
    }

    /// Token ids of a text as it is, no template around it; with `leading` the model's leading token
    /// (BOS) first, if it has one. The CPU runtime only.
    ///
    /// # Errors
    /// [`Error::UnsupportedFeature`] with the vendor's library, whose C API has no tokenizer.
    pub fn begin_tokenize(&self, text: &str, leading: bool) -> Result<Pending, Error> {
        self.able("tokenize")?;
        let text = c_text("text", text)?;
        self.ask(Request::Tokenize { text, leading })
    }
}

fn absolute(what: &'static str, path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path)
        .map_err(|error| Error::invalid(what, format!("{}: {error}", path.display())))
}

fn missing(what: &'static str, path: &Path) -> Error {
    Error::FileMissing {
        what,
        path: path.to_owned(),
    }
}

fn check_tools(tools: &str) -> Result<(), Error> {
    let hint = "Give a list of objects as JSON, such as [{\"type\": \"function\", \"function\": \
                {\"name\": …}}].";
    let list: serde_json::Value = serde_json::from_str(tools)
        .map_err(|error| Error::invalid_with_hint("tools", format!("no JSON: {error}"), hint))?;
    let objects = list
        .as_array()
        .is_some_and(|list| !list.is_empty() && list.iter().all(serde_json::Value::is_object));
    if objects {
        Ok(())
    } else {
        let reason = "no list of objects, or an empty one";
        Err(Error::invalid_with_hint("tools", reason, hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_a_list_of_objects() {
        assert!(check_tools(r#"[{"name": "a"}]"#).is_ok());
        for bad in ["", "{", "{}", "[]", "[1]", "null", "[{}] x"] {
            assert!(check_tools(bad).is_err(), "{bad}");
        }
    }
}

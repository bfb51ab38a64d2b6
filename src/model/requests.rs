//! Calls that do not run the model: caches, adapters, templates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state::Template;
use super::{Caller, LoraAdapter, Model, Pending};
use crate::files::{BackendKind, ModelKind, ModelProblem, check_adapter};
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::input::{CrossAttention, c_text};
use crate::protocol::message::{Reply, Request};

/// Each call comes as `begin_…`, to be waited for in steps; those that a Rust program calls often come
/// without that as well.
impl Model {
    pub(super) fn ask(&self, request: Request) -> Result<Pending, Failure> {
        self.ask_then(request, |_| ())
    }

    /// [`Self::ask`]; `then` sees the answer before whoever waits for it.
    fn ask_then(
        &self,
        request: Request,
        then: impl FnOnce(&Result<Reply, Failure>) + Send + 'static,
    ) -> Result<Pending, Failure> {
        self.check()?;
        if !request.fits_a_pause() {
            self.check_steps(None)?;
        }
        let (number, answer) = self.client.ask(request, then)?;
        Ok(Pending {
            number,
            answer,
            client: Arc::clone(&self.client),
            desk: self.desk(),
            _keeper: Arc::clone(&self.keeper),
        })
    }

    /// Refuses what would wait for the end of the caller's own steps.
    ///
    /// # Errors
    /// `ErrorKind::Busy` in the middle of them; `None` stands for the calling thread.
    pub fn check_steps(&self, caller: Option<Caller>) -> Result<(), Failure> {
        self.state.check_steps(caller)
    }

    fn able(&self, feature: &str) -> Result<(), Failure> {
        self.check()?;
        self.runtime.capabilities().require(feature)
    }

    /// Empties the KV cache (`rkllm_clear_kv_cache`).
    ///
    /// # Errors
    /// `ErrorKind::UnsupportedFeature` before 1.2.0, `ErrorKind::Generation` if the library refuses.
    #[doc(alias = "rkllm_clear_kv_cache")]
    pub fn clear_kv_cache(&self, keep_system_prompt: bool) -> Result<(), Failure> {
        self.begin_clear_kv_cache(keep_system_prompt)?
            .wait_for_ever()
            .map(drop)
    }

    /// Tokens in the KV cache, one number per prompt of a batch (`rkllm_get_kv_cache_size`).
    ///
    /// # Errors
    /// `ErrorKind::UnsupportedFeature` before 1.2.1, `ErrorKind::Generation` if the library refuses.
    #[doc(alias = "rkllm_get_kv_cache_size")]
    pub fn kv_cache_size(&self) -> Result<Vec<i32>, Failure> {
        self.begin_kv_cache_size()?
            .wait_for_ever()
            .map(Reply::numbers)
    }

    /// [`Model::clear_kv_cache`], to be waited for in steps.
    ///
    /// # Errors
    /// As there, as far as they can be known at once.
    pub fn begin_clear_kv_cache(&self, keep_system_prompt: bool) -> Result<Pending, Failure> {
        self.able("clear_kv_cache")?;
        self.ask(Request::ClearKvCache { keep_system_prompt })
    }

    /// Removes one range of positions of each prompt from the KV cache (`rkllm_clear_kv_cache`), between
    /// two steps of [`Model::steps`]. The end of a range is exclusive.
    ///
    /// # Errors
    /// `ErrorKind::UnsupportedFeature` before 1.2.1, `ErrorKind::InvalidArgument` for ranges that are not
    /// in the cache or while nothing is paused, `ErrorKind::Generation` if the library refuses.
    pub fn begin_clear_kv_ranges(&self, ranges: Vec<(i32, i32)>) -> Result<Pending, Failure> {
        self.able("kv_cache_range")?;
        self.ask(Request::ClearKvRanges(ranges))
    }

    /// [`Model::kv_cache_size`], to be waited for in steps.
    ///
    /// # Errors
    /// As there, as far as they can be known at once.
    pub fn begin_kv_cache_size(&self) -> Result<Pending, Failure> {
        self.able("kv_cache_size")?;
        self.ask(Request::KvCacheSize)
    }

    /// Loads an adapter (`rkllm_load_lora`), to be selected by its name in calls.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for a name that is taken or empty, or a scale that is no number;
    /// `ErrorKind::FileMissing`; `ErrorKind::ModelFormat` for a file that is no adapter of this kind;
    /// `ErrorKind::Generation` if the library refuses, `ErrorKind::ModelFormat` if
    /// the file is why.
    #[doc(alias = "rkllm_load_lora")]
    pub fn begin_load_lora(&self, mut adapter: LoraAdapter) -> Result<Pending, Failure> {
        self.able("lora")?;
        if adapter.name.is_empty() {
            let hint = "Pass the name that will select the adapter with lora=.";
            return Err(Failure::invalid_with_hint(
                "name",
                "must not be empty",
                hint,
            ));
        }
        c_text("name", &adapter.name)?;
        if !adapter.scale.is_finite() {
            return Err(Failure::invalid_with_hint(
                "scale",
                format!("must be a finite number, got {}", adapter.scale),
                "Pass 1 for the adapter's full strength, 0 to turn it off.",
            ));
        }
        adapter.path = absolute("path", &adapter.path)?;
        let kind = match self.runtime.backend() {
            BackendKind::Npu => ModelKind::Rkllm,
            BackendKind::Cpu => ModelKind::Gguf,
        };
        check_adapter(&adapter.path, kind).map_err(|problem| {
            if problem.is_missing() {
                return Failure::file_missing("path", &adapter.path);
            }
            unfit_adapter(&adapter.path, &problem, kind)
        })?;
        self.state.lora_begins(&adapter)?;
        let name = adapter.name.clone();
        let state = Arc::clone(&self.state);
        let asked = self.ask_then(Request::LoadLora(adapter.clone()), move |answer| {
            state.lora_loaded(&name, answer.is_ok());
        });
        if asked.is_err() {
            self.state.lora_loaded(&adapter.name, false);
        }
        asked
    }

    /// The adapters that are loaded, in the order of their loading.
    #[must_use]
    pub fn loras(&self) -> Vec<LoraAdapter> {
        self.state.loras()
    }

    /// Loads a prompt cache (`rkllm_load_prompt_cache`): following prompts that begin alike need not
    /// compute that part. With `verify` its side file must say that it is of this model and library.
    ///
    /// # Errors
    /// `ErrorKind::FileMissing`; `ErrorKind::PromptCache` for one of another model or library, a damaged
    /// one, or one that nothing is known of; `ErrorKind::Generation` if the library refuses.
    #[doc(alias = "rkllm_load_prompt_cache")]
    pub fn begin_load_prompt_cache(&self, path: &Path, verify: bool) -> Result<Pending, Failure> {
        self.able("prompt_cache")?;
        let path = absolute("path", path)?;
        self.ask(Request::LoadPromptCache { path, verify })
    }

    /// Lets go of the loaded prompt cache (`rkllm_release_prompt_cache`).
    ///
    /// # Errors
    /// `ErrorKind::Generation` if the library refuses.
    #[doc(alias = "rkllm_release_prompt_cache")]
    pub fn begin_release_prompt_cache(&self) -> Result<Pending, Failure> {
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
    /// `ErrorKind::InvalidArgument` for a NUL, `ErrorKind::Generation` if the library refuses.
    #[doc(alias = "rkllm_set_chat_template")]
    pub fn begin_set_chat_template(
        &self,
        system_prompt: &str,
        prefix: &str,
        postfix: &str,
    ) -> Result<Option<Pending>, Failure> {
        self.check()?;
        let strings = [
            c_text("system_prompt", system_prompt)?,
            c_text("prompt_prefix", prefix)?,
            c_text("prompt_postfix", postfix)?,
        ];
        if !self.runtime.capabilities().has_templates() {
            let ours = [system_prompt, prefix, postfix].map(str::to_owned);
            *self.state.template.lock() = Template::Ours(ours);
            return Ok(None);
        }
        self.able("chat_template")?;
        let state = Arc::clone(&self.state);
        self.ask_then(Request::SetChatTemplate(strings), move |answer| {
            if answer.is_ok() {
                state.template_set();
            }
        })
        .map(Some)
    }

    /// Tells the model which functions it may call (`rkllm_set_function_tools`): a system prompt, the
    /// tools as a JSON list, and the tag that encloses their results.
    ///
    /// # Errors
    /// `ErrorKind::UnsupportedFeature` before 1.2.1; `ErrorKind::InvalidArgument` for what is no JSON list
    /// of objects, or after the chat template has been replaced; `ErrorKind::Generation` if the library
    /// refuses, as it does for models without a template.
    #[doc(alias = "rkllm_set_function_tools")]
    pub fn begin_set_function_tools(
        &self,
        system_prompt: &str,
        tools: &str,
        tool_response_str: &str,
    ) -> Result<Pending, Failure> {
        self.able("function_tools")?;
        if *self.state.template.lock() != Template::Model {
            return Err(Failure::invalid_with_hint(
                "tools",
                "cannot be used after the model's chat template has been replaced",
                "Open the model with template=\"model\", and do not call set_chat_template().",
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
    /// `ErrorKind::UnsupportedFeature` before 1.2.1, `ErrorKind::InvalidArgument` if the model was not
    /// opened with `use_cross_attn`, `ErrorKind::Generation` if the library refuses.
    #[doc(alias = "rkllm_set_cross_attn_params")]
    pub fn begin_set_cross_attention(&self, encoder: CrossAttention) -> Result<Pending, Failure> {
        self.able("cross_attention")?;
        if !self.effective.use_cross_attn {
            return Err(Failure::invalid_with_hint(
                "use_cross_attn",
                "must be set when the model is opened",
                "Open the model with use_cross_attn=True.",
            ));
        }
        self.ask(Request::SetCrossAttention(encoder))
    }

    /// Token ids of a text as it is, no template around it; with `leading` the model's leading token
    /// (BOS) first, if it has one. The CPU runtime only.
    ///
    /// # Errors
    /// `ErrorKind::UnsupportedFeature` with the vendor's library, whose C API has no tokenizer.
    pub fn begin_tokenize(&self, text: &str, leading: bool) -> Result<Pending, Failure> {
        self.able("tokenize")?;
        let text = text.to_owned();
        self.ask(Request::Tokenize { text, leading })
    }

    /// The text of token ids; the bytes of all of them are joined before they become characters. With
    /// `skip_special` without special tokens. The CPU runtime only.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for ids that are negative or not in the vocabulary;
    /// `ErrorKind::UnsupportedFeature` with the vendor's library, or a CPU runtime that is too old.
    pub fn begin_detokenize(&self, ids: Vec<i32>, skip_special: bool) -> Result<Pending, Failure> {
        self.able("tokenize")?;
        let size = self.client.info().vocab_size.map(|(size, _)| size);
        for (at, id) in ids.iter().enumerate() {
            let known = usize::try_from(*id).is_ok_and(|id| size.is_none_or(|size| id < size));
            if !known {
                let range =
                    size.map_or("0 or more".to_owned(), |size| format!("0 to {}", size - 1));
                return Err(Failure::invalid_with_hint(
                    format!("ids[{at}]"),
                    format!("expected {range}, got {id}"),
                    "Use the ids of this model's own tokenizer.",
                ));
            }
        }
        self.ask(Request::Detokenize { ids, skip_special })
    }
}

fn absolute(what: &'static str, path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::invalid(
            what,
            format!("cannot be resolved: {}: {error}", path.display()),
        )
    })
}

fn unfit_adapter(path: &Path, problem: &ModelProblem, needed: ModelKind) -> Failure {
    let hint = match problem {
        ModelProblem::Projector
        | ModelProblem::NotAdapter
        | ModelProblem::LaterPart(..)
        | ModelProblem::Embedding(_) => "Pass the adapter that was made for this model.".to_owned(),
        _ => format!(
            "Pass the adapter as a {} file, converted for this backend.",
            needed.extension()
        ),
    };
    let text = format!("cannot load the adapter {}: {problem}", path.display());
    Failure::new(ErrorKind::ModelFormat, text)
        .with_path(path)
        .with_hint(hint)
}

fn check_tools(tools: &str) -> Result<(), Failure> {
    let hint = "Pass a JSON array such as [{\"type\": \"function\", \"function\": {\"name\": …}}].";
    let list: serde_json::Value = serde_json::from_str(tools).map_err(|error| {
        Failure::invalid_with_hint("tools", format!("must be JSON: {error}"), hint)
    })?;
    let objects = list
        .as_array()
        .is_some_and(|list| !list.is_empty() && list.iter().all(serde_json::Value::is_object));
    if objects {
        Ok(())
    } else {
        let reason = "must be a non-empty JSON array of objects";
        Err(Failure::invalid_with_hint("tools", reason, hint))
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

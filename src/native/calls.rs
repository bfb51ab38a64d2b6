//! The calls on a handle besides runs.

use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::sync::Arc;

use super::handle::{NativeModel, check};
use super::words::Words;
use crate::host;
use crate::protocol::error::{ErrorKind, Failure};
use crate::protocol::input::CrossAttention;
use rkllm_ffi::cpu_table::token_kind;
use rkllm_ffi::shared::functions::SetThreeStrings;
use rkllm_ffi::shared::{RKLLMCrossAttnParam, RKLLMLoraAdapter};
use rkllm_text::constraint::{Kind, Vocabulary};

/// What a CPU runtime from before a member of its table needs to become.
pub(super) const NEWER_CPU_RUNTIME: &str = "a newer CPU runtime (rkllm-rs-cpu)";

/// An optional function of the library; the capability was asked for before, so that it is there.
macro_rules! function {
    ($model:ident, $feature:literal, $name:ident) => {{
        $model.runtime.capabilities().require($feature)?;
        let missing = || Failure::invalid($feature, "the library has no function for it");
        $model.runtime.symbols().$name.ok_or_else(missing)?
    }};
}

impl NativeModel {
    /// `rkllm_clear_kv_cache` of the whole cache, which ends a pause.
    pub(crate) fn clear_kv_cache(&mut self, keep_system_prompt: bool) -> Result<(), Failure> {
        let clear = function!(self, "clear_kv_cache", clear_kv_cache);
        let mark = host::log_mark();
        // SAFETY: live handle, exclusively borrowed; NULL ranges mean the whole cache.
        let code = unsafe {
            clear(
                self.handle,
                c_int::from(keep_system_prompt),
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        check("rkllm_clear_kv_cache", code, mark)?;
        self.paused = false;
        Ok(())
    }

    /// `rkllm_clear_kv_cache` of one range of each lane, while a run is paused.
    pub(crate) fn clear_kv_range(&mut self, ranges: &[(i32, i32)]) -> Result<(), Failure> {
        let clear = function!(self, "kv_cache_range", clear_kv_cache);
        if !self.paused {
            return Err(Failure::invalid_with_hint(
                "ranges",
                "can be cleared only while a run is paused",
                "Clear ranges between the tokens of steps(), or omit ranges to clear the whole KV cache.",
            ));
        }
        let sizes = self.kv_cache_size()?;
        if ranges.len() != sizes.len() {
            return Err(Failure::invalid_with_hint(
                "ranges",
                format!(
                    "must have one (start, end) for each prompt of the batch: expected {}, got {}",
                    sizes.len(),
                    ranges.len()
                ),
                "Pass a list with one pair for each prompt.",
            ));
        }
        for (&(start, end), &size) in ranges.iter().zip(&sizes) {
            if start < 0 || end < start || end > size {
                return Err(Failure::invalid_with_hint(
                    "ranges",
                    format!(
                        "must be within the {size} tokens of the KV cache, got ({start}, {end})"
                    ),
                    "Pass 0 <= start <= end <= kv_cache_size(); end is exclusive.",
                ));
            }
        }
        let (mut starts, mut ends): (Vec<c_int>, Vec<c_int>) = ranges.iter().copied().unzip();
        let mark = host::log_mark();
        // SAFETY: live handle, exclusively borrowed; one number for each lane, as the check above has
        // made sure.
        let code = unsafe { clear(self.handle, 0, starts.as_mut_ptr(), ends.as_mut_ptr()) };
        check("rkllm_clear_kv_cache", code, mark)
    }

    /// Makes sure that the next run stands alone. The vendor's C API has nothing for it but clearing the
    /// whole cache; the CPU runtime ends the pause and keeps what a prompt may reuse.
    pub(crate) fn end_pause(&mut self) {
        if std::mem::take(&mut self.paused) {
            let table = self.runtime.symbols().cpu_table;
            if let Some(end) = table.and_then(|table| table.end_pause) {
                // SAFETY: the table belongs to the library of this live handle, which is in no run.
                if unsafe { end(self.handle) } == 0 {
                    return;
                }
            }
            // A library that refuses has said why in its log; the next run shows whether it matters.
            let _ = self.clear_kv_cache(false);
        }
    }

    /// Whether the next run goes on from a pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the library counts the tokens of prompts itself.
    pub(crate) fn counts_prompts(&self) -> bool {
        let table = self.runtime.symbols().cpu_table;
        table.is_some_and(|table| table.prompt_figures.is_some())
    }

    /// `rkllm_get_kv_cache_size`: tokens in the cache, for each lane.
    pub(crate) fn kv_cache_size(&mut self) -> Result<Vec<i32>, Failure> {
        let get = function!(self, "kv_cache_size", get_kv_cache_size);
        let mark = host::log_mark();
        let mut sizes = vec![0; usize::from(self.effective.n_batch)];
        // SAFETY: live handle, exclusively borrowed; the library writes n_batch numbers, for which
        // there is room.
        let code = unsafe { get(self.handle, sizes.as_mut_ptr()) };
        check("rkllm_get_kv_cache_size", code, mark)?;
        Ok(sizes)
    }

    /// `rkllm_load_lora`.
    pub(crate) fn load_lora(
        &mut self,
        path: &CStr,
        name: &CStr,
        scale: f32,
    ) -> Result<(), Failure> {
        let load = function!(self, "lora", load_lora);
        let mark = host::log_mark();
        let mut adapter = RKLLMLoraAdapter {
            lora_adapter_path: path.as_ptr(),
            lora_adapter_name: name.as_ptr(),
            scale,
        };
        // SAFETY: live handle, exclusively borrowed; struct and strings live for the call.
        let code = unsafe { load(self.handle, &raw mut adapter) };
        check("rkllm_load_lora", code, mark).map_err(|mut error| {
            // Nothing is generated here: what is wrong is the file, unless the lines say otherwise.
            if error.kind == ErrorKind::Generation {
                error.kind = ErrorKind::ModelFormat;
            }
            if error.kind == ErrorKind::ModelFormat {
                return error.with_hint(
                    "Download or convert the adapter again: it is damaged, or was made for another model \
                     or RKLLM release.",
                );
            }
            error
        })
    }

    /// `rkllm_load_prompt_cache`.
    pub(crate) fn load_prompt_cache(&mut self, path: &CStr) -> Result<(), Failure> {
        let load = function!(self, "prompt_cache", load_prompt_cache);
        let mark = host::log_mark();
        // SAFETY: live handle, exclusively borrowed; the string lives for the call.
        let code = unsafe { load(self.handle, path.as_ptr()) };
        check("rkllm_load_prompt_cache", code, mark)
    }

    /// `rkllm_release_prompt_cache`.
    pub(crate) fn release_prompt_cache(&mut self) -> Result<(), Failure> {
        let release = function!(self, "prompt_cache", release_prompt_cache);
        let mark = host::log_mark();
        // SAFETY: live handle, exclusively borrowed.
        let code = unsafe { release(self.handle) };
        check("rkllm_release_prompt_cache", code, mark)
    }

    /// [`Self::set_chat_template`] for all text that is not rendered by us.
    pub(crate) fn replace_chat_template(&mut self, strings: &[CString; 3]) -> Result<(), Failure> {
        self.set_chat_template(strings)?;
        self.template.replace(strings);
        Ok(())
    }

    /// `rkllm_set_chat_template`: system prompt, prefix and postfix.
    pub(super) fn set_chat_template(&mut self, strings: &[CString; 3]) -> Result<(), Failure> {
        let set = function!(self, "chat_template", set_chat_template);
        self.set_strings("rkllm_set_chat_template", set, strings)
    }

    /// `rkllm_set_function_tools`: system prompt, tools and the tag of their results.
    pub(crate) fn set_function_tools(&mut self, strings: &[CString; 3]) -> Result<(), Failure> {
        let set = function!(self, "function_tools", set_function_tools);
        self.set_strings("rkllm_set_function_tools", set, strings)
    }

    fn set_strings(
        &mut self,
        name: &'static str,
        set: SetThreeStrings,
        [first, second, third]: &[CString; 3],
    ) -> Result<(), Failure> {
        let mark = host::log_mark();
        // SAFETY: live handle, exclusively borrowed; the strings live for the call, none is NULL.
        let code = unsafe { set(self.handle, first.as_ptr(), second.as_ptr(), third.as_ptr()) };
        check(name, code, mark)
    }

    /// `rkllm_set_cross_attn_params`. Nobody says whether the library copies, so that the arrays stay
    /// until others take their place, or the model goes.
    pub(crate) fn set_cross_attention(&mut self, encoder: CrossAttention) -> Result<(), Failure> {
        let set = function!(self, "cross_attention", set_cross_attn_params);
        let mark = host::log_mark();
        let mut params = RKLLMCrossAttnParam {
            encoder_k_cache: encoder.k().as_ptr(),
            encoder_v_cache: encoder.v().as_ptr(),
            encoder_mask: encoder.mask().as_ptr(),
            encoder_pos: encoder.positions().as_ptr(),
            // Checked when it was made.
            num_tokens: encoder.num_tokens() as c_int,
        };
        // SAFETY: live handle, exclusively borrowed; the arrays are kept below, the struct lives for
        // the call.
        let code = unsafe { set(self.handle, &raw mut params) };
        check("rkllm_set_cross_attn_params", code, mark)?;
        self.cross_attention = Some(encoder);
        Ok(())
    }

    /// The model's words, for as long as the model is open.
    pub(crate) fn words(&self) -> Words {
        Words {
            runtime: Arc::clone(&self.runtime),
            handle: self.handle,
        }
    }

    /// Whether the library tells the model's tokens.
    pub(crate) fn tells_vocabulary(&self) -> bool {
        let table = self.runtime.symbols().cpu_table;
        table.is_some_and(|table| table.vocabulary.is_some())
    }

    /// Whether a run ends where the model's thinking does.
    pub(crate) fn ends_with_thinking(&self) -> bool {
        self.runtime.capabilities().ends_with_thinking()
    }

    /// The model's tokens, which are asked for once; the CPU runtime only.
    pub(crate) fn vocabulary(&self) -> Result<Arc<Vocabulary>, Failure> {
        if let Some(known) = self.vocabulary.get() {
            return Ok(Arc::clone(known));
        }
        let told = Arc::new(self.told_vocabulary()?);
        Ok(Arc::clone(self.vocabulary.get_or_init(|| told)))
    }

    fn told_vocabulary(&self) -> Result<Vocabulary, Failure> {
        let able = self.runtime.capabilities();
        let missing = || able.lacks("structured_output", NEWER_CPU_RUNTIME);
        let table = self.runtime.symbols().cpu_table;
        let ask = table
            .and_then(|table| table.vocabulary)
            .ok_or_else(missing)?;
        // SAFETY: the table belongs to the library of this live handle; there is as much room as is told.
        let bytes = filled_from(vec![0; PACKED], |bytes: &mut [u8], room| unsafe {
            ask(self.handle, bytes.as_mut_ptr().cast(), room)
        });
        let unreadable = || Failure::of_run("the model's vocabulary cannot be read");
        unpacked(&bytes.unwrap_or_default()).ok_or_else(unreadable)
    }

    /// Why the model's own chat template is not used; only the CPU runtime knows.
    pub(crate) fn template_problem(&self) -> Option<String> {
        let ask = self.runtime.symbols().cpu_table?.template_problem?;
        // SAFETY: the table belongs to the library of this live handle; there is as much room as is told.
        let text = filled(|text: &mut [u8], room| unsafe {
            ask(self.handle, text.as_mut_ptr().cast(), room)
        })?;
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

/// More than the vocabularies of today's models take, packed; the part that is not used is never touched.
const PACKED: usize = 8 << 20;

/// The tokens that [`rkllm_ffi::cpu_table::CpuTable::vocabulary`] has packed.
fn unpacked(mut bytes: &[u8]) -> Option<Vocabulary> {
    let mut vocabulary = Vocabulary::default();
    while let Some((kind, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let kind = match *kind {
            token_kind::TEXT => Kind::Text,
            token_kind::END => Kind::End,
            _ => Kind::Marker,
        };
        vocabulary.push(kind, text);
        bytes = rest;
    }
    Some(vocabulary)
}

/// What a function of the table gives that is asked twice: for the length, and with room for it. `ask` returns
/// the length, negative on error, and writes only what there is room for.
pub(super) fn filled<T: Clone + Default>(
    ask: impl FnMut(&mut [T], c_int) -> c_int,
) -> Option<Vec<T>> {
    filled_from(Vec::new(), ask)
}

/// [`filled`], with room for what is expected: then it is asked once.
fn filled_from<T: Clone + Default>(
    mut values: Vec<T>,
    mut ask: impl FnMut(&mut [T], c_int) -> c_int,
) -> Option<Vec<T>> {
    for _ in 0..2 {
        let room = c_int::try_from(values.len()).unwrap_or(c_int::MAX);
        let length = usize::try_from(ask(&mut values, room)).ok()?;
        if length <= values.len() {
            values.truncate(length);
            break;
        }
        values.resize(length, T::default());
    }
    Some(values)
}

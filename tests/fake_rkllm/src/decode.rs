//! Reads the caller's structs by field name, so that one reader serves every layout.
//!
//! Offsets come from `rkllm_ffi`, which asserts them against the vendor's headers. The types are
//! listed here, by C name; no name has two types in any release.

use std::ffi::{CStr, c_char};
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::AbiVersion;
use crate::ffi::StructLayout;

/// The C type of a field.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    I32,
    U32,
    I8,
    U8,
    Bool,
    F32,
    Usize,
    Text,
    /// Pointer to floats; the field named beside it tells how many there are at least.
    Floats(&'static str),
    /// Pointer to 32-bit ids.
    Ids(&'static str),
    /// Pointer of which only the presence is told.
    Present,
    /// A struct inside.
    Inside(&'static str),
    /// Pointer to a struct, or NULL.
    To(&'static str),
    /// Not read: reserved bytes, and outer names of nested structs.
    Skipped,
}

/// The C type of the field of that name.
pub(crate) fn kind(field: &str) -> Kind {
    match field.rsplit('.').next().unwrap_or(field) {
        "top_p" | "temperature" | "repeat_penalty" | "frequency_penalty" | "presence_penalty"
        | "mirostat_tau" | "mirostat_eta" | "scale" => Kind::F32,
        "base_domain_id" | "max_context_len" | "max_new_tokens" | "top_k" | "n_keep"
        | "mirostat" | "mode" | "keep_history" | "input_type" | "save_prompt_cache"
        | "num_tokens" | "num_npu_core" | "top_logprobs" => Kind::I32,
        "enabled_cpus_mask" => Kind::U32,
        "embed_flash" | "enabled_cpus_num" | "use_cross_attn" => Kind::I8,
        "n_batch" => Kind::U8,
        "skip_special_token" | "ignore_eos_token" | "is_async" | "enable_thinking" | "logprobs"
        | "use_gpu" => Kind::Bool,
        "n_tokens" | "n_image_tokens" | "n_image" | "image_width" | "image_height"
        | "n_frame_tokens" | "n_frame_per_video" | "n_video" | "frame_width" | "frame_height"
        | "n_audio_tokens" | "n_audio" => Kind::Usize,
        "model_path" | "img_start" | "img_end" | "img_content" | "role" | "prompt"
        | "prompt_input" | "image_start" | "image_end" | "image_content" | "video_start"
        | "video_end" | "video_content" | "audio_start" | "audio_end" | "audio_content"
        | "lora_adapter_path" | "lora_adapter_name" | "prompt_cache_path" => Kind::Text,
        "embed" => Kind::Floats("n_tokens"),
        "image_embed" => Kind::Floats("n_image_tokens"),
        "video_embed" => Kind::Floats("n_frame_tokens"),
        "audio_embed" => Kind::Floats("n_audio_tokens"),
        "encoder_mask" | "encoder_k_cache" | "encoder_v_cache" => Kind::Floats("num_tokens"),
        "encoder_pos" => Kind::Ids("num_tokens"),
        "input_ids" => Kind::Ids("n_tokens"),
        "result_callback" | "result_userdata" | "tokenizer_callback" | "tokenizer_userdata"
        | "embed_callback" | "embed_userdata" => Kind::Present,
        "extend_param" => Kind::Inside("RKLLMExtendParam"),
        "embed_input" => Kind::Inside("RKLLMEmbedInput"),
        "token_input" => Kind::Inside("RKLLMTokenInput"),
        "multimodal_input" => Kind::Inside("RKLLMMultiModalInput"),
        "lora_params" => Kind::To("RKLLMLoraParam"),
        "prompt_cache_params" => Kind::To("RKLLMPromptCacheParam"),
        "sampling_params" => Kind::To("RKLLMSamplingParam"),
        _ => Kind::Skipped,
    }
}

/// The union members of `RKLLMInput`, by `input_type`.
const MEMBERS: [&str; 4] = [
    "prompt_input",
    "token_input",
    "embed_input",
    "multimodal_input",
];

/// Floats of a buffer that are recorded at most.
const SHOWN_FLOATS: usize = 64;

/// A struct in the caller's memory.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    base: *const u8,
    layout: &'a StructLayout,
    abi: &'a AbiVersion,
}

impl<'a> View<'a> {
    /// Views `base` as the struct of that name; None for NULL or a name the layout lacks.
    ///
    /// # Safety
    ///
    /// Unless NULL, `base` points to such a struct, filled as the vendor's header asks (strings are
    /// NUL-terminated, counts are true), and it stays so while the view is used.
    pub(crate) unsafe fn new(abi: &'a AbiVersion, name: &str, base: *const u8) -> Option<Self> {
        let layout = abi.layout(name).or_else(|| {
            // Spelled with an e up to 1.2.2.
            let older = (name == "RKLLMMultiModalInput").then_some("RKLLMMultiModelInput");
            abi.layout(older?)
        })?;
        (!base.is_null()).then_some(Self { base, layout, abi })
    }

    fn offset(&self, field: &str) -> Option<usize> {
        let (_, offset) = self.layout.fields.iter().find(|(name, _)| name == field)?;
        Some(*offset)
    }

    fn read<T: Copy>(&self, field: &str) -> Option<T> {
        let offset = self.offset(field)?;
        // SAFETY: the field lies inside the struct that `new` was promised, and every `T` used here
        // (numbers, pointers) is valid for all bit patterns.
        Some(unsafe { self.base.add(offset).cast::<T>().read_unaligned() })
    }

    /// A 32-bit field; None when the struct of this layout has none.
    pub(crate) fn int(&self, field: &str) -> Option<i32> {
        self.read(field)
    }

    /// A byte; None when the struct of this layout has none.
    pub(crate) fn byte(&self, field: &str) -> Option<u8> {
        self.read(field)
    }

    /// A string's bytes; None when absent or NULL.
    pub(crate) fn text(&self, field: &str) -> Option<Vec<u8>> {
        let text: *const c_char = self.read(field)?;
        // SAFETY: the promise to `new` covers the strings that the struct points to.
        unsafe { bytes(text) }
    }

    /// A pointer; None when the struct of this layout has none.
    pub(crate) fn pointer<T>(&self, field: &str) -> Option<*const T> {
        self.read(field)
    }

    /// Whether a pointer field exists and is NULL.
    pub(crate) fn is_null(&self, field: &str) -> bool {
        self.read::<*const u8>(field)
            .is_some_and(<*const u8>::is_null)
    }

    /// A struct that a field points to; None when absent or NULL.
    pub(crate) fn to(&self, field: &str) -> Option<View<'a>> {
        let Kind::To(name) = kind(field) else {
            return None;
        };
        // SAFETY: the promise to `new` covers the structs that this one points to.
        unsafe { View::new(self.abi, name, self.read(field)?) }
    }

    /// A struct inside this one.
    pub(crate) fn inside(&self, field: &str) -> Option<View<'a>> {
        let Kind::Inside(name) = kind(field) else {
            return None;
        };
        let offset = self.offset(field)?;
        // SAFETY: the inner struct lies inside the one that `new` was promised.
        unsafe { View::new(self.abi, name, self.base.add(offset)) }
    }

    /// Ids that a field points to; None when absent or NULL.
    pub(crate) fn ids(&self, field: &str) -> Option<Vec<i32>> {
        let Kind::Ids(count) = kind(field) else {
            return None;
        };
        let ids: *const i32 = self.read(field)?;
        let count = self.count(count);
        // SAFETY: the promise to `new` covers buffers and their counts.
        unsafe { elements(ids, count) }
    }

    fn floats(&self, field: &str, count: &str) -> Option<Vec<f32>> {
        // Nested names carry the outer one: the count of `image.image_embed` is `image.n_image_tokens`.
        let count = match field.rsplit_once('.') {
            Some((outer, _)) => self.count(&format!("{outer}.{count}")),
            None => self.count(count),
        };
        let floats: *const f32 = self.read(field)?;
        let shown = count.min(SHOWN_FLOATS);
        // SAFETY: the promise to `new` covers buffers; each has at least one float for each token.
        unsafe { elements(floats, shown) }
    }

    pub(crate) fn count(&self, field: &str) -> usize {
        match kind(field) {
            Kind::Usize => self.read(field).unwrap_or(0),
            _ => self
                .read::<i32>(field)
                .map_or(0, |count| usize::try_from(count).unwrap_or(0)),
        }
    }

    /// All fields by their C names, and the bytes of the struct as `raw_hex` where `raw`.
    pub(crate) fn json(&self, raw: bool) -> Value {
        let member = self
            .int("input_type")
            .map(|kind| MEMBERS.get(kind as usize).copied());
        let mut fields = Map::new();
        for (name, _) in &self.layout.fields {
            // Of a union, only the member that is filled may be read.
            if MEMBERS.contains(&name.as_str()) && member.flatten() != Some(name) {
                continue;
            }
            let Some(value) = self.value(name) else {
                continue;
            };
            match name.split_once('.') {
                Some((outer, inner)) => {
                    let outer = fields.entry(outer).or_insert_with(|| Map::new().into());
                    if let Value::Object(nested) = outer {
                        nested.insert(inner.to_owned(), value);
                    }
                }
                None => drop(fields.insert(name.clone(), value)),
            }
        }
        if raw {
            fields.insert("raw_hex".to_owned(), self.raw_hex().into());
        }
        fields.into()
    }

    fn value(&self, field: &str) -> Option<Value> {
        Some(match kind(field) {
            Kind::I32 => self.read::<i32>(field)?.into(),
            Kind::U32 => self.read::<u32>(field)?.into(),
            Kind::I8 => self.read::<i8>(field)?.into(),
            Kind::U8 => self.read::<u8>(field)?.into(),
            // A byte that is no C bool is shown as the number it is.
            Kind::Bool => match self.read::<u8>(field)? {
                0 => false.into(),
                1 => true.into(),
                other => other.into(),
            },
            Kind::F32 => float(self.read(field)?),
            Kind::Usize => self.read::<usize>(field)?.into(),
            Kind::Text => self.text(field).map(|bytes| lossy(&bytes)).into(),
            Kind::Floats(count) => self
                .floats(field, count)
                .map(|floats| floats.into_iter().map(float).collect::<Vec<_>>())
                .into(),
            Kind::Ids(_) => self.ids(field).into(),
            Kind::Present => (!self.is_null(field)).into(),
            Kind::Inside(_) => self.inside(field)?.json(false),
            Kind::To(_) => self.to(field).map_or(Value::Null, |view| view.json(false)),
            Kind::Skipped => return None,
        })
    }

    /// Where the struct lies.
    pub(crate) fn address(&self) -> usize {
        self.base.expose_provenance()
    }

    /// Its bytes, in hex.
    pub(crate) fn raw_hex(&self) -> String {
        // SAFETY: the struct that `new` was promised.
        unsafe { hex(self.base, self.layout.size) }
    }

    /// The bytes behind the struct.
    ///
    /// # Safety
    ///
    /// So many are readable there.
    pub(crate) unsafe fn behind(&self, count: usize) -> String {
        // SAFETY: passed on to the caller.
        unsafe { hex(self.base.add(self.layout.size), count) }
    }
}

/// Bytes as hex digits.
///
/// # Safety
///
/// So many bytes are readable.
pub(crate) unsafe fn hex(from: *const u8, count: usize) -> String {
    (0..count).fold(String::new(), |mut text, at| {
        // SAFETY: in bounds by the caller's promise.
        let _ = write!(text, "{:02x}", unsafe { from.add(at).read() });
        text
    })
}

/// Copies a buffer of the caller's; None for NULL.
///
/// # Safety
///
/// Unless NULL, `from` points to `count` readable elements.
unsafe fn elements<T: Copy>(from: *const T, count: usize) -> Option<Vec<T>> {
    if from.is_null() {
        return None;
    }
    // SAFETY: in bounds by the caller's promise. One by one, since nothing promises alignment.
    Some(
        (0..count)
            .map(|at| unsafe { from.add(at).read_unaligned() })
            .collect(),
    )
}

/// The shortest decimal that gives the same float, so that 0.9f is recorded as 0.9.
pub(crate) fn float(value: f32) -> Value {
    value
        .to_string()
        .parse::<f64>()
        .map_or(Value::Null, Value::from)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes of a C string; None for NULL.
///
/// # Safety
///
/// Unless NULL, `text` is NUL-terminated.
pub(crate) unsafe fn bytes(text: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: checked for NULL; terminated by the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// A C string as the record shows it.
///
/// # Safety
///
/// As for [`bytes`].
pub(crate) unsafe fn shown(text: *const c_char) -> Value {
    // SAFETY: passed on.
    unsafe { bytes(text) }.map(|bytes| lossy(&bytes)).into()
}

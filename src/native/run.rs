//! `rkllm_run` of each layout, from one plain description.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use super::slot::Slot;
use crate::abi::AbiVersion;
use crate::library::Symbols;
use crate::protocol::input::{Audios, Images, Input, Markers, Multimodal, Videos};
use crate::protocol::message::RunSpec;
use crate::protocol::output::RowsKind;
use crate::protocol::sampling::Sampling;
use rkllm_ffi::shared::{self, CBool, LLMHandle, infer_mode, input_type};
use rkllm_ffi::{v1_1_0, v1_2_0, v1_2_1, v1_3_0, v1_3_1};

/// Structs for the library with zeroed room behind them, so that a release whose structs have grown
/// finds nothing there, and not what happens to lie in memory.
struct Roomy<T> {
    all: Vec<T>,
}

impl<T> Roomy<T> {
    /// More than any struct has grown from one release to the next.
    const ROOM: usize = 1024;

    /// As many as `count`, all bytes zero.
    ///
    /// # Safety
    /// Zero bytes are a valid `T`.
    unsafe fn zeroed(count: usize) -> Self {
        let room = Self::ROOM.div_ceil(size_of::<T>());
        // SAFETY: the caller's promise.
        let zeroed = || unsafe { std::mem::zeroed() };
        Self {
            all: std::iter::repeat_with(zeroed).take(count + room).collect(),
        }
    }
}

fn text(text: Option<&CString>) -> *const c_char {
    text.map_or(c"".as_ptr(), |text| text.as_ptr())
}

fn embeddings(values: &crate::protocol::input::Embeddings) -> shared::RKLLMEmbedInput {
    shared::RKLLMEmbedInput {
        embed: values.values().as_ptr(),
        n_tokens: values.rows(),
    }
}

/// The images, or none: the library tells that by NULL.
fn images(multimodal: &Multimodal) -> (*const f32, &Images) {
    static NONE: std::sync::LazyLock<Images> = std::sync::LazyLock::new(|| Images {
        values: std::sync::Arc::new([]),
        count: 0,
        tokens: 0,
        size: (0, 0),
        markers: Markers::default(),
    });
    match multimodal.images() {
        Some(images) => (images.values.as_ptr(), images),
        None => (ptr::null(), &NONE),
    }
}

/// The struct of 1.1.x and 1.2.0, whose only image has no size.
trait FromMultimodal {
    fn from_multimodal(multimodal: &Multimodal) -> Self;
}

impl FromMultimodal for v1_1_0::RKLLMMultiModelInput {
    fn from_multimodal(multimodal: &Multimodal) -> Self {
        let (values, images) = images(multimodal);
        Self {
            prompt: multimodal.prompt().as_ptr(),
            image_embed: values,
            n_image_tokens: images.tokens,
        }
    }
}

impl FromMultimodal for shared::RKLLMMultiModelInput {
    fn from_multimodal(multimodal: &Multimodal) -> Self {
        let (values, images) = images(multimodal);
        Self {
            prompt: multimodal.prompt().as_ptr(),
            image_embed: values,
            n_image_tokens: images.tokens,
            n_image: images.count,
            image_width: images.size.0,
            image_height: images.size.1,
        }
    }
}

/// The parts of 1.3.x, whose markers are never NULL.
fn image_part(multimodal: &Multimodal) -> v1_3_0::RKLLMImageInput {
    let (values, images) = images(multimodal);
    v1_3_0::RKLLMImageInput {
        image_embed: values,
        n_image_tokens: images.tokens,
        n_image: images.count,
        image_start: text(images.markers.start.as_ref()),
        image_end: text(images.markers.end.as_ref()),
        image_content: text(images.markers.content.as_ref()),
        image_width: images.size.0,
        image_height: images.size.1,
    }
}

fn video_part(videos: Option<&Videos>) -> v1_3_0::RKLLMVideoInput {
    let count = |of: fn(&Videos) -> usize| videos.map_or(0, of);
    let marker = |of: fn(&Markers) -> &Option<CString>| {
        text(videos.and_then(|videos| of(&videos.markers).as_ref()))
    };
    v1_3_0::RKLLMVideoInput {
        video_embed: videos.map_or(ptr::null(), |videos| videos.values.as_ptr()),
        n_frame_tokens: count(|videos| videos.tokens),
        n_frame_per_video: count(|videos| videos.frames),
        n_video: count(|videos| videos.count),
        video_start: marker(|markers| &markers.start),
        video_end: marker(|markers| &markers.end),
        video_content: marker(|markers| &markers.content),
        frame_width: count(|videos| videos.size.0),
        frame_height: count(|videos| videos.size.1),
    }
}

fn audio_part(audios: Option<&Audios>) -> v1_3_1::RKLLMAudioInput {
    let marker = |of: fn(&Markers) -> &Option<CString>| {
        text(audios.and_then(|audios| of(&audios.markers).as_ref()))
    };
    v1_3_1::RKLLMAudioInput {
        audio_embed: audios.map_or(ptr::null(), |audios| audios.values.as_ptr()),
        n_audio_tokens: audios.map_or(0, |audios| audios.tokens),
        n_audio: audios.map_or(0, |audios| audios.count),
        audio_start: marker(|markers| &markers.start),
        audio_end: marker(|markers| &markers.end),
        audio_content: marker(|markers| &markers.content),
    }
}

impl FromMultimodal for v1_3_0::RKLLMMultiModalInput {
    fn from_multimodal(multimodal: &Multimodal) -> Self {
        Self {
            prompt: multimodal.prompt().as_ptr(),
            image: image_part(multimodal),
            video: video_part(multimodal.videos()),
        }
    }
}

impl FromMultimodal for v1_3_1::RKLLMMultiModalInput {
    fn from_multimodal(multimodal: &Multimodal) -> Self {
        Self {
            prompt: multimodal.prompt().as_ptr(),
            image: image_part(multimodal),
            video: video_part(multimodal.videos()),
            audio: audio_part(multimodal.audios()),
        }
    }
}

/// Fills the parts of an input that all layouts have. Member by member: to write the union as a whole
/// would leave what is behind a short member to chance.
macro_rules! set_input {
    ($input:ident, $lane:ident) => {
        match &$lane.input {
            Input::Prompt(text) => {
                $input.input_type = input_type::PROMPT;
                $input.input.prompt_input = text.as_ptr();
            }
            Input::Rendered(rendered) => {
                $input.input_type = input_type::PROMPT;
                $input.input.prompt_input = rendered.texts[0].as_ptr();
            }
            Input::Tokens(ids) => {
                $input.input_type = input_type::TOKEN;
                $input.input.token_input = shared::RKLLMTokenInput {
                    input_ids: ids.as_ptr(),
                    n_tokens: ids.len(),
                };
            }
            Input::Embeddings(values) => {
                $input.input_type = input_type::EMBED;
                $input.input.embed_input = embeddings(values);
            }
            Input::Multimodal(multimodal) => {
                $input.input_type = input_type::MULTIMODAL;
                $input.input.multimodal_input = FromMultimodal::from_multimodal(multimodal);
            }
        }
    };
}

fn mode(spec: &RunSpec) -> c_int {
    match spec.wants {
        None => infer_mode::GENERATE,
        Some(RowsKind::HiddenStates) => infer_mode::LAST_HIDDEN_LAYER,
        Some(RowsKind::Logits) => infer_mode::LOGITS,
    }
}

macro_rules! run_function {
    ($name:ident, $module:ident, |$input:ident, $lane:ident| { $($set_lane:tt)* }, |$infer:ident, $spec:ident| { $($set:tt)* }) => {
        /// # Safety
        /// As [`run`], for a library of this layout.
        unsafe fn $name(symbols: &Symbols, handle: LLMHandle, $spec: &RunSpec, slot: &Slot) -> c_int {
            use $module::{RKLLMInferParam, RKLLMInput, Run};
            // One struct for each lane: with a batch the library walks over an array (hazard G6).
            // SAFETY: numbers and raw pointers only, for which zero bytes are valid.
            let mut inputs = unsafe { Roomy::<RKLLMInput>::zeroed($spec.lanes.len()) };
            for ($input, $lane) in inputs.all.iter_mut().zip(&$spec.lanes) {
                set_input!($input, $lane);
                $($set_lane)*
            }
            // SAFETY: as above.
            let mut infers = unsafe { Roomy::<RKLLMInferParam>::zeroed(1) };
            let $infer = &mut infers.all[0];
            $infer.mode = mode($spec);
            let lora = $spec.lora.as_ref().map(|name| shared::RKLLMLoraParam {
                lora_adapter_name: name.as_ptr(),
            });
            $infer.lora_params = lora.as_ref().map_or(ptr::null(), ptr::from_ref);
            let cache = $spec.save_prompt_cache.as_ref().map(|path| shared::RKLLMPromptCacheParam {
                save_prompt_cache: 1,
                prompt_cache_path: path.as_ptr(),
            });
            $infer.prompt_cache_params = cache.as_ref().map_or(ptr::null(), ptr::from_ref);
            // Not a block of its own: what the run points to must live until the call is over.
            $($set)*
            // SAFETY: the caller vouches for the layout, whose `rkllm_run` has this shape.
            let run = unsafe { std::mem::transmute::<*mut c_void, Run>(symbols.run.as_ptr()) };
            let userdata = ptr::from_ref(slot).cast_mut().cast::<c_void>();
            // SAFETY: the handle is live (caller); the structs and all they point to live on this
            // stack or in `spec` until run has returned; slots live for ever.
            unsafe { run(handle, inputs.all.as_mut_ptr(), infers.all.as_mut_ptr(), userdata) }
        }
    };
}

run_function!(run_v1_1_0, v1_1_0, |input, lane| {}, |infer, spec| {});
run_function!(run_v1_2_0, v1_2_0, |input, lane| {}, |infer, spec| {
    infer.keep_history = c_int::from(spec.keep_history);
});
run_function!(
    run_v1_2_1,
    v1_2_1,
    |input, lane| {
        input.role = lane.role.as_ptr();
        input.enable_thinking = CBool::from(lane.thinking);
    },
    |infer, spec| {
        infer.keep_history = c_int::from(spec.keep_history);
    }
);

/// 1.3.0 and 1.3.1 differ in the size of the input alone.
macro_rules! run_function_1_3 {
    ($name:ident, $module:ident) => {
        run_function!(
            $name,
            $module,
            |input, lane| {
                input.role = lane.role.as_ptr();
                input.enable_thinking = CBool::from(lane.thinking);
            },
            |infer, spec| {
                infer.keep_history = c_int::from(spec.keep_history);
                infer.max_new_tokens = spec.max_new_tokens;
                let sampling = spec.sampling.map(sampling_struct);
                // NULL means the values of init.
                infer.sampling_params = sampling.as_ref().map_or(ptr::null(), ptr::from_ref);
            }
        );
    };
}

run_function_1_3!(run_v1_3_0, v1_3_0);
run_function_1_3!(run_v1_3_1, v1_3_1);

fn sampling_struct(sampling: Sampling) -> v1_3_0::RKLLMSamplingParam {
    v1_3_0::RKLLMSamplingParam {
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        temperature: sampling.temperature,
        repeat_penalty: sampling.repeat_penalty,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        mirostat: sampling.mirostat,
        mirostat_tau: sampling.mirostat_tau,
        mirostat_eta: sampling.mirostat_eta,
    }
}

/// `rkllm_run` of `abi`.
///
/// # Safety
/// `handle` is live and belongs to a library of that layout with these `symbols`, it was opened
/// for as many lanes as `spec` has, and no other call on it but `rkllm_abort` is under way.
pub(super) unsafe fn run(
    abi: AbiVersion,
    symbols: &Symbols,
    handle: LLMHandle,
    spec: &RunSpec,
    slot: &Slot,
) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match abi {
            AbiVersion::V1_1_0 => run_v1_1_0(symbols, handle, spec, slot),
            AbiVersion::V1_2_0 => run_v1_2_0(symbols, handle, spec, slot),
            AbiVersion::V1_2_1 => run_v1_2_1(symbols, handle, spec, slot),
            AbiVersion::V1_3_0 => run_v1_3_0(symbols, handle, spec, slot),
            AbiVersion::V1_3_1 => run_v1_3_1(symbols, handle, spec, slot),
        }
    }
}

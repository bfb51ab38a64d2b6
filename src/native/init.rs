//! `rkllm_init` of each layout, from the settings of all.

use std::ffi::{CString, c_int, c_void};
use std::ptr::{self, NonNull};

use super::cpus::cpus;
use super::lane::Asker;
use super::{kept, questions, trampoline};
use crate::abi::AbiVersion;
use crate::library::Symbols;
use crate::protocol::config::{Effective, ModelConfig};
use crate::protocol::sampling::{MIN_P_OFF, Sampling, TYPICAL_P_OFF};
use rkllm_ffi::shared::{CBool, LLMHandle};
use rkllm_ffi::{ParamBuffer, v1_1_0, v1_2_0, v1_2_1, v1_3_0};

/// What `rkllm_init` was given. Nobody says what the library copies and until when it looks at the
/// rest, so this is never freed (about 2 KB a model), and never moved nor borrowed mutably once the
/// library has a pointer into it.
#[repr(C)]
struct InitStorage {
    param: ParamBuffer,
    callback: v1_3_0::RKLLMCallback,
    /// Zeroes, for a release that has more callbacks than any known one.
    _room: [u8; 512],
    model_path: CString,
    markers: [Option<CString>; 3],
}

/// What `rkllm_init` gave back.
pub(super) struct Initialised {
    pub(super) code: c_int,
    pub(super) handle: LLMHandle,
    pub(super) effective: Effective,
}

/// Overwrites what the user set; all layouts name these fields alike.
macro_rules! set_common {
    ($param:ident, $config:ident, $storage:ident) => {{
        $param.model_path = $storage.model_path.as_ptr();
        let set = |field: &mut i32, value: Option<i32>| {
            if let Some(value) = value {
                *field = value;
            }
        };
        set(&mut $param.max_context_len, $config.max_context_len);
        if $param.max_context_len <= 0 {
            // A library whose defaults are empty: the vendor's documented value.
            $param.max_context_len = 512;
        }
        set(&mut $param.max_new_tokens, $config.max_new_tokens);
        if $param.max_new_tokens <= 0 {
            $param.max_new_tokens = $param.max_context_len;
        }
        if let Some(skip) = $config.skip_special_token {
            $param.skip_special_token = CBool::from(skip);
        }
        $param.is_async = 0;
        set(
            &mut $param.extend_param.base_domain_id,
            $config.base_domain_id,
        );
        let sampling = $config.sampling.over(&Sampling {
            top_k: $param.top_k,
            top_p: $param.top_p,
            temperature: $param.temperature,
            repeat_penalty: $param.repeat_penalty,
            frequency_penalty: $param.frequency_penalty,
            presence_penalty: $param.presence_penalty,
            mirostat: $param.mirostat,
            mirostat_tau: $param.mirostat_tau,
            mirostat_eta: $param.mirostat_eta,
            // The C API has no fields for these.
            min_p: MIN_P_OFF,
            typical_p: TYPICAL_P_OFF,
        });
        $param.top_k = sampling.top_k;
        $param.top_p = sampling.top_p;
        $param.temperature = sampling.temperature;
        $param.repeat_penalty = sampling.repeat_penalty;
        $param.frequency_penalty = sampling.frequency_penalty;
        $param.presence_penalty = sampling.presence_penalty;
        $param.mirostat = sampling.mirostat;
        $param.mirostat_tau = sampling.mirostat_tau;
        $param.mirostat_eta = sampling.mirostat_eta;
        sampling
    }};
}

/// The image markers, never NULL (hazard N1).
macro_rules! set_markers {
    ($param:ident, $storage:ident) => {
        for (field, marker) in [
            &mut $param.img_start,
            &mut $param.img_end,
            &mut $param.img_content,
        ]
        .into_iter()
        .zip(&$storage.markers)
        {
            match marker {
                Some(marker) => *field = marker.as_ptr(),
                None if field.is_null() => *field = c"".as_ptr(),
                None => {}
            }
        }
    };
}

/// What 1.2.0 brought.
macro_rules! set_cpus {
    ($param:ident, $config:ident) => {
        if let Some(keep) = $config.n_keep {
            $param.n_keep = keep;
        }
        if let Some(flash) = $config.embed_flash {
            $param.extend_param.embed_flash = i8::from(flash);
        }
        let default = (
            $param.extend_param.enabled_cpus_num,
            $param.extend_param.enabled_cpus_mask,
        );
        let available = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let (number, mask) = cpus(
            $config.enabled_cpus_num,
            $config.enabled_cpus_mask,
            default,
            available,
        );
        $param.extend_param.enabled_cpus_num = number;
        $param.extend_param.enabled_cpus_mask = mask;
    };
}

/// What 1.2.1 brought; a zero `n_batch` is refused by the library (hazard V3).
macro_rules! set_batch {
    ($param:ident, $config:ident) => {
        let batch = &mut $param.extend_param.n_batch;
        *batch = $config.n_batch.unwrap_or(*batch).max(1);
        if let Some(cross) = $config.use_cross_attn {
            $param.extend_param.use_cross_attn = i8::from(cross);
        }
    };
}

macro_rules! init_function {
    ($name:ident, $module:ident, $batched:expr, |$param:ident, $config:ident, $storage:ident| $set:block, $callback:expr) => {
        /// # Safety
        /// `symbols` are those of a library of this layout, `defaults` what its
        /// `rkllm_createDefaultParam` wrote.
        unsafe fn $name(
            symbols: &Symbols,
            defaults: &ParamBuffer,
            $config: &ModelConfig,
            storage: NonNull<InitStorage>,
        ) -> Initialised {
            use $module::{Init, RKLLMParam};
            // SAFETY: filled by `init`, and nobody else has the pointer yet; this borrow ends before
            // anything is written.
            let $storage = unsafe { storage.as_ref() };
            // SAFETY: the buffer is larger and stricter aligned than the struct, and the struct
            // holds numbers and raw pointers only, for which any bytes are valid.
            let mut $param = unsafe { ptr::read(ptr::from_ref(defaults).cast::<RKLLMParam>()) };
            let sampling = set_common!($param, $config, $storage);
            $set
            let batched: fn(&RKLLMParam) -> (u8, i8) = $batched;
            let (n_batch, use_cross_attn) = batched(&$param);
            let effective = Effective {
                max_context_len: $param.max_context_len,
                max_new_tokens: $param.max_new_tokens,
                sampling,
                n_batch,
                use_cross_attn: use_cross_attn != 0,
            };
            // SAFETY: as above; the struct moves to where it stays.
            let param = unsafe {
                let place = (&raw mut (*storage.as_ptr()).param).cast::<RKLLMParam>();
                ptr::write(place, $param);
                place
            };
            // SAFETY: the caller vouches for the layout, whose `rkllm_init` has this shape.
            let init = unsafe { std::mem::transmute::<*mut c_void, Init>(symbols.init.as_ptr()) };
            let mut handle: LLMHandle = ptr::null_mut();
            let callback = $callback;
            // SAFETY: all that the arguments point to lives in `storage`, which is never freed;
            // `handle` lives for the call.
            let code = unsafe { init(&raw mut handle, param, callback(storage)) };
            Initialised { code, handle, effective }
        }
    };
}

init_function!(
    init_v1_1_0,
    v1_1_0,
    |_| (1, 0),
    |param, config, storage| {
        set_markers!(param, storage);
    },
    |_| -> v1_1_0::ResultCallback { trampoline::result_v1_1_0 }
);
init_function!(
    init_v1_2_0,
    v1_2_0,
    |_| (1, 0),
    |param, config, storage| {
        set_markers!(param, storage);
        set_cpus!(param, config);
    },
    |_| -> v1_2_0::ResultCallback { trampoline::result_v1_2_0 }
);
init_function!(
    init_v1_2_1,
    v1_2_1,
    |param| (
        param.extend_param.n_batch,
        param.extend_param.use_cross_attn
    ),
    |param, config, storage| {
        set_markers!(param, storage);
        set_cpus!(param, config);
        set_batch!(param, config);
    },
    |_| -> v1_2_1::ResultCallback { trampoline::result_v1_2_1 }
);
init_function!(
    init_v1_3_0,
    v1_3_0,
    |param| (
        param.extend_param.n_batch,
        param.extend_param.use_cross_attn
    ),
    |param, config, storage| {
        set_cpus!(param, config);
        set_batch!(param, config);
        if let Some(ignore) = config.ignore_eos_token {
            param.ignore_eos_token = CBool::from(ignore);
        }
    },
    |storage: NonNull<InitStorage>| -> *mut v1_3_0::RKLLMCallback {
        // SAFETY: inside the storage; no reference is made.
        unsafe { &raw mut (*storage.as_ptr()).callback }
    }
);

/// `rkllm_init` of `abi`.
///
/// # Safety
/// `symbols` are those of a library of that layout, `defaults` what its
/// `rkllm_createDefaultParam` wrote.
pub(super) unsafe fn init(
    abi: AbiVersion,
    symbols: &Symbols,
    defaults: &ParamBuffer,
    model_path: CString,
    config: &ModelConfig,
    asker: &'static Asker,
) -> Initialised {
    let userdata = ptr::from_ref(asker).cast_mut().cast::<c_void>();
    let storage = NonNull::from(kept::for_ever(InitStorage {
        model_path,
        markers: [
            config.img_start.clone(),
            config.img_end.clone(),
            config.img_content.clone(),
        ],
        param: ParamBuffer::zeroed(),
        _room: [0; 512],
        callback: v1_3_0::RKLLMCallback {
            result_callback: Some(trampoline::result_v1_3_0),
            result_userdata: ptr::null_mut(),
            tokenizer_callback: config.tokenizer.then_some(questions::tokenizer),
            tokenizer_userdata: userdata,
            embed_callback: config.embedder.then_some(questions::embedder),
            embed_userdata: userdata,
        },
    }));
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match abi {
            AbiVersion::V1_1_0 => init_v1_1_0(symbols, defaults, config, storage),
            AbiVersion::V1_2_0 => init_v1_2_0(symbols, defaults, config, storage),
            AbiVersion::V1_2_1 => init_v1_2_1(symbols, defaults, config, storage),
            // The structs of init are the same.
            AbiVersion::V1_3_0 | AbiVersion::V1_3_1 => {
                init_v1_3_0(symbols, defaults, config, storage)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::sync::Mutex;

    use super::*;
    use crate::native::Asks;
    use crate::protocol::question::{Question, Response};

    /// Answers nothing.
    struct Silent;

    impl Asks for Silent {
        fn ask(&self, _question: Question) -> Response {
            Response::Failed
        }
        fn problem(&self) -> Option<String> {
            None
        }
    }

    /// What a library keeps that copies nothing.
    static KEPT: Mutex<(usize, usize)> = Mutex::new((0, 0));

    extern "C-unwind" fn keep(
        handle: *mut LLMHandle,
        param: *mut v1_3_0::RKLLMParam,
        callback: *mut v1_3_0::RKLLMCallback,
    ) -> c_int {
        *KEPT.lock().unwrap() = (param.expose_provenance(), callback.expose_provenance());
        // SAFETY: the caller's place for the handle.
        unsafe { handle.write(param.cast()) };
        0
    }

    extern "C-unwind" fn destroy(_: LLMHandle) -> c_int {
        0
    }

    #[test]
    fn what_init_was_given_is_there_when_all_of_ours_is_gone() {
        let function = NonNull::new(keep as *mut c_void).unwrap();
        let symbols = Symbols {
            create_default_param: function,
            init: function,
            run: function,
            destroy,
            abort: None,
            is_running: None,
            load_lora: None,
            load_prompt_cache: None,
            release_prompt_cache: None,
            clear_kv_cache: None,
            set_chat_template: None,
            get_kv_cache_size: None,
            set_function_tools: None,
            set_cross_attn_params: None,
            cpu_table: None,
        };
        let config = ModelConfig {
            max_context_len: Some(64),
            ..ModelConfig::default()
        };
        let path = c"/models/a model.rkllm".to_owned();
        let defaults = ParamBuffer::zeroed();
        // SAFETY: the function has the shape of 1.3.x; zeroes are valid defaults.
        let opened = unsafe {
            let asker = Asker::new(Box::new(Silent));
            init(
                AbiVersion::V1_3_1,
                &symbols,
                &defaults,
                path,
                &config,
                asker,
            )
        };
        assert_eq!(opened.code, 0);
        drop((opened, config, defaults));
        let (param, callback) = *KEPT.lock().unwrap();
        // SAFETY: what was given is never freed, and this is the only borrow.
        let (param, callback) = unsafe {
            (
                &mut *ptr::with_exposed_provenance_mut::<v1_3_0::RKLLMParam>(param),
                &*ptr::with_exposed_provenance::<v1_3_0::RKLLMCallback>(callback),
            )
        };
        // SAFETY: likewise.
        let path = unsafe { CStr::from_ptr(param.model_path) };
        assert_eq!(path, c"/models/a model.rkllm");
        assert_eq!(param.max_context_len, 64);
        assert!(callback.result_callback.is_some() && callback.tokenizer_callback.is_none());
        // A library may write there as well.
        param.max_context_len = 32;
        assert_eq!(param.max_context_len, 32);
    }
}

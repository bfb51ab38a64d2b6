//! The exported functions, as macros: each library invokes the ones that its layout has.
//!
//! `no_mangle` functions are exported only from the crate that is the library, hence macros.

/// Embeds the configuration and runs the ELF constructor.
#[macro_export]
macro_rules! export_config {
    ($config:literal) => {
        // The tag is written nowhere else, so that a search of the file finds the blob only.
        #[used]
        static CONFIG_BLOB: [u8; $crate::config::BLOB_LEN] =
            $crate::config::blob(concat!("FAKE_RKLLM_CONFIG:", $config));

        extern "C" fn constructor() {
            let _ = std::panic::catch_unwind(|| {
                // SAFETY: the static has as many bytes as the function asks for.
                unsafe { $crate::config::constructor((&raw const CONFIG_BLOB).cast()) };
            });
        }

        #[used]
        #[unsafe(link_section = ".init_array")]
        static CONSTRUCTOR: extern "C" fn() = constructor;
    };
}

/// `rkllm_createDefaultParam`.
#[macro_export]
macro_rules! export_defaults {
    ($abi:expr) => {
        /// The hidden pointer to the returned struct is an ordinary first argument here, so that
        /// bytes which are not written stay as the caller had them.
        ///
        /// # Safety
        ///
        /// `out` has room for the struct.
        #[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_createDefaultParam(out: *mut u8) -> *mut u8 {
            // SAFETY: by the caller's promise.
            unsafe { $crate::defaults::create_guarded(&$abi, out) };
            out
        }

        /// The hidden pointer comes in x8 here, which no argument of Rust names. Reading it is all that
        /// this function does before the call, so that nothing can have used the register.
        ///
        /// # Safety
        ///
        /// x8 points to room for the struct, as C's callers see to.
        #[cfg(target_arch = "aarch64")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_createDefaultParam() {
            #[inline(never)]
            unsafe extern "C" fn create_at(out: *mut u8) {
                // SAFETY: by the caller's promise.
                unsafe { $crate::defaults::create_guarded(&$abi, out) };
            }

            let out: *mut u8;
            // SAFETY: the instruction copies a register.
            unsafe {
                std::arch::asm!("mov {}, x8", out(reg) out, options(nomem, nostack, preserves_flags));
            }
            // SAFETY: by the caller's promise.
            unsafe { create_at(out) };
        }
    };
}

/// The functions that 1.1.0 and all later releases have in one shape, and init with a bare callback.
#[macro_export]
macro_rules! export_common {
    ($abi:expr, $module:ident) => {
        use std::ffi::{c_char, c_int, c_void};
        use $crate::ffi::shared::{LLMHandle, RKLLMLoraAdapter};
        use $crate::ffi::$module::{RKLLMInferParam, RKLLMInput, RKLLMParam};

        $crate::export_defaults!($abi);

        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_run(
            handle: LLMHandle,
            input: *mut RKLLMInput,
            infer: *mut RKLLMInferParam,
            userdata: *mut c_void,
        ) -> c_int {
            $crate::guard("rkllm_run", || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::engine::run(handle, input.cast(), infer.cast(), userdata) }
            })
        }

        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_run_async(
            handle: LLMHandle,
            input: *mut RKLLMInput,
            infer: *mut RKLLMInferParam,
            userdata: *mut c_void,
        ) -> c_int {
            $crate::guard("rkllm_run_async", || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::engine::run_async(handle, input.cast(), infer.cast(), userdata) }
            })
        }

        /// Asks the current run to end.
        #[unsafe(no_mangle)]
        pub extern "C" fn rkllm_abort(handle: LLMHandle) -> c_int {
            $crate::guard("rkllm_abort", || $crate::engine::abort(handle))
        }

        /// 1 while a run is under way.
        #[unsafe(no_mangle)]
        pub extern "C" fn rkllm_is_running(handle: LLMHandle) -> c_int {
            $crate::guard("rkllm_is_running", || $crate::engine::is_running(handle))
        }

        /// Ends the life of a handle.
        #[unsafe(no_mangle)]
        pub extern "C" fn rkllm_destroy(handle: LLMHandle) -> c_int {
            $crate::guard("rkllm_destroy", || $crate::engine::destroy(handle))
        }

        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_load_lora(
            handle: LLMHandle,
            adapter: *mut RKLLMLoraAdapter,
        ) -> c_int {
            $crate::guard("rkllm_load_lora", || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::calls::load_lora(handle, adapter.cast()) }
            })
        }

        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_load_prompt_cache(
            handle: LLMHandle,
            path: *const c_char,
        ) -> c_int {
            $crate::guard("rkllm_load_prompt_cache", || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::calls::load_prompt_cache(handle, path) }
            })
        }

        /// Answers as scripted.
        #[unsafe(no_mangle)]
        pub extern "C" fn rkllm_release_prompt_cache(handle: LLMHandle) -> c_int {
            $crate::guard("rkllm_release_prompt_cache", || {
                $crate::calls::release_prompt_cache(handle)
            })
        }
    };
}

/// `rkllm_init` up to 1.2.3: the callback is a bare function.
#[macro_export]
macro_rules! export_init {
    ($abi:expr, $module:ident, $variant:ident) => {
        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_init(
            handle: *mut LLMHandle,
            param: *mut RKLLMParam,
            callback: Option<$crate::ffi::$module::ResultCallback>,
        ) -> c_int {
            $crate::guard("rkllm_init", || {
                let callback = callback.map($crate::engine::Callback::$variant);
                // SAFETY: by the caller's promise.
                unsafe { $crate::engine::init(&$abi, handle, param.cast(), callback.into()) }
            })
        }
    };
}

/// `rkllm_init` from 1.3.0 on: the callbacks are a struct.
#[macro_export]
macro_rules! export_init_since_1_3_0 {
    ($abi:expr, $module:ident) => {
        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_init(
            handle: *mut LLMHandle,
            param: *mut RKLLMParam,
            callback: *mut $crate::ffi::$module::RKLLMCallback,
        ) -> c_int {
            $crate::guard("rkllm_init", || {
                // SAFETY: by the caller's promise.
                unsafe {
                    let callbacks = $crate::engine::Callbacks::from_struct(callback);
                    $crate::engine::init(&$abi, handle, param.cast(), callbacks)
                }
            })
        }
    };
}

/// A function of a handle and three texts.
#[macro_export]
macro_rules! export_three_texts {
    ($name:ident, $call:ident) => {
        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            handle: LLMHandle,
            first: *const c_char,
            second: *const c_char,
            third: *const c_char,
        ) -> c_int {
            $crate::guard(stringify!($name), || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::calls::$call(handle, [first, second, third]) }
            })
        }
    };
}

/// What came with 1.2.1, and `rkllm_clear_kv_cache` as it is since.
#[macro_export]
macro_rules! export_since_1_2_1 {
    () => {
        $crate::export_three_texts!(rkllm_set_chat_template, set_chat_template);
        $crate::export_three_texts!(rkllm_set_function_tools, set_function_tools);

        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_clear_kv_cache(
            handle: LLMHandle,
            keep_system_prompt: c_int,
            start: *mut c_int,
            end: *mut c_int,
        ) -> c_int {
            $crate::guard("rkllm_clear_kv_cache", || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::calls::clear_kv_ranges(handle, keep_system_prompt, start, end) }
            })
        }

        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_get_kv_cache_size(
            handle: LLMHandle,
            sizes: *mut c_int,
        ) -> c_int {
            $crate::guard("rkllm_get_kv_cache_size", || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::calls::get_kv_cache_size(handle, sizes) }
            })
        }

        /// # Safety
        ///
        /// The contract of the vendor's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn rkllm_set_cross_attn_params(
            handle: LLMHandle,
            params: *mut $crate::ffi::shared::RKLLMCrossAttnParam,
        ) -> c_int {
            $crate::guard("rkllm_set_cross_attn_params", || {
                // SAFETY: by the caller's promise.
                unsafe { $crate::calls::set_cross_attn_params(handle, params.cast()) }
            })
        }
    };
}

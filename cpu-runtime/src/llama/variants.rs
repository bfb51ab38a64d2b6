//! ggml's CPU code for several kinds of processor, of which one is chosen when the library starts.
//!
//! They are linked in by `build.rs`: nothing is searched for or loaded at run time.
#![allow(unsafe_code, reason = "calls what scripts/cpu_variants.sh has built")]

use std::ffi::{CStr, c_char};

use llama_cpp_sys_2 as sys;

unsafe extern "C" {
    /// The best variant for this processor, and its name; NULL if none suits.
    fn rkllm_cpu_variant(name: *mut *const c_char) -> sys::ggml_backend_reg_t;
}

/// Gives llama.cpp the variant that it computes with, if one suits this processor.
pub(super) fn register() -> bool {
    let mut name: *const c_char = std::ptr::null();
    // SAFETY: `name` is writable.
    let variant = unsafe { rkllm_cpu_variant(&raw mut name) };
    if variant.is_null() {
        crate::log::error!(
            "this processor lacks instructions that every variant of the library needs"
        );
        return false;
    }
    // SAFETY: a variant that suits comes with its name, a constant text.
    let name = unsafe { CStr::from_ptr(name) };
    if crate::log::level() >= 1 {
        crate::log::info!("CPU code: {}", name.to_string_lossy());
    }
    // SAFETY: a registry entry that lives as long as the process, registered once.
    unsafe { sys::ggml_backend_register(variant) };
    true
}

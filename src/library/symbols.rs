//! The functions of a loaded library.

#![allow(
    unsafe_code,
    reason = "addresses from the dynamic linker become functions here"
)]

use std::ffi::{CString, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::abi::Exports;
use rkllm_ffi::cpu_table::{self, CpuTable, GetTable};
use rkllm_ffi::shared::functions::{
    ClearKvCache, GetKvCacheSize, LoadLora, LoadPromptCache, OnHandle, SetCrossAttnParams,
    SetThreeStrings,
};

/// The functions of one library, which stays loaded to the end of the process.
///
/// Those whose shape depends on the layout are plain addresses.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "the table is the whole C API, used or not")]
pub(crate) struct Symbols {
    /// `rkllm_createDefaultParam`.
    pub(crate) create_default_param: NonNull<c_void>,
    /// `rkllm_init`.
    pub(crate) init: NonNull<c_void>,
    /// `rkllm_run`.
    pub(crate) run: NonNull<c_void>,
    /// `rkllm_destroy`.
    pub(crate) destroy: OnHandle,
    /// `rkllm_abort`.
    pub(crate) abort: Option<OnHandle>,
    /// `rkllm_is_running`.
    pub(crate) is_running: Option<OnHandle>,
    /// `rkllm_load_lora`.
    pub(crate) load_lora: Option<LoadLora>,
    /// `rkllm_load_prompt_cache`.
    pub(crate) load_prompt_cache: Option<LoadPromptCache>,
    /// `rkllm_release_prompt_cache`.
    pub(crate) release_prompt_cache: Option<OnHandle>,
    /// `rkllm_clear_kv_cache`.
    pub(crate) clear_kv_cache: Option<ClearKvCache>,
    /// `rkllm_set_chat_template`.
    pub(crate) set_chat_template: Option<SetThreeStrings>,
    /// `rkllm_get_kv_cache_size`.
    pub(crate) get_kv_cache_size: Option<GetKvCacheSize>,
    /// `rkllm_set_function_tools`.
    pub(crate) set_function_tools: Option<SetThreeStrings>,
    /// `rkllm_set_cross_attn_params`.
    pub(crate) set_cross_attn_params: Option<SetCrossAttnParams>,
    /// What the CPU runtime tells beyond the C API.
    pub(crate) cpu_table: Option<CpuTable>,
}

// SAFETY: the fields are addresses of code and constants in a library that is never unloaded; the
// addresses themselves may be used from any thread. What may be called when is the callers' business.
unsafe impl Send for Symbols {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Symbols {}

/// A library that the dynamic linker has loaded for good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handle(NonNull<c_void>);

// SAFETY: dlsym may be called with a handle from any thread, and this one is never closed.
unsafe impl Send for Handle {}

impl Handle {
    /// Wraps what `dlopen` returned; the caller never closes it.
    pub(super) fn new(raw: NonNull<c_void>) -> Self {
        Self(raw)
    }

    /// The address of an exported symbol.
    pub(super) fn address(self, name: &str) -> Option<NonNull<c_void>> {
        let name = CString::new(name).ok()?;
        // SAFETY: the handle came from dlopen and is never closed; the name ends with NUL and
        // outlives the call.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }

    /// Which documented functions are exported.
    pub(super) fn exports(self) -> Exports {
        Exports::collect(|name| self.address(name).is_some())
    }

    /// Whether the CPU runtime's table is exported.
    pub(super) fn has_cpu_table(self) -> bool {
        self.address(cpu_table::SYMBOL).is_some()
    }
}

/// The function at `name`, as the type that the place of use asks for.
///
/// # Safety
///
/// `F` must be a function pointer type of that function's C shape.
unsafe fn function<F: Copy>(handle: Handle, name: &str) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let address = handle.address(name)?;
    // SAFETY: both are one pointer wide (asserted above), the address is not null, and the caller
    // vouches for the shape.
    Some(unsafe { std::mem::transmute_copy::<NonNull<c_void>, F>(&address) })
}

const REQUIRED: [&str; 4] = [
    "rkllm_createDefaultParam",
    "rkllm_init",
    "rkllm_run",
    "rkllm_destroy",
];

/// The functions of every release that this library does not export.
pub(super) fn missing(handle: Handle) -> Vec<&'static str> {
    REQUIRED
        .into_iter()
        .filter(|name| handle.address(name).is_none())
        .collect()
}

/// Collects the functions; the error lists the required ones that are missing.
///
/// The types of [`rkllm_ffi::shared::functions`] hold for every layout that
/// [`crate::abi::decide`] accepts: call this after it.
pub(super) fn collect(handle: Handle) -> Result<Symbols, Vec<&'static str>> {
    let missing = || missing(handle);
    let address = |name| handle.address(name).ok_or_else(missing);
    // SAFETY: each name is asked for with the type that the vendor's headers give it, which
    // `ffi::shared::functions` states and which all supported layouts share.
    unsafe {
        Ok(Symbols {
            create_default_param: address("rkllm_createDefaultParam")?,
            init: address("rkllm_init")?,
            run: address("rkllm_run")?,
            destroy: function(handle, "rkllm_destroy").ok_or_else(missing)?,
            abort: function(handle, "rkllm_abort"),
            is_running: function(handle, "rkllm_is_running"),
            load_lora: function(handle, "rkllm_load_lora"),
            load_prompt_cache: function(handle, "rkllm_load_prompt_cache"),
            release_prompt_cache: function(handle, "rkllm_release_prompt_cache"),
            clear_kv_cache: function(handle, "rkllm_clear_kv_cache"),
            set_chat_template: function(handle, "rkllm_set_chat_template"),
            get_kv_cache_size: function(handle, "rkllm_get_kv_cache_size"),
            set_function_tools: function(handle, "rkllm_set_function_tools"),
            set_cross_attn_params: function(handle, "rkllm_set_cross_attn_params"),
            cpu_table: table(handle),
        })
    }
}

/// The CPU runtime's table, when it serves our version: members it came too early for are None.
pub(super) fn table(handle: Handle) -> Option<CpuTable> {
    // SAFETY: the symbol bears this project's name and has this type in every version.
    let get: GetTable = unsafe { function(handle, cpu_table::SYMBOL) }?;
    // SAFETY: the function takes any version and answers NULL to those it cannot serve.
    let table = unsafe { get(cpu_table::VERSION) };
    // SAFETY: NULL or a constant of the library, which is never unloaded.
    unsafe { copied(table) }
}

/// As much of a table as its `size` says.
///
/// # Safety
///
/// `table` is NULL or points to a table that is as long as it says.
unsafe fn copied(table: *const CpuTable) -> Option<CpuTable> {
    if table.is_null() || !table.is_aligned() {
        return None;
    }
    // SAFETY: every table begins with two u32; they are read alone first, since an older one may be
    // shorter.
    let [version, size] = unsafe { table.cast::<[u32; 2]>().read() };
    let there = match size as usize {
        size if size >= size_of::<CpuTable>() => size_of::<CpuTable>(),
        // Only whole members, each of which is a function, stand behind the least.
        size if size >= cpu_table::LEAST_SIZE => size - size % align_of::<CpuTable>(),
        _ => return None,
    };
    if version != cpu_table::VERSION {
        return None;
    }
    let mut own = MaybeUninit::<CpuTable>::zeroed();
    // SAFETY: the library has at least `there` bytes, and `own` has room for them. What they leave
    // zero is an optional function: None.
    unsafe {
        table
            .cast::<u8>()
            .copy_to_nonoverlapping(own.as_mut_ptr().cast(), there);
        Some(own.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{c_char, c_int};

    use super::*;
    use rkllm_ffi::shared::LLMHandle;

    unsafe extern "C" fn count(
        _: LLMHandle,
        _: *const c_char,
        _: usize,
        _: *const c_char,
    ) -> c_int {
        5
    }

    unsafe extern "C" fn number(_: LLMHandle) -> c_int {
        7
    }

    unsafe extern "C" fn seed(_: LLMHandle, _: c_int, _: u64) -> c_int {
        0
    }

    unsafe extern "C" fn tokenize(
        _: LLMHandle,
        _: *const c_char,
        _: usize,
        _: c_int,
        _: *mut i32,
        _: c_int,
    ) -> c_int {
        9
    }

    unsafe extern "C" fn problem(_: LLMHandle, _: *mut c_char, _: c_int) -> c_int {
        0
    }

    unsafe extern "C" fn detokenize(
        _: LLMHandle,
        _: *const i32,
        _: usize,
        _: c_int,
        _: *mut c_char,
        _: c_int,
    ) -> c_int {
        0
    }

    fn of(version: u32, size: usize) -> Option<CpuTable> {
        unsafe extern "C" fn reuse(_: LLMHandle, _: c_int) -> c_int {
            0
        }
        unsafe extern "C" fn figures(
            _: LLMHandle,
            _: *mut cpu_table::PromptFigures,
            _: c_int,
        ) -> c_int {
            0
        }
        let table = CpuTable {
            version,
            size: size as u32,
            count_tokens: count,
            vocab_size: number,
            embd_size: number,
            context_limit: number,
            set_seed: seed,
            tokenize: Some(tokenize),
            template_problem: Some(problem),
            detokenize: Some(detokenize),
            end_pause: Some(number),
            set_reuse: Some(reuse),
            prompt_figures: Some(figures),
            vocabulary: None,
            set_logits_processor: None,
        };
        // SAFETY: the table is at least as long as it says here, however long that is.
        unsafe { copied(&raw const table) }
    }

    #[test]
    fn a_table_from_before_a_member_serves_without_it() {
        let whole = of(cpu_table::VERSION, size_of::<CpuTable>()).expect("whole");
        assert!(whole.tokenize.is_some());
        let longer = of(cpu_table::VERSION, size_of::<CpuTable>() + 64).expect("longer");
        assert!(longer.tokenize.is_some());
        let older = of(cpu_table::VERSION, cpu_table::LEAST_SIZE).expect("older");
        assert!(older.tokenize.is_none());
        let before = std::mem::offset_of!(CpuTable, template_problem);
        let between = of(cpu_table::VERSION, before).expect("between");
        assert!(between.tokenize.is_some() && between.template_problem.is_none());
        assert!(whole.detokenize.is_some() && whole.prompt_figures.is_some());
        assert!(between.detokenize.is_none() && between.prompt_figures.is_none());
        // SAFETY: the function takes anything.
        assert_eq!(unsafe { (older.vocab_size)(std::ptr::null_mut()) }, 7);
    }

    #[test]
    fn another_version_or_a_stump_is_no_table() {
        assert!(of(cpu_table::VERSION + 1, size_of::<CpuTable>()).is_none());
        assert!(of(cpu_table::VERSION, cpu_table::LEAST_SIZE - 1).is_none());
        assert!(of(cpu_table::VERSION, 0).is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { copied(std::ptr::null()) }.is_none());
    }
}

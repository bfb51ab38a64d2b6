//! A scripted stand-in for librkllmrt.so.
//!
//! This crate is the engine; the folders beside it make one shared library of it for each ABI
//! version. What a library does is told by a blob inside its file ([`config`]) and by the "model
//! file" that `rkllm_init` is given ([`script`]). `README.md` describes both.

#![allow(
    unsafe_code,
    reason = "it speaks the vendor's C ABI from the library's side"
)]

mod ask;
pub mod calls;
pub mod config;
mod decode;
pub mod defaults;
mod digest;
pub mod engine;
mod exports;
mod input;
mod instance;
mod matrix;
pub mod output;
mod player;
mod record;
mod run;
pub mod script;
mod state;
pub mod v1_0_1;

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

pub use rkllm_ffi as ffi;

use ffi::StructLayout;

/// One ABI version, as the engine needs to know it.
#[derive(Debug)]
pub struct AbiVersion {
    /// Its name, as in `rkllm_ffi`.
    pub name: &'static str,
    /// The release it claims to be when no banner says otherwise.
    pub release: &'static str,
    /// Its place in the order of releases: 110 for 1.1.0.
    pub rank: u32,
    structs: fn() -> Vec<StructLayout>,
    cache: OnceLock<Vec<StructLayout>>,
}

impl AbiVersion {
    const fn new(
        name: &'static str,
        release: &'static str,
        rank: u32,
        structs: fn() -> Vec<StructLayout>,
    ) -> Self {
        Self {
            name,
            release,
            rank,
            structs,
            cache: OnceLock::new(),
        }
    }

    /// The layouts of all its structs.
    pub fn layouts(&self) -> &[StructLayout] {
        self.cache.get_or_init(self.structs)
    }

    /// The layout of one struct, by its C name.
    pub fn layout(&self, name: &str) -> Option<&StructLayout> {
        self.layouts().iter().find(|layout| layout.name == name)
    }

    /// `sizeof` one struct, 0 when the layout has none of that name.
    pub(crate) fn size_of(&self, name: &str) -> usize {
        self.layout(name).map_or(0, |layout| layout.size)
    }
}

/// 1.0.1 and 1.0.2.
pub static V1_0_1: AbiVersion = AbiVersion::new("v1_0_1", "1.0.1", 101, v1_0_1::layouts);
/// 1.1.0 to 1.1.4.
pub static V1_1_0: AbiVersion = AbiVersion::new("v1_1_0", "1.1.4", 110, ffi::v1_1_0::layouts);
/// 1.2.0 and 1.2.1b1.
pub static V1_2_0: AbiVersion = AbiVersion::new("v1_2_0", "1.2.0", 120, ffi::v1_2_0::layouts);
/// 1.2.1 to 1.2.3.
pub static V1_2_1: AbiVersion = AbiVersion::new("v1_2_1", "1.2.3", 121, ffi::v1_2_1::layouts);
/// 1.3.0.
pub static V1_3_0: AbiVersion = AbiVersion::new("v1_3_0", "1.3.0", 130, ffi::v1_3_0::layouts);

/// 1.3.1.
pub static V1_3_1: AbiVersion = AbiVersion::new("v1_3_1", "1.3.1", 131, ffi::v1_3_1::layouts);

/// Every layout, oldest first.
pub static ABI_VERSIONS: [&AbiVersion; 6] = [&V1_0_1, &V1_1_0, &V1_2_0, &V1_2_1, &V1_3_0, &V1_3_1];

/// Runs the body of an exported function; a panic becomes an E line and −1 instead of crossing C.
pub fn guard(function: &str, body: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        output::error(&format!("the fake panicked in {function}"));
        -1
    })
}

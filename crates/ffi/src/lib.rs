//! The C declarations of `rkllm.h`, one module for each layout.
//!
//! Names, types and offsets are the vendor's; sizes, alignments and every field offset are asserted
//! while compiling, for 64-bit targets and for 32-bit ARM. Nothing here is safe to use by itself: the
//! crate `rkllm_rs` is the safe side.

#![allow(unsafe_code, reason = "the C declarations live here")]

pub mod cpu_table;
pub(crate) mod layout;
pub mod shared;
pub mod v1_1_0;
pub mod v1_2_0;
pub mod v1_2_1;
pub mod v1_3_0;
pub mod v1_3_1;

pub use layout::StructLayout;

/// Room for the struct that `rkllm_createDefaultParam` of any layout returns.
///
/// The struct comes back through a hidden pointer on every target, and a library writes its own size
/// only; the largest one known has 208 bytes.
#[repr(C, align(16))]
#[derive(Clone)]
pub struct ParamBuffer(pub [u8; 1024]);

impl ParamBuffer {
    /// All bytes zero, so that what a library leaves unwritten is known.
    #[must_use]
    pub fn zeroed() -> Self {
        Self([0; 1024])
    }
}

/// Every layout's name with its layouts, oldest first.
#[must_use]
pub fn abi_versions() -> Vec<(&'static str, Vec<StructLayout>)> {
    vec![
        ("v1_1_0", v1_1_0::layouts()),
        ("v1_2_0", v1_2_0::layouts()),
        ("v1_2_1", v1_2_1::layouts()),
        ("v1_3_0", v1_3_0::layouts()),
        ("v1_3_1", v1_3_1::layouts()),
    ]
}

//! Where the vendor's library calls us, and where we call it.
//!
//! The trampolines check, copy, catch and hand on; they never touch Python and never call the library.
//! [`NativeModel`] makes the calls of one handle, each generation's structs built in one place.

#![allow(unsafe_code, reason = "calls into and from the C library")]

mod dialect;
mod native;
mod slot;
mod trampoline;

pub(crate) use native::{Aborter, NativeModel, RunSpec};

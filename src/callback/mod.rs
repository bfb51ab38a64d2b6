//! Where the vendor's library calls us, and where we call it.
//!
//! The trampolines check, copy, catch and hand on; they never touch Python and never call the library.
//! [`NativeModel`] makes the calls of one handle, each generation's structs built in one place.

#![allow(unsafe_code, reason = "calls into and from the C library")]

mod calls;
mod init;
mod native;
mod questions;
mod rows;
mod run;
mod slot;
mod trampoline;

pub use rows::FloatBlock;

pub(crate) use native::{Aborter, NativeModel, RunEnd};
pub(crate) use run::{RowSpec, RunSpec};

//! Where the vendor's library calls us, and where we call it.
//!
//! The trampolines check, copy, catch and hand on; they never touch Python and never call the library.
//! [`NativeModel`] makes the calls of one handle, each layout's structs built in one place.

#![allow(unsafe_code, reason = "calls into and from the C library")]

mod calls;
mod cpus;
mod handle;
mod init;
mod kept;
mod lane;
mod questions;
mod rendered;
mod run;
mod slot;
mod trampoline;
mod words;

pub(crate) use handle::{Aborter, NativeModel, RunEnd};
pub(crate) use lane::{Asker, Asks, Lane, Lanes, LastCall, PromptTokens, Verdict};
pub(crate) use words::Words;

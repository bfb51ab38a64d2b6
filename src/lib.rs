//! Safe bindings to Rockchip's RKLLM runtime (`librkllmrt.so`).

pub mod abi;
pub mod backend;
pub mod error;
pub mod ffi;
pub mod loader;
pub mod runtime;

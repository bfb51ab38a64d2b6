//! Safe bindings to Rockchip's RKLLM runtime (`librkllmrt.so`).

pub mod ffi;

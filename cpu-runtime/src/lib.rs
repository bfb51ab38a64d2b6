//! `librkllmrt_cpu.so`: the C ABI of RKLLM 1.3.0, served by llama.cpp on the CPU.
//!
//! Programs written for `librkllmrt.so` open it in its place and give it a `.gguf` file. What the
//! vendor's library prints, this one prints in the same form to stderr.

mod api;
mod callback;
mod cpus;
mod flag;
mod instance;
mod llama;
mod log;
mod omp;
mod params;
mod perf;
mod request;
mod session;
mod table;
mod template;

pub use api::*;
pub use table::rkllm_rs_cpu_table;

/// The banner that tells the release, as the vendor's library carries it, and the mark of the CPU
/// runtime: both are looked for in the file before it is opened.
static IDENTITY: &str = concat!(
    "RKLLM SDK (version: 1.3.0 | target: Linux | build: cpu-runtime ",
    env!("CARGO_PKG_VERSION"),
    ")\n",
    "rkllm_rs CPU runtime",
);

/// Says what this library is; called at init, so that no linker drops the text.
fn introduce() {
    let identity = std::hint::black_box(IDENTITY);
    debug_assert!(identity.ends_with(rkllm_ffi::cpu_table::MARKER));
    if log::level() >= 1 {
        identity.lines().for_each(|line| log::info!("{line}"));
    }
}

//! The Python module `rkllm_rs._native`: thin classes over the safe Rust core.
//!
//! Everything that can block is waited for detached from the interpreter, in steps that look for
//! signals. No callback of the library ever gets here.

mod array;
mod buffer;
mod callables;
mod convert;
mod errors;
mod info;
mod inputs;
mod model;
mod multimodal;
mod options;
mod outputs;
mod params;
mod pending;
mod rows;
mod runtime;
mod steps;
mod stream;
mod vendor_log;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

/// How long a wait goes on before signals are looked for: Ctrl-C is answered within this time.
const STEP: Duration = Duration::from_millis(50);

/// Set when the interpreter has begun to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Runs `f` without holding the interpreter.
///
/// A thread that comes back to an interpreter which is ending would be unwound through our frames, or
/// crash. Only daemon threads are left by then; they stay here until the process is gone.
fn detach<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let value = f();
        while ENDING.load(Ordering::Acquire) && !on_main_thread() {
            std::thread::sleep(Duration::from_secs(3600));
        }
        value
    })
}

fn on_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// The native part of rkllm_rs.
#[pymodule(name = "_native", gil_used = false)]
mod native {
    #[pymodule_export]
    use super::array::FloatArray;
    #[pymodule_export]
    use super::info::{LoraAdapter, ModelInfo};
    #[pymodule_export]
    use super::inputs::{CrossAttention, Embeddings};
    #[pymodule_export]
    use super::model::{Model, Opening, Scorer, at_exit, check_pooling, pool, shut_down};
    #[pymodule_export]
    use super::multimodal::Multimodal;
    #[pymodule_export]
    use super::outputs::{_chunk, _generation, _perf_stats, Chunk, Generation, PerfStats};
    #[pymodule_export]
    use super::params::{SamplingParams, Tokens};
    #[pymodule_export]
    use super::pending::Pending;
    #[pymodule_export]
    use super::rows::ArrayStream;
    #[pymodule_export]
    use super::runtime::{
        BackendStatus, Evidence, Identity, Runtime, abi_layouts, backends, find_library,
        known_libraries, resolve,
    };
    #[pymodule_export]
    use super::steps::Steps;
    #[pymodule_export]
    use super::stream::{TextStream, TokenStream};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

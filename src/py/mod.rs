//! The Python module `rkllm_rs._native`: thin classes over the safe Rust core.
//!
//! Everything that can block is waited for detached from the interpreter, in steps that look for
//! signals. No callback of the library ever gets here.

mod convert;
mod errors;
mod model;
mod outputs;
mod params;
mod runtime;
mod stream;
mod vendor_log;

use std::time::Duration;

use pyo3::prelude::*;

/// How long a wait goes on before signals are looked for: Ctrl-C is answered within this time.
const STEP: Duration = Duration::from_millis(50);

/// Calls `step` with the time that it may wait, detached, until it has something; signals that come
/// in between raise.
fn wait<T: Send>(
    py: Python<'_>,
    mut step: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<T> {
    loop {
        if let Some(value) = py.detach(|| step(STEP)) {
            return Ok(value);
        }
        py.check_signals()?;
    }
}

/// The native part of rkllm_rs.
#[pymodule(name = "_native", gil_used = false)]
mod native {
    #[pymodule_export]
    use super::model::{Model, shut_down};
    #[pymodule_export]
    use super::outputs::{_chunk, _generation, _perf_stats, Chunk, Generation, PerfStats};
    #[pymodule_export]
    use super::params::{SamplingParams, Tokens};
    #[pymodule_export]
    use super::runtime::{
        BackendStatus, Evidence, Identity, Runtime, abi_layouts, backends, find_library,
        known_libraries, resolve,
    };
    #[pymodule_export]
    use super::stream::{TextStream, TokenStream};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

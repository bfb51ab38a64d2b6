//! The Python module `rkllm_rs._native`: thin classes over the safe Rust core.
//!
//! Everything that can block is waited for detached from the interpreter, in steps that look for
//! signals. No callback of the library ever gets here.

mod advice;
mod answers;
mod array;
mod attached;
mod awaited_item;
mod buffer;
mod c_class;
mod callables;
mod chat;
mod chatting;
mod chunk;
mod convert;
mod dlpack;
mod errors;
mod files;
mod generation;
mod info;
mod inputs;
mod isolation;
mod iteration;
mod logits_processor;
mod logprobs;
mod model;
mod modules;
mod multimodal;
mod npu;
mod opening;
mod options;
mod outputs;
mod params;
mod pending;
mod rows;
mod runtime;
mod score;
mod source;
mod steps;
mod stream;
mod structured;
mod tasks;
mod template;
mod tool_choice;
mod values;
mod vendor_log;

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

/// How long a wait goes on before signals are looked for: Ctrl-C is answered within this time.
const STEP: Duration = Duration::from_millis(50);

/// The thread on which the interpreter ends, once it has begun to; it need not be the process's first one.
static ENDS_ON: AtomicI32 = AtomicI32::new(0);

/// Runs `f` without holding the interpreter.
///
/// A thread that comes back to an interpreter which is ending would be unwound through our frames, or
/// crash. Only daemon threads are left by then; they stay here until the process is gone.
fn detach<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let value = f();
        while ends_elsewhere() {
            std::thread::sleep(Duration::from_secs(3600));
        }
        value
    })
}

fn this_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

fn ends_elsewhere() -> bool {
    let thread = ENDS_ON.load(Ordering::Acquire);
    thread != 0 && thread != this_thread()
}

/// The interpreter ends, on the calling thread. There is no second one after it: `PyO3` keeps objects of
/// the first.
fn interpreter_ends() {
    ENDS_ON.store(this_thread(), Ordering::Release);
}

/// The native part of rkllm_rs.
#[pymodule(name = "_native", gil_used = false)]
mod native {
    #[pymodule_export]
    use super::answers::{ChatAnswer, ChatDelta, ToolCall, ToolCallDelta, no_answer};
    #[pymodule_export]
    use super::array::FloatArray;
    #[pymodule_export]
    use super::chat::{ChatStream, ChatTexts};
    #[pymodule_export]
    use super::chatting::{Chat, check_chat};
    #[pymodule_export]
    use super::files::{inspect_file, plan_domains, several_models};
    #[pymodule_export]
    use super::generation::Generation;
    #[pymodule_export]
    use super::info::{LoraAdapter, ModelInfo};
    #[pymodule_export]
    use super::inputs::{CrossAttention, Embeddings, check_inputs};
    #[pymodule_export]
    use super::isolation::{check_isolation, resolve_isolated, serve};
    #[pymodule_export]
    use super::model::{Model, at_exit, check_call, shut_down};
    #[pymodule_export]
    use super::multimodal::Multimodal;
    #[pymodule_export]
    use super::npu::{NpuLock, npu_line, npu_lock};
    #[pymodule_export]
    use super::opening::Opening;
    #[pymodule_export]
    use super::outputs::PerfStats;
    #[pymodule_export]
    use super::params::{SamplingParams, Tokens};
    #[pymodule_export]
    use super::pending::Pending;
    #[pymodule_export]
    use super::rows::ArrayStream;
    #[pymodule_export]
    use super::runtime::{
        BackendStatus, Evidence, Identity, Runtime, abi_layouts, backends, check_opening,
        find_library, known_libraries, resolve,
    };
    #[pymodule_export]
    use super::score::{Scorer, check_pooling, pool};
    #[pymodule_export]
    use super::steps::Steps;
    #[pymodule_export]
    use super::stream::{TextStream, TokenStream};
    #[pymodule_export]
    use super::structured::Constraint;
    #[pymodule_export]
    use super::template::ChatTemplate;
    #[pymodule_export]
    use super::vendor_log::set_vendor_log;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        if module.py().import("sys")?.getattr("__stderr__")?.is_none() {
            crate::host::vendor_log::set_no_stderr();
        }
        let py = module.py();
        module.add("Chunk", super::chunk::class(py)?)?;
        // In the place of PyO3's.
        module.add("TokenStream", super::iteration::class::<TokenStream>(py)?)?;
        module.add("TextStream", super::iteration::class::<TextStream>(py)?)?;
        super::outputs::add_rebuilders(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

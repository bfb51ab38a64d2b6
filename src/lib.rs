//! Safe bindings to Rockchip's RKLLM runtime (`librkllmrt.so`), every released layout of its C ABI, opened
//! at run time.
//!
//! [`Runtime::load`] finds and identifies the library, [`Model::open`] opens a model with it, and
//! [`Model::stream`] gives its tokens as they come; [`chat`] holds conversations. The same calls run on the project's CPU runtime,
//! which has the same C ABI.
//!
//! The floors, from top to bottom; each uses only those below it: [`chat`], [`model`], `client`, `link`, `engine`,
//! `native`, [`runtime`], [`files`], [`library`], [`abi`], [`host`], `sync`, [`protocol`], and the crates
//! `rkllm-text`, `rkllm-digest` and `rkllm-ffi`. Unsafe code lives in `native`, `library` and `host`, and in single files of the Python
//! module.

pub mod abi;
pub mod chat;
mod client;
mod engine;
pub mod error;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
pub mod library;
mod link;
pub mod model;
mod native;
pub mod protocol;
#[cfg(feature = "python")]
mod py;
pub mod runtime;
mod sync;

pub use rkllm_ffi as ffi;
pub use rkllm_text as text;

pub use abi::AbiVersion;
pub use engine::registry::shut_down;
pub use error::{Error, ErrorKind};
pub use host::FloatBlock;
pub use link::npu;
pub use link::worker;
pub use model::{GenerateOptions, Model, Steps, TokenStream};
pub use protocol::config::ModelConfig;
pub use protocol::constraint::{Constraint, Grammar, Way};
pub use protocol::info::ModelInfo;
pub use protocol::input::{CrossAttention, Embeddings, Input, Multimodal};
pub use protocol::output::{Chunk, FinishReason, PerfStats, RowsKind};
pub use protocol::sampling::SamplingParams;
pub use protocol::{PromptStore, Reuse};
pub use runtime::{BackendChoice, LoadOptions, Runtime};

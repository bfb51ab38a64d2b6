//! Safe bindings to Rockchip's RKLLM runtime (`librkllmrt.so`), every ABI generation of it, opened at
//! run time.
//!
//! [`Runtime::load`] finds and identifies the library, [`Model::open`] opens a model with it, and
//! [`Model::stream`] gives its tokens as they come. The same calls run on the project's CPU runtime,
//! which has the same C ABI.
//!
//! The floors, from top to bottom: [`model`] and [`stream`]; the actor, one thread for
//! each model; the callbacks; [`runtime`], [`abi`] and [`loader`]; [`ffi`]. Unsafe code lives in the
//! last four only.

pub mod abi;
mod actor;
mod answer;
pub mod backend;
mod callback;
pub mod config;
mod delivery;
pub mod desk;
mod diagnose;
pub mod error;
pub mod ffi;
pub mod info;
pub mod input;
pub mod loader;
pub mod model;
pub mod output;
pub mod prompt_cache;
#[cfg(feature = "python")]
mod py;
pub mod rows;
pub mod runtime;
pub mod sampling;
pub mod score;
pub mod steps;
mod stop;
pub mod stream;
pub mod utf8;
pub mod vendor_log;

pub use abi::Generation;
pub use actor::registry::shut_down;
pub use callback::FloatBlock;
pub use config::ModelConfig;
pub use error::{Error, ErrorKind};
pub use info::ModelInfo;
pub use input::{CrossAttention, Embeddings, Input, Multimodal};
pub use model::{GenerateOptions, Model};
pub use output::{Chunk, FinishReason, PerfStats, RowsKind};
pub use runtime::{BackendChoice, LoadOptions, Runtime};
pub use sampling::SamplingParams;
pub use steps::Steps;
pub use stream::TokenStream;

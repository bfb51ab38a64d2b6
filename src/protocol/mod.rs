//! What crosses between a program and the engine that runs its model: plain data.
//!
//! No lock, no pointer, no closure: the same messages go through a channel or to a child process.

pub(crate) mod choices;
pub mod config;
pub mod constraint;
pub mod error;
pub mod info;
pub mod input;
pub(crate) mod message;
pub mod output;
pub(crate) mod paths;
pub mod question;
mod reuse;
pub mod sampling;

pub use input::PromptStore;
pub use message::{LoraAdapter, Reply};
pub use reuse::Reuse;

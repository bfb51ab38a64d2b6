//! Which backend runs a model, and where the model's file is.

use std::fmt;

use crate::error::ErrorKind;

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// The vendor's library on the NPU.
    Npu,
    /// The CPU runtime.
    Cpu,
}
impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self { Self::Npu => "npu", Self::Cpu => "cpu" })
    }
}
/// What a model's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// `.rkllm`.
    Rkllm,
    /// `.gguf`.
    Gguf,
}
impl ModelKind {
    /// The suffix.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self { Self::Rkllm => ".rkllm", Self::Gguf => ".gguf" }
    }
    /// The backend that runs it.
    #[must_use]
    pub const fn backend(self) -> BackendKind {
        match self { Self::Rkllm => BackendKind::Npu, Self::Gguf => BackendKind::Cpu }
    }
}
/// Stub.
#[derive(Debug, Clone, thiserror::Error)]
#[error("stub")]
pub struct ModelProblem;
impl ModelProblem {
    /// .
    pub fn kind(&self) -> ErrorKind { ErrorKind::Model }
    /// .
    pub fn hint(&self) -> Option<String> { None }
    /// .
    pub fn is_missing(&self) -> bool { false }
}

//! Which backend runs a model, and where the model's file is.

mod device;
mod file;
mod gguf;
mod resolve;
mod status;

use std::fmt;
use std::path::Path;

pub use file::ModelProblem;
pub use resolve::{BackendNote, Resolved, resolve, resolve_in};
pub use status::{BackendStatus, backends, backends_in};

/// Checks an adapter's file for a model of `kind`, as far as a closed format allows.
pub(crate) fn check_adapter_file(path: &Path, kind: ModelKind) -> Result<(), ModelProblem> {
    file::check_adapter(path, kind)
}

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// The vendor's library on the NPU.
    Npu,
    /// The CPU runtime.
    Cpu,
}

impl BackendKind {
    /// The name, `npu` or `cpu`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Npu => "npu",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a model's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// `.rkllm`, the vendor's closed format.
    Rkllm,
    /// `.gguf`.
    Gguf,
}

impl ModelKind {
    /// Both, the one for the NPU first.
    pub const ALL: [Self; 2] = [Self::Rkllm, Self::Gguf];

    /// The kind by the path's suffix, in any case.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let suffix = path.extension()?;
        Self::ALL
            .into_iter()
            .find(|kind| suffix.eq_ignore_ascii_case(&kind.extension()[1..]))
    }

    /// The suffix, with its dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Rkllm => ".rkllm",
            Self::Gguf => ".gguf",
        }
    }

    /// The backend that runs it.
    #[must_use]
    pub const fn backend(self) -> BackendKind {
        match self {
            Self::Rkllm => BackendKind::Npu,
            Self::Gguf => BackendKind::Cpu,
        }
    }
}

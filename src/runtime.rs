//! A loaded library, shared by all that use the same file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::abi::{Capabilities, Generation, Identity};
use crate::backend::BackendKind;
use crate::error::Result;
use crate::ffi::ParamBuffer;
use crate::loader::{FileEvidence, Symbols};

/// Which backend is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BackendChoice {
    /// What fits the model and the machine.
    #[default]
    Auto,
    /// The vendor's library.
    Npu,
    /// The CPU runtime.
    Cpu,
}

/// Where to look for a library, and what is known about it.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// A library's file, or the folder that it is in; obeyed.
    pub library: Option<PathBuf>,
    /// The backend.
    pub backend: BackendChoice,
    /// The generation, where evidence is missing.
    pub abi: Option<Generation>,
    /// The folder of the installed Python package, for `libs/rkllm` in it or beside it.
    pub package_dir: Option<PathBuf>,
    /// The installed CPU runtime's library.
    pub cpu_library: Option<PathBuf>,
    /// The folder of the model.
    pub model_dir: Option<PathBuf>,
}

/// A loaded library: identified, and never unloaded.
pub struct Runtime {
    path: PathBuf,
    identity: Identity,
    capabilities: Capabilities,
    file_evidence: FileEvidence,
    symbols: Symbols,
    defaults: ParamBuffer,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("path", &self.path)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Finds, checks, opens and identifies a library.
    pub fn load(_options: &LoadOptions) -> Result<Arc<Self>> {
        unimplemented!("being written")
    }

    /// The file, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which release it is, and how that was found.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What runs models with it.
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        if self.identity.cpu_runtime { BackendKind::Cpu } else { BackendKind::Npu }
    }

    /// What the file said before it was loaded.
    #[must_use]
    pub fn file_evidence(&self) -> &FileEvidence {
        &self.file_evidence
    }

    /// Its functions.
    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// What `rkllm_createDefaultParam` returned, to start every init from.
    pub(crate) fn defaults(&self) -> &ParamBuffer {
        &self.defaults
    }
}

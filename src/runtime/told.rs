//! A library that is loaded in another process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{BackendChoice, LoadOptions, Runtime};
use crate::abi::{Capabilities, Identity};
use crate::files::BackendKind;
use crate::host;

/// A library that is loaded, as one process tells another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    #[serde(with = "crate::protocol::paths")]
    path: PathBuf,
    identity: Identity,
    capabilities: Vec<String>,
}

impl Told {
    /// What runs its models.
    pub(crate) fn backend(&self) -> BackendKind {
        if self.identity.cpu_runtime {
            BackendKind::Cpu
        } else {
            BackendKind::Npu
        }
    }

    /// With what exactly this library is found again.
    pub(crate) fn again(&self, options: &LoadOptions) -> LoadOptions {
        LoadOptions {
            library: Some(self.path.clone()),
            backend: if self.identity.cpu_runtime {
                BackendChoice::Cpu
            } else {
                BackendChoice::Npu
            },
            ..options.clone()
        }
    }
}

impl Runtime {
    /// What another process needs to know of it.
    pub(crate) fn tell(&self) -> Told {
        let names = self.capabilities.names();
        Told {
            path: self.path.clone(),
            identity: self.identity.clone(),
            capabilities: names.iter().map(ToString::to_string).collect(),
        }
    }

    /// A library that another process has loaded.
    pub(crate) fn elsewhere(told: Told) -> Self {
        Self {
            capabilities: Capabilities::told(&told.identity, &told.capabilities),
            path: told.path,
            identity: told.identity,
            native: None,
            forks: host::fork::depth(),
        }
    }
}

//! What is known about a library, and how it is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AbiVersion, Exports, KnownLibrary, Layouts, Version};

/// The kinds of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EvidenceKind {
    /// The file is, byte for byte, that of an official release.
    Fingerprint,
    /// The release text inside the file.
    Banner,
    /// The set of exported functions.
    Symbols,
    /// What `rkllm_createDefaultParam` wrote, and where.
    Defaults,
    /// The caller's `abi=`.
    Explicit,
    /// The mark of the CPU runtime.
    Marker,
}

impl EvidenceKind {
    /// The name, such as `banner`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fingerprint => "fingerprint",
            Self::Banner => "banner",
            Self::Symbols => "symbols",
            Self::Defaults => "defaults",
            Self::Explicit => "explicit",
            Self::Marker => "marker",
        }
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One piece of evidence: what was found, and what it leaves possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceLine {
    /// Where it comes from.
    pub kind: EvidenceKind,
    /// What was found, in words.
    pub finding: String,
    /// The layouts it allows; [`Layouts::ANY`] when it decides nothing.
    pub allows: Layouts,
}

impl fmt::Display for EvidenceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.finding)?;
        if self.allows == Layouts::ANY {
            return f.write_str(" (not conclusive)");
        }
        write!(f, " ({})", self.allows)
    }
}

/// The families that the default-parameter probe tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probe {
    /// Not asked yet.
    #[default]
    NotRun,
    /// The answer fits none of the families, or more than one.
    Unclear,
    /// 1.1.x.
    V1_1,
    /// 1.2.0 to 1.2.3.
    V1_2,
    /// 1.3.x, whose default parameters are the same.
    V1_3,
}

impl Probe {
    /// The layouts of the family.
    #[must_use]
    pub const fn allows(self) -> Layouts {
        match self {
            Self::NotRun | Self::Unclear => Layouts::ANY,
            Self::V1_1 => Layouts::of(AbiVersion::V1_1_0),
            Self::V1_2 => Layouts::V1_2,
            Self::V1_3 => Layouts::V1_3,
        }
    }
}

/// Everything found out about one library; what was not looked at yet is empty.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// A: the official library with the same bytes.
    pub fingerprint: Option<&'static KnownLibrary>,
    /// B: the releases that banners in the file name, each once.
    pub banners: Vec<Version>,
    /// The CPU runtime's mark is in the file.
    pub marker: bool,
    /// C: the exported functions.
    pub exports: Option<Exports>,
    /// Whether the CPU runtime's table is exported; looked at together with `exports`.
    pub cpu_table: bool,
    /// D: the default parameters.
    pub probe: Probe,
    /// What the caller says.
    pub explicit: Option<AbiVersion>,
}

/// Which library this is, and how that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The layout that it speaks.
    pub abi: AbiVersion,
    /// The release as the fingerprint, else the banner says.
    pub version: Option<String>,
    /// What decided.
    pub evidence: Vec<EvidenceLine>,
    /// Whether it is the CPU runtime of this project.
    pub cpu_runtime: bool,
    /// Whether a banner names a release above the newest known one, so that it was admitted by `abi=`
    /// alone. Its structs may have grown: only what does not depend on their sizes is done with it.
    pub newer: bool,
}

//! Why a library is refused.

use std::fmt;

use super::{AbiVersion, EvidenceLine, GET_CPU_RUNTIME, Layouts, Version, version::NEWEST};

/// A refusal with the evidence that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// All evidence, deciding or not.
    pub evidence: Vec<EvidenceLine>,
}

/// Why a library is refused.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// A library of 1.0.x.
    TooOld,
    /// Two pieces of evidence exclude each other.
    Disagreement,
    /// `abi=` names a layout that the evidence excludes.
    Contradicted {
        /// What was asked for.
        asked: AbiVersion,
        /// What the evidence allows.
        possible: Layouts,
    },
    /// The same file is loaded already, and as another layout.
    AlreadyLoaded {
        /// What was asked for.
        asked: AbiVersion,
        /// What it is loaded as.
        loaded: AbiVersion,
    },
    /// The banner names a release above the newest known one.
    Newer(Version),
    /// The banner names a release that never came out, as far as we know.
    UnknownRelease(Version),
    /// Functions are missing that the newest ones present imply.
    Incomplete(Vec<&'static str>),
    /// The banner names a release, and the default parameters do not confirm it.
    Unconfirmed(Layouts),
    /// Several layouts remain possible.
    TooLittle(Layouts),
    /// It bears the CPU runtime's mark without its table, the table without the mark, or a table of
    /// another version.
    BrokenCpuRuntime,
    /// It is the CPU runtime where the vendor's is needed, or the other way round.
    WrongBackend {
        /// Whether the CPU runtime was needed.
        cpu_needed: bool,
    },
}

impl Refusal {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.reason {
            RefusalReason::TooOld => format!(
                "Install RKLLM 1.1.0 or later (`rkllm-rs runtime install {NEWEST}`), and convert the model \
                 again with the toolkit of that release: later releases do not load models of 1.0.x."
            ),
            RefusalReason::Disagreement => {
                "Use an official, unmodified librkllmrt.so, for example from `rkllm-rs runtime install`."
                    .to_owned()
            }
            RefusalReason::Contradicted { possible, .. } => match possible.only() {
                Some(abi) => format!("Omit abi=, or pass abi=\"{abi}\"."),
                None => "Omit abi=.".to_owned(),
            },
            RefusalReason::AlreadyLoaded { loaded, .. } => {
                format!("Omit abi=, or pass abi=\"{loaded}\".")
            }
            RefusalReason::Newer(_) => format!(
                "Update rkllm_rs (`pip install --upgrade rkllm_rs`), or install a known release \
                 (`rkllm-rs runtime install {NEWEST}`). If you know that the new release kept the ABI of \
                 {NEWEST}, pass abi=\"{}\" to use it for single text and token prompts; a wrong ABI can \
                 crash the process.",
                newest_abi()
            ),
            RefusalReason::UnknownRelease(_) | RefusalReason::Incomplete(_) => format!(
                "Use an official release, or pass the ABI with abi= ({}); a wrong ABI can crash the \
                 process.",
                known()
            ),
            RefusalReason::Unconfirmed(named) => format!(
                "If you are sure of the file's release, pass abi=\"{named}\"; a wrong ABI can crash the \
                 process."
            ),
            RefusalReason::TooLittle(possible) => format!(
                "Use an official, unmodified file, or pass the ABI with abi= ({possible}); a wrong ABI can \
                 crash the process."
            ),
            RefusalReason::BrokenCpuRuntime => {
                format!("Make rkllm_rs and its CPU runtime from the same version: {GET_CPU_RUNTIME}.")
            }
            RefusalReason::WrongBackend { cpu_needed: true } => {
                format!("Omit library=, or install the CPU runtime: {GET_CPU_RUNTIME}.")
            }
            RefusalReason::WrongBackend { cpu_needed: false } => {
                "Pass backend=\"cpu\" or \"auto\", or the vendor's librkllmrt.so with library=.".to_owned()
            }
        }
    }
}

fn newest_abi() -> AbiVersion {
    AbiVersion::ALL[AbiVersion::ALL.len() - 1]
}

fn known() -> String {
    AbiVersion::ALL.map(AbiVersion::as_str).join(", ")
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld => f.write_str("it is RKLLM 1.0.x, which is not supported"),
            Self::Disagreement => {
                f.write_str("its release is unclear, because the evidence is contradictory")
            }
            Self::Contradicted { asked, possible } => {
                write!(f, "abi=\"{asked}\" contradicts the evidence, which says {possible}")
            }
            Self::AlreadyLoaded { asked, loaded } => {
                write!(
                    f,
                    "this process has already loaded it with abi=\"{loaded}\", got abi=\"{asked}\""
                )
            }
            Self::Newer(version) => {
                write!(
                    f,
                    "it is RKLLM {version}, but this version of rkllm_rs supports releases up to {NEWEST}"
                )
            }
            Self::UnknownRelease(version) => {
                write!(f, "its version string says {version}, which is not a known release")
            }
            Self::Incomplete(missing) => {
                write!(
                    f,
                    "functions of its release are missing: {}",
                    missing.join(", ")
                )
            }
            Self::Unconfirmed(named) => write!(
                f,
                "its version string says {named}, but its default parameters do not match"
            ),
            Self::TooLittle(possible) => {
                write!(f, "its ABI cannot be determined; it may be {possible}")
            }
            Self::BrokenCpuRuntime => f.write_str(
                "it is a CPU runtime of another version, or is damaged: its mark and its function table do \
                 not match",
            ),
            Self::WrongBackend { cpu_needed: true } => f.write_str("it is not the CPU runtime"),
            Self::WrongBackend { cpu_needed: false } => {
                f.write_str("it is the CPU runtime, not the vendor's NPU library")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        for (index, line) in self.evidence.iter().enumerate() {
            let lead = if index == 0 { "; evidence: " } else { "; " };
            write!(f, "{lead}{line}")?;
        }
        Ok(())
    }
}

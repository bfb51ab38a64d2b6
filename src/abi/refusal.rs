//! Why a library is refused.

use std::fmt;

use super::{AbiVersion, EvidenceLine, Layouts, Version, version::NEWEST};

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
            RefusalReason::TooOld => "Install release 1.1.0 or later of the runtime, and convert the \
                 model again with a toolkit of that release: models of 1.0.x do not load on later ones."
                .to_owned(),
            RefusalReason::Disagreement => "Use an official, unmodified librkllmrt.so, and check \
                 that it is not a mixture of two releases."
                .to_owned(),
            RefusalReason::Contradicted { possible, .. } => match possible.only() {
                Some(abi) => format!("Leave abi= out, or pass abi=\"{abi}\"."),
                None => "Leave abi= out.".to_owned(),
            },
            RefusalReason::AlreadyLoaded { loaded, .. } => {
                format!("Leave abi= out, or pass abi=\"{loaded}\" as the first time.")
            }
            RefusalReason::Newer(_) => format!(
                "Update rkllm_rs, or use a library up to {NEWEST}. If the release is known to have \
                 kept the ABI, abi=\"{}\" admits it for single text and token prompts; a wrong one \
                 crashes the process.",
                newest_abi()
            ),
            RefusalReason::UnknownRelease(_) | RefusalReason::Incomplete(_) => format!(
                "Use an official release, or name the abi with abi= ({}); a wrong one \
                 crashes the process.",
                known()
            ),
            RefusalReason::Unconfirmed(named) => format!(
                "If the file is what its banner says, pass abi=\"{named}\"; a wrong abi \
                 crashes the process."
            ),
            RefusalReason::TooLittle(possible) => format!(
                "Name the abi with abi= ({possible}); a wrong one crashes the process. An \
                 official, unmodified file needs no abi=."
            ),
            RefusalReason::BrokenCpuRuntime => {
                "Install rkllm_rs and its CPU runtime in the same release: \
                 pip install --upgrade 'rkllm_rs[cpu]'."
                    .to_owned()
            }
            RefusalReason::WrongBackend { cpu_needed: true } => {
                "Leave library= out, or install the CPU runtime: pip install 'rkllm_rs[cpu]'.".to_owned()
            }
            RefusalReason::WrongBackend { cpu_needed: false } => {
                "Pass backend=\"cpu\" or \"auto\", or the vendor's librkllmrt.so as library.".to_owned()
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
            Self::TooOld => f.write_str("it is of release 1.0.x, whose ABI is not supported"),
            Self::Disagreement => f.write_str("the evidence on its release disagrees"),
            Self::Contradicted { asked, possible } => {
                write!(
                    f,
                    "abi=\"{asked}\" was given, but the evidence says {possible}"
                )
            }
            Self::AlreadyLoaded { asked, loaded } => {
                write!(
                    f,
                    "abi=\"{asked}\" was given, but this process has loaded it as {loaded}"
                )
            }
            Self::Newer(version) => {
                write!(
                    f,
                    "its banner names release {version}, newer than {NEWEST}, the last one known"
                )
            }
            Self::UnknownRelease(version) => {
                write!(f, "its banner names release {version}, which is not known")
            }
            Self::Incomplete(missing) => {
                write!(
                    f,
                    "it lacks functions of its release: {}",
                    missing.join(", ")
                )
            }
            Self::Unconfirmed(named) => write!(
                f,
                "its banner says {named}, and its default parameters do not confirm that"
            ),
            Self::TooLittle(possible) => {
                write!(f, "the evidence does not say whether it is {possible}")
            }
            Self::BrokenCpuRuntime => f.write_str(
                "it is not a whole CPU runtime: its mark and its private table do not fit together",
            ),
            Self::WrongBackend { cpu_needed: true } => f.write_str("it is not the CPU runtime"),
            Self::WrongBackend { cpu_needed: false } => {
                f.write_str("it is the CPU runtime, not the vendor's library for the NPU")
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

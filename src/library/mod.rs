//! Finding, checking and opening the library.

mod elf;
mod fingerprint;
mod ldcache;
mod linker;
mod open;
mod probe;
mod problem;
mod search;
mod symbols;
mod trust;

pub(crate) use elf::known_text;
pub use fingerprint::{FileEvidence, FileId};
pub(crate) use open::{Opened, examine, locate, open};
pub(crate) use problem::reason;
pub use problem::{LoadProblem, Origin, Tried};
pub use search::Environment;
pub(crate) use search::{
    CPU_NAME, Candidate, NPU_NAME, Places, Rule, cpu as cpu_places, npu as npu_places,
};
pub(crate) use symbols::Symbols;
pub(crate) use trust::Trusted;

//! Finding, checking and opening the library.

mod elf;
mod fingerprint;
pub(crate) mod host;
mod ldcache;
mod open;
mod probe;
mod problem;
mod search;
mod symbols;
mod trust;

pub use fingerprint::{FileEvidence, FileId};
pub use problem::{LoadProblem, Origin, Tried};
pub(crate) use symbols::Symbols;

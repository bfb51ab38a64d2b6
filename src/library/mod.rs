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

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing {
    //! What reads a stranger's bytes here, for `fuzz/`.

    use super::fingerprint::scanned;
    use super::{elf, ldcache};

    /// A library's headers.
    pub fn elf(bytes: &[u8]) {
        drop(elf::check(bytes, elf::Host::this()));
    }

    /// The linker's cache.
    pub fn ld_cache(bytes: &[u8]) {
        drop(ldcache::lookup(bytes, "librkllmrt.so"));
    }

    /// The texts of a library that tell its release, whole and in chunks as long as the first byte says.
    ///
    /// # Panics
    /// They are not the same.
    pub fn banner(bytes: &[u8]) {
        if let Some((chunk, bytes)) = bytes.split_first() {
            let chunks = bytes.chunks(usize::from(*chunk).max(1));
            assert_eq!(scanned([bytes]), scanned(chunks));
        }
    }
}

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

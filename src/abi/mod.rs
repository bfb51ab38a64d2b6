//! Which release of the library is loaded, how that is found out, and what it can do.
//!
//! The C API has no version function, and a wrong guess crashes inside `rkllm_run`. So four kinds of
//! evidence are weighed: the file's fingerprint, the banner in it, the functions it exports and the
//! default parameters it returns. [`decide`] accepts what they agree on and refuses the rest.

mod abi_version;
mod capabilities;
mod decide;
mod evidence;
mod known;
mod prefix;
mod refusal;
mod symbols;
mod version;
mod wording;

pub use abi_version::{AbiVersion, Layouts};
pub use capabilities::{Capabilities, Several};
pub use decide::{decide, precheck};
pub use evidence::{Evidence, EvidenceKind, EvidenceLine, Identity, Probe};
pub use known::{KnownLibrary, known_libraries, known_library, needs_sha256};
pub(crate) use prefix::PrefixWay;
pub use refusal::{Refusal, RefusalReason};
pub use symbols::{Exports, Level};
pub use version::{NEWEST, Release, Version};

/// How to get the CPU runtime: the only text that says so in Rust. Python has its own in `_library.py`.
pub(crate) const GET_CPU_RUNTIME: &str = "run `make build` in a checkout of rkllm_rs (see \
     docs/start/laptop.md), or `pip install 'rkllm_rs[cpu]'` once it is released";

//! Why a file was not loaded, and where it was looked for.

use std::fmt;
use std::path::PathBuf;

use crate::abi::{GET_CPU_RUNTIME, Refusal};

/// Where a candidate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The `library` argument.
    Argument,
    /// An environment variable, by name.
    Variable(&'static str),
    /// The package's own folder `libs/rkllm`.
    Package,
    /// The user's folder of runtimes.
    Runtimes,
    /// The version that a file in the working folder names.
    ChosenForProject,
    /// `./libs/rkllm` of the working folder.
    WorkingFolder,
    /// Beside the model.
    BesideModel,
    /// An entry of `LD_LIBRARY_PATH`.
    LdLibraryPath,
    /// `/etc/ld.so.cache`.
    LdCache,
    /// A folder of the system.
    System,
    /// The installed CPU runtime package.
    CpuPackage,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "library=",
            Self::Variable(name) => name,
            Self::Package => "package folder",
            Self::Runtimes => "installed runtimes",
            Self::ChosenForProject => "project setting",
            Self::WorkingFolder => "working folder",
            Self::BesideModel => "folder of the model",
            Self::LdLibraryPath => "LD_LIBRARY_PATH",
            Self::LdCache => "ld.so.cache",
            Self::System => "system folder",
            Self::CpuPackage => "CPU runtime package",
        })
    }
}

/// A place that was looked at, and why no library came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The path.
    pub path: PathBuf,
    /// Who named it.
    pub origin: Origin,
    /// What was wrong.
    pub problem: LoadProblem,
}

/// What is wrong with a file that should be a library.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadProblem {
    /// Nothing there.
    #[error("no such file")]
    Missing,
    /// A symbolic link that leads nowhere.
    #[error("symbolic link to {}, which does not exist", .0.display())]
    DanglingLink(PathBuf),
    /// A folder without a library in it.
    #[error("the folder does not contain {0}")]
    Directory(&'static str),
    /// A device, a pipe or a socket.
    #[error("not a regular file")]
    NotRegular,
    /// The system refuses to open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The system has no thread on which it could be loaded.
    #[error("cannot start a thread to load it: {0}")]
    NoThread(String),
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// The text that Git keeps in place of a large file.
    #[error("the file is a Git LFS pointer, not the library itself")]
    LfsPointer,
    /// A web page saved under the library's name.
    #[error("the file is a web page, not a library")]
    Html,
    /// No ELF file.
    #[error("not a shared library (no ELF header)")]
    NotElf,
    /// 32-bit in a 64-bit process, or the other way round.
    #[error("the library is {file}, but this process is {process}")]
    WrongClass {
        /// The file's class and machine.
        file: String,
        /// The process's.
        process: String,
    },
    /// Big-endian where little-endian is needed, or the other way round.
    #[error("the library is {0}-endian, but this process is not")]
    WrongByteOrder(&'static str),
    /// Another processor.
    #[error("the library is built for {file}, but this process runs on {process}")]
    WrongMachine {
        /// The file's machine.
        file: String,
        /// The process's.
        process: String,
    },
    /// ELF of another type.
    #[error("{0}, not a shared library")]
    NotShared(&'static str),
    /// Bytes are missing at the end.
    #[error("the file is truncated: {what} ends at byte {needed}, but the file has {size} bytes")]
    Truncated {
        /// What does not fit.
        what: &'static str,
        /// Where it would end.
        needed: u64,
        /// Where the file ends.
        size: u64,
    },
    /// ELF headers that contradict themselves.
    #[error("damaged ELF headers: {0}")]
    Damaged(&'static str),
    /// Others than root and the user could replace it.
    #[error("not trusted: {} {why}", .path.display())]
    Untrusted {
        /// The file or folder in question.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A place from which only official releases are taken.
    #[error("not loaded, because only official releases are loaded from this place")]
    NotOfficial,
    /// A version was chosen that is not among the user's runtimes.
    #[error("version {0} is not installed")]
    NotInstalled(String),
    /// A file that should name a version.
    #[error("the file must contain an installed version, such as 1.2.3, and nothing else")]
    NoVersion,
    /// The dynamic linker refuses.
    #[error("the dynamic linker cannot load it: {0}")]
    Dlopen(String),
    /// Functions that every release has are not exported.
    #[error("not an RKLLM library: it does not export {}", .0.join(", "))]
    MissingSymbols(Vec<&'static str>),
    /// The dynamic linker took another file than the one examined.
    #[error("the dynamic linker loaded {} instead", .0.display())]
    OtherFile(PathBuf),
    /// The file changed while it was being loaded.
    #[error("the file changed while it was being loaded")]
    Changed,
    /// A library, though not one that can be used.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

impl LoadProblem {
    /// What to do about it, where that differs from getting a library at all.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::LfsPointer => {
                "Run `git lfs pull` in the repository, or download the library with its \"raw\" link."
            }
            Self::Html => {
                "Download the library with its \"raw\" link, not with the link of its page."
            }
            Self::Empty | Self::Truncated { .. } | Self::Damaged(_) | Self::Changed => {
                "Download or copy the library again: the file is incomplete or damaged."
            }
            Self::WrongClass { .. } | Self::WrongMachine { .. } => {
                return Some(format!(
                    "Use the library for the architecture of this process: aarch64 for 64-bit ARM, armhf \
                     for 32-bit ARM. On other machines, use the CPU runtime: {GET_CPU_RUNTIME}."
                ));
            }
            Self::Unreadable(_) => "Give your user read access to the file and its folders.",
            Self::Untrusted { .. } => {
                "Make root or your user the owner of the file and of every folder above it, and remove \
                 write access for others (`chmod go-w`); or name the file with library= or RKLLM_RS_LIB."
            }
            Self::NotOfficial => "If you trust this file, name it with library= or RKLLM_RS_LIB.",
            Self::NotInstalled(version) => {
                return Some(format!(
                    "Run `rkllm-rs runtime install {version}`, or select another version with \
                     `rkllm-rs runtime use VERSION`."
                ));
            }
            Self::NoVersion => {
                "Select a version with `rkllm-rs runtime use --project VERSION`, or remove the file."
            }
            Self::Dlopen(text) => return super::linker::dlopen_hint(text),
            Self::MissingSymbols(_) => {
                "Pass the path of librkllmrt.so; librknnrt.so is a different library."
            }
            Self::Refused(refusal) => return Some(refusal.hint()),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// The system's words without the number that Rust adds.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

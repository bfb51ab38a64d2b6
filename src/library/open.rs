//! Opening the library: from a candidate to its functions and its identity.

#![allow(
    unsafe_code,
    reason = "loads the library and asks the dynamic linker about it"
)]

use std::ffi::{CStr, OsStr, c_void};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use object::read::ReadCache;

use super::elf;
use super::fingerprint::{self, FileEvidence, FileId};
use super::probe;
use super::problem::LoadProblem;
use super::search::{Candidate, Rule};
use super::symbols::{self, Handle, Symbols};
use super::trust::{self, Trusted};
use crate::abi::{AbiVersion, Capabilities, Identity, Refusal, RefusalReason, decide, precheck};
use rkllm_ffi::ParamBuffer;

/// A file that may be read, and loaded as far as its place is concerned.
#[derive(Debug)]
pub(crate) struct Located {
    /// The file, links resolved.
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
    file: File,
}

/// A library that is loaded and identified.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) file: FileEvidence,
    pub(crate) identity: Identity,
    pub(crate) capabilities: Capabilities,
    pub(crate) symbols: Symbols,
    pub(crate) defaults: Box<ParamBuffer>,
}

/// Opens the candidate's file, once its place is trusted as the rule demands.
///
/// `names` are looked for when the path is a folder.
pub(crate) fn locate(
    candidate: &Candidate,
    names: &[&'static str],
    root: &Path,
    who: &Trusted,
) -> Result<Located, LoadProblem> {
    let mut path = candidate.path.clone();
    if candidate.rule == Rule::NoVersion {
        return Err(LoadProblem::NoVersion);
    }
    if path.is_dir() {
        let inside = names
            .iter()
            .map(|name| path.join(name))
            .find(|file| file.symlink_metadata().is_ok());
        path = inside.ok_or(LoadProblem::Directory(
            names.first().copied().unwrap_or_default(),
        ))?;
    }
    present(&path).map_err(|problem| match (problem, version_of(candidate)) {
        (LoadProblem::Missing, Some(version)) => LoadProblem::NotInstalled(version),
        (problem, _) => problem,
    })?;
    if matches!(candidate.rule, Rule::Owned | Rule::Chosen) {
        let full = std::path::absolute(&path).map_err(|error| unreadable(&error))?;
        trust::check(&full, root, who)?;
    }
    read_only(&path)
}

/// The version that was chosen: the runtimes folder has one folder for each.
fn version_of(candidate: &Candidate) -> Option<String> {
    let folder = candidate.path.parent()?.file_name()?;
    (candidate.rule == Rule::Chosen).then(|| folder.to_string_lossy().into_owned())
}

/// Tells an absent file from a link that leads nowhere.
fn present(path: &Path) -> Result<(), LoadProblem> {
    let Err(error) = fs::metadata(path) else {
        return Ok(());
    };
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Err(match fs::read_link(path) {
            Ok(target) => LoadProblem::DanglingLink(target),
            Err(_) => LoadProblem::Missing,
        }),
        _ => Err(unreadable(&error)),
    }
}

fn unreadable(error: &io::Error) -> LoadProblem {
    LoadProblem::Unreadable(super::problem::reason(error))
}

/// Opens a file for examination; a pipe under its name does not hold us up.
fn read_only(path: &Path) -> Result<Located, LoadProblem> {
    let path = path.canonicalize().map_err(|error| unreadable(&error))?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let data = fs::metadata(&path).map_err(|error| unreadable(&error))?;
    if !data.is_file() {
        return Err(LoadProblem::NotRegular);
    }
    let file = options.open(&path).map_err(|error| unreadable(&error))?;
    let data = file.metadata().map_err(|error| unreadable(&error))?;
    if !data.is_file() {
        return Err(LoadProblem::NotRegular);
    }
    Ok(Located {
        path,
        id: FileId::of(&data),
        file,
    })
}

/// Checks and reads the file without running anything of it.
pub(crate) fn examine(located: &Located, rule: Rule) -> Result<FileEvidence, LoadProblem> {
    let mut file = &located.file;
    elf::check(&ReadCache::new(file), elf::Host::this())?;
    file.rewind().map_err(|error| unreadable(&error))?;
    let evidence =
        fingerprint::read(&located.file, located.id).map_err(|error| unreadable(&error))?;
    if rule == Rule::Official && evidence.known.is_none() {
        return Err(LoadProblem::NotOfficial);
    }
    Ok(evidence)
}

/// Loads an examined file for good and identifies it.
///
/// Runs on the thread from which every call into a library starts; see [`super::host`].
pub(crate) fn open(
    path: PathBuf,
    mut file: FileEvidence,
    rule: Rule,
    explicit: Option<AbiVersion>,
) -> Result<Opened, LoadProblem> {
    let known = crate::abi::Evidence {
        explicit,
        ..file.evidence()
    };
    precheck(&known).map_err(refused)?;

    let handle = load(&path)?;
    let Some(init) = handle.address("rkllm_init") else {
        let missing = symbols::missing(handle);
        return Err(LoadProblem::MissingSymbols(missing));
    };
    let mut path = path;
    if let Some(other) = mapped_elsewhere(init, &path, file.id)? {
        // Links through another library, or one of the same name that was loaded before.
        if !matches!(rule, Rule::Obeyed | Rule::Installed) {
            return Err(LoadProblem::OtherFile(other));
        }
        let located = read_only(&other)?;
        file = examine(&located, rule)?;
        path = located.path;
    }

    let mut evidence = crate::abi::Evidence {
        explicit,
        ..file.evidence()
    };
    let exports = handle.exports();
    evidence.exports = Some(exports.clone());
    // The table speaks for itself only together with the mark; alone, its presence is wrong enough.
    evidence.cpu_table = if file.cpu_marker {
        symbols::table(handle).is_some()
    } else {
        handle.has_cpu_table()
    };
    let missing = symbols::missing(handle);
    if !missing.is_empty() {
        return Err(LoadProblem::MissingSymbols(missing));
    }
    precheck(&evidence).map_err(refused)?;

    let Some(create) = handle.address("rkllm_createDefaultParam") else {
        return Err(LoadProblem::MissingSymbols(vec![
            "rkllm_createDefaultParam",
        ]));
    };
    // SAFETY: the address is that of rkllm_createDefaultParam, by its name, in a library that is
    // never unloaded.
    let defaults = Box::new(unsafe { probe::default_params(create) });
    let own = |address: usize| {
        let address = NonNull::new(std::ptr::without_provenance_mut(address));
        address.is_some_and(|address| base(address) == base(init))
    };
    evidence.probe = probe::classify(&defaults.0, cfg!(target_pointer_width = "64"), own);
    let identity = decide(&evidence).map_err(refused)?;
    let symbols = symbols::collect(handle).map_err(LoadProblem::MissingSymbols)?;
    if identity.cpu_runtime != symbols.cpu_table.is_some() {
        let reason = RefusalReason::BrokenCpuRuntime;
        return Err(refused(Refusal {
            reason,
            evidence: identity.evidence,
        }));
    }
    let capabilities = Capabilities::new(&identity, &exports);
    Ok(Opened {
        path,
        file,
        identity,
        capabilities,
        symbols,
        defaults,
    })
}

fn refused(refusal: Refusal) -> LoadProblem {
    LoadProblem::Refused(Box::new(refusal))
}

/// Has the dynamic linker load the file, all symbols at once and none of them shared (L1).
fn load(path: &Path) -> Result<Handle, LoadProblem> {
    // SAFETY: the file passed the checks above and was named by the user or lies where nobody else
    // could have put it; running its constructors is what loading a library means.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| LoadProblem::Dlopen(error.to_string()))?;
    // The library starts threads, and their code must stay: it is never closed.
    NonNull::new(library.into_raw())
        .map(Handle::new)
        .ok_or_else(|| LoadProblem::Dlopen("it returned no handle".to_owned()))
}

/// The file that an address was mapped from, when that is not the one examined.
fn mapped_elsewhere(
    address: NonNull<c_void>,
    path: &Path,
    id: FileId,
) -> Result<Option<PathBuf>, LoadProblem> {
    let mapped = about(address).and_then(|info| {
        let name = NonNull::new(info.dli_fname.cast_mut())?;
        // SAFETY: the dynamic linker's name of a loaded object ends with NUL and lives as long as
        // the object, which is never unloaded.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
    });
    let mapped = mapped.unwrap_or_else(|| path.to_owned());
    let now = fs::metadata(&mapped).map_err(|_| LoadProblem::Changed)?;
    let now = FileId::of(&now);
    if now.key() != id.key() {
        return if mapped == path {
            Err(LoadProblem::Changed)
        } else {
            Ok(Some(mapped))
        };
    }
    if now == id {
        Ok(None)
    } else {
        Err(LoadProblem::Changed)
    }
}

/// What the dynamic linker knows of the object that holds an address.
fn about(address: NonNull<c_void>) -> Option<libc::Dl_info> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr takes any address and writes `info`, which has its type.
    let found = unsafe { libc::dladdr(address.as_ptr(), info.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid Dl_info (null pointers), so it is initialised either way.
    (found != 0).then(|| unsafe { info.assume_init() })
}

/// The start of the object that holds an address; none for an address outside of all objects.
fn base(address: NonNull<c_void>) -> Option<usize> {
    about(address)
        .map(|info| info.dli_fbase.addr())
        .filter(|base| *base != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(path: &Path, rule: Rule) -> Candidate {
        Candidate {
            path: path.to_owned(),
            origin: super::super::Origin::Argument,
            rule,
        }
    }

    fn problem(path: &Path) -> LoadProblem {
        let root = Path::new("/");
        let who = Trusted::this_process();
        let found = locate(
            &candidate(path, Rule::Obeyed),
            &["librkllmrt.so"],
            root,
            &who,
        );
        found
            .and_then(|file| examine(&file, Rule::Obeyed))
            .unwrap_err()
    }

    #[test]
    fn each_unsuitable_file_has_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(problem(&path("none")), LoadProblem::Missing);
        assert_eq!(
            problem(folder.path()),
            LoadProblem::Directory("librkllmrt.so")
        );
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        assert_eq!(
            problem(&path("link")),
            LoadProblem::DanglingLink("nowhere".into())
        );
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        assert!(matches!(problem(&path("loop")), LoadProblem::Unreadable(_)));
        fs::write(path("librkllmrt.so"), "").unwrap();
        assert_eq!(problem(folder.path()), LoadProblem::Empty);
        fs::write(path("text"), "hello").unwrap();
        assert_eq!(problem(&path("text")), LoadProblem::NotElf);
        assert_eq!(problem(&path("text/below")), LoadProblem::Missing);
        assert_eq!(problem(Path::new("/dev/null")), LoadProblem::NotRegular);
    }

    #[test]
    fn no_pipe_holds_up_the_search() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(problem(&path), LoadProblem::NotRegular);
    }

    #[test]
    fn own_addresses_are_told_from_others() {
        let code = NonNull::new(own_addresses_are_told_from_others as *mut c_void);
        let heap = Box::new(1u8);
        let heap = NonNull::from(&*heap).cast();
        assert!(code.and_then(base).is_some());
        assert_eq!(base(heap), None);
    }
}

//! Where the lock file is, and how it is opened: it may lie in a folder where everybody may write.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use super::record;
use crate::protocol::error::{ErrorKind, Failure};

/// The environment variable that names the file, or says `off`.
const VARIABLE: &str = "RKLLM_RS_NPU_LOCK";
/// Where it is without that: the first one that exists, else the first one that can be made.
const USUAL: [&str; 2] = ["/run/lock/rkllm_rs-npu.lock", "/tmp/rkllm_rs-npu.lock"];
const EVERYBODY: Mode = Mode::from_raw_mode(0o666);

/// Which file serves as the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// None: nothing is waited for.
    Off,
    /// This one, by the user's word.
    At(PathBuf),
    /// One of these.
    Usual(Vec<PathBuf>),
}

/// Why a file cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {reason}", path.display())]
pub(super) struct Problem {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

/// A file that is open, and where it came from.
pub(super) struct Opened {
    pub(super) file: OwnedFd,
    /// Its path, and those that go before it; None for one that this process alone has.
    origin: Option<(PathBuf, Vec<PathBuf>)>,
}

impl Place {
    /// What the environment variable `RKLLM_RS_NPU_LOCK` says.
    #[must_use]
    pub fn chosen() -> Self {
        match std::env::var_os(VARIABLE) {
            Some(word) if word == "off" => Self::Off,
            Some(path) if !path.is_empty() => Self::At(path.into()),
            _ => Self::Usual(USUAL.iter().map(PathBuf::from).collect()),
        }
    }

    /// Opens the file, and makes it if there is none.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub(super) fn open(&self) -> Result<Option<Opened>, Problem> {
        let candidates: &[PathBuf] = match self {
            Self::Off => return Ok(None),
            Self::At(path) => std::slice::from_ref(path),
            Self::Usual(paths) => paths,
        };
        let opened = |at: usize, file| {
            let origin = Some((candidates[at].clone(), candidates[..at].to_vec()));
            Ok(Some(Opened { file, origin }))
        };
        // What exists goes first, so that all who have different rights meet at the same file.
        for (at, path) in candidates.iter().enumerate() {
            if exists(path) {
                return opened(at, open_existing(path)?);
            }
        }
        let mut problem = None;
        for (at, path) in candidates.iter().enumerate() {
            match make(path).and_then(|()| open_existing(path)) {
                Ok(file) => return opened(at, file),
                Err(found) => problem = problem.or(Some(found)),
            }
        }
        Err(problem.unwrap_or_else(|| Problem::new(Path::new(""), "is missing")))
    }

    /// As [`Self::open`]; where none of the usual files can serve, one that keeps apart at least the models
    /// of this process.
    pub(super) fn open_or_private(&self) -> Result<Option<Opened>, Problem> {
        match (self, self.open()) {
            (Self::Usual(_), Err(_)) => Ok(private().map(|file| Opened { file, origin: None })),
            (_, opened) => opened,
        }
    }

    /// The file that there is, or that would be made.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Off => None,
            Self::At(path) => Some(path),
            Self::Usual(paths) => {
                let folder = |path: &&PathBuf| path.parent().is_some_and(may_write);
                let found = paths.iter().find(|path| exists(path));
                let found = found.or_else(|| paths.iter().find(folder));
                found.or(paths.first()).map(PathBuf::as_path)
            }
        }
    }

    /// The error of one who needs the lock.
    pub(super) fn failure(&self, problem: &Problem) -> Failure {
        if matches!(self, Self::At(_)) {
            return Failure::invalid_with_hint(
                VARIABLE,
                format!("must name a file that can be locked, but {problem}"),
                "Set it to a file in a folder that every user of the NPU can write to, or to \"off\".",
            );
        }
        let text = format!("the NPU lock cannot be used: {problem}");
        Failure::new(ErrorKind::UnsupportedFeature, text).with_hint(HINT)
    }

    /// What to warn of before a model is opened on the NPU.
    ///
    /// # Errors
    /// When the file that the user has named cannot serve.
    pub fn warning(&self) -> Result<Option<String>, Failure> {
        match (self, self.open()) {
            (_, Ok(_)) => Ok(None),
            (Self::Usual(_), Err(problem)) => Ok(Some(format!(
                "the NPU lock cannot be used: {problem}. Other programs may use the NPU at the same time, \
                 which has hung boards. {HINT}"
            ))),
            (_, Err(problem)) => Err(self.failure(&problem)),
        }
    }
}

const HINT: &str =
    "Set RKLLM_RS_NPU_LOCK to a file that every user of the NPU can write to, or to \"off\".";

impl Opened {
    /// Whether it is still the file at which all others meet.
    pub(super) fn is_current(&self) -> bool {
        let Some((_, before)) = &self.origin else {
            return true;
        };
        let linked = rustix::fs::fstat(&self.file).is_ok_and(|data| data.st_nlink > 0);
        linked && !before.iter().any(|path| exists(path))
    }
}

impl Problem {
    fn new(path: &Path, reason: impl Into<String>) -> Self {
        let (path, reason) = (path.to_owned(), reason.into());
        Self { path, reason }
    }

    pub(super) fn system(path: &Path, what: &str, errno: Errno) -> Self {
        let error = std::io::Error::from(errno);
        Self::new(path, format!("{what}: {error}"))
    }
}

fn exists(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok()
}

fn may_write(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Opens a file without following a link, waiting for anybody or making anything: in a sticky folder, only
/// its owner may open a file with `O_CREAT`.
fn open_existing(path: &Path) -> Result<OwnedFd, Problem> {
    open_with(path, OFlags::RDWR)
}

pub(super) fn open_with(path: &Path, way: OFlags) -> Result<OwnedFd, Problem> {
    let refused = |errno| Problem::system(path, "cannot be opened", errno);
    // Looked at first, since opening a device can do something.
    check_kind(path, rustix::fs::lstat(path).map_err(refused)?.st_mode)?;
    let flags = way | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(refused)?;
    check_kind(path, rustix::fs::fstat(&file).map_err(refused)?.st_mode)?;
    Ok(file)
}

fn check_kind(path: &Path, mode: rustix::fs::RawMode) -> Result<(), Problem> {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(Problem::new(path, format!("is {kind}, not a file")))
}

/// Makes the file, for everybody. It has its rights before anybody can see it, whatever the umask.
fn make(path: &Path) -> Result<(), Problem> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let refused = |errno| Problem::system(path, "cannot be made", errno);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}.{count}", std::process::id()));
    let temporary = path.with_file_name(name);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, EVERYBODY).map_err(refused)?;
    let done = rustix::fs::fchmod(&file, EVERYBODY).and_then(|()| {
        record::begin(&file);
        match rustix::fs::linkat(CWD, &temporary, CWD, path, AtFlags::empty()) {
            // Somebody else was faster.
            Err(Errno::EXIST) => Ok(()),
            done => done,
        }
    });
    // A name that is left over harms nobody.
    let _ = rustix::fs::unlink(&temporary);
    done.map_err(refused)
}

/// A file of this process alone, opened anew each time.
fn private() -> Option<OwnedFd> {
    static FILE: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let file = FILE
        .get_or_init(|| rustix::fs::memfd_create("rkllm_rs-npu.lock", MemfdFlags::CLOEXEC).ok());
    // Descriptors of the library's side are not those of the process's first thread.
    let path = format!("/proc/thread-self/fd/{}", file.as_ref()?.as_raw_fd());
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
}

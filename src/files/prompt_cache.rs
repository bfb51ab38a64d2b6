//! The side file of a prompt cache: which model and library made it.
//!
//! The library detects a cache of another model in part only, so that we keep a note beside each
//! cache that we have it save, and refuse what does not agree with it.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use crate::error::Error;
use crate::runtime::Runtime;

/// How much of both ends of a file goes into its mark: models are too large to be read whole.
const ENDS: u64 = 1 << 20;
const FORMAT: u32 = 1;

/// A file's size, and a SHA-1 over its first and last MiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    size: u64,
    sha1: String,
}

impl Mark {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut hash = Sha1::new();
        let mut feed = |file: &mut File| io::copy(&mut file.take(ENDS), &mut Feed(&mut hash));
        feed(&mut file)?;
        if size > ENDS {
            file.seek(SeekFrom::Start((size - ENDS).max(ENDS)))?;
            feed(&mut file)?;
        }
        let mut sha1 = String::new();
        for byte in hash.finalize() {
            use std::fmt::Write as _;
            let _ = write!(sha1, "{byte:02x}");
        }
        Ok(Self { size, sha1 })
    }
}

struct Feed<'a>(&'a mut Sha1);

impl io::Write for Feed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The library, as far as its caches depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Maker {
    backend: String,
    abi: String,
    version: Option<String>,
}

impl Maker {
    fn of(runtime: &Runtime) -> Self {
        let identity = runtime.identity();
        Self {
            backend: runtime.backend().as_str().to_owned(),
            abi: identity.abi.to_string(),
            version: identity.version.clone(),
        }
    }

    fn describe(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of an unknown release");
        format!("the {} library {version} ({})", self.backend, self.abi)
    }
}

/// What the side file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    format: u32,
    model: Mark,
    library: Maker,
    lora: Option<String>,
    cache: Mark,
}

/// The side file of `cache`.
#[must_use]
pub(crate) fn side_file(cache: &Path) -> PathBuf {
    let mut name = OsString::from(cache);
    name.push(".json");
    name.into()
}

fn problem(cache: &Path, reason: String, hint: &str) -> Error {
    Error::PromptCache {
        path: cache.to_owned(),
        reason,
        hint: hint.to_owned(),
    }
}

/// Notes beside `cache`, which the library has just saved, what made it.
pub(crate) fn note(
    cache: &Path,
    before: Before,
    model: &Path,
    runtime: &Runtime,
    lora: Option<String>,
) -> Result<(), Error> {
    let saved = |error: io::Error| {
        let reason = format!("the library has saved none: {error}");
        problem(cache, reason, "See the library's own lines in the log.")
    };
    if before.unchanged(cache) {
        let reason = "the library has saved none, and left the one that was there".to_owned();
        return Err(problem(
            cache,
            reason,
            "See the library's own lines in the log.",
        ));
    }
    let note = Note {
        format: FORMAT,
        cache: Mark::of(cache).map_err(saved)?,
        model: Mark::of(model).map_err(saved)?,
        library: Maker::of(runtime),
        lora,
    };
    let written = || -> io::Result<()> {
        let side = side_file(cache);
        let mut part = OsString::from(&side);
        part.push(".part");
        let text = serde_json::to_vec_pretty(&note)?;
        // Whole or not at all, whatever happens in between.
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, side))
            .inspect_err(|_| drop(fs::remove_file(&part)))
    };
    written().map_err(|error| {
        let reason = format!("its side file cannot be written: {error}");
        problem(cache, reason, "Give a folder that this user may write to.")
    })
}

/// What lay at a cache's place before the library was to save one there.
pub(crate) struct Before {
    file: Option<State>,
    times: Option<FileTimes>,
    side: Option<Vec<u8>>,
}

type State = (u64, u64, u64, SystemTime);

fn state(cache: &Path) -> Option<(State, SystemTime)> {
    let data = fs::metadata(cache).ok()?;
    let modified = data.modified().ok()?;
    let state = (data.dev(), data.ino(), data.len(), modified);
    Some((state, data.accessed().unwrap_or(modified)))
}

impl Before {
    /// Looks, and takes the side file away: it would tell of a cache that is about to be replaced.
    pub(crate) fn look(cache: &Path) -> Self {
        let side = fs::read(side_file(cache)).ok();
        let _ = fs::remove_file(side_file(cache));
        let was = state(cache);
        let times = was.and_then(|((.., modified), accessed)| {
            // A time that no clock gives, so that a cache of the same size a moment later is a new one.
            let file = File::open(cache).ok()?;
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
                .ok()?;
            Some(
                FileTimes::new()
                    .set_modified(modified)
                    .set_accessed(accessed),
            )
        });
        Self {
            file: state(cache).map(|(state, _)| state),
            times,
            side,
        }
    }

    /// Whether the library has left the place as it was; then it is made so in the rest as well.
    pub(crate) fn unchanged(self, cache: &Path) -> bool {
        if self.file.is_none() || state(cache).map(|(state, _)| state) != self.file {
            return false;
        }
        if let (Some(times), Ok(file)) = (self.times, File::open(cache)) {
            let _ = file.set_times(times);
        }
        if let Some(side) = self.side {
            let _ = fs::write(side_file(cache), side);
        }
        true
    }
}

/// Checks that there is a file at all.
///
/// # Errors
/// [`Error::FileMissing`], or [`Error::InvalidArgument`] for what is no file.
pub(crate) fn check(cache: &Path) -> Result<(), Error> {
    if !cache.exists() {
        return Err(Error::FileMissing {
            what: "path",
            path: cache.to_owned(),
        });
    }
    if !cache.is_file() {
        return Err(Error::invalid_with_hint(
            "path",
            format!("{} is no regular file", cache.display()),
            "Give the file that save_prompt_cache= wrote.",
        ));
    }
    Ok(())
}

/// Checks that `cache` was saved with this model by this library, and is whole.
///
/// # Errors
/// [`Error::PromptCache`] naming what does not agree.
pub(crate) fn verify(cache: &Path, model: &Path, runtime: &Runtime) -> Result<(), Error> {
    const AGAIN: &str = "Save it again with save_prompt_cache=, with this model and library.";
    const UNKNOWN: &str = "Save it with save_prompt_cache=, or pass verify=False if you know that it \
                           belongs to this model and library.";
    let side = side_file(cache);
    let text = match fs::read(&side) {
        Ok(text) => text,
        Err(error) => {
            let reason = format!(
                "nothing tells which model it is of: {}: {error}",
                side.display()
            );
            return Err(problem(cache, reason, UNKNOWN));
        }
    };
    let note: Note = serde_json::from_slice(&text)
        .ok()
        .filter(|note: &Note| note.format == FORMAT)
        .ok_or_else(|| {
            let reason = format!("{} is no side file of ours", side.display());
            problem(cache, reason, UNKNOWN)
        })?;
    let unreadable = |error: io::Error| problem(cache, error.to_string(), AGAIN);
    let have = Mark::of(cache).map_err(unreadable)?;
    if have.size < note.cache.size {
        let reason = format!(
            "it is truncated: {} bytes of {}",
            have.size, note.cache.size
        );
        return Err(problem(cache, reason, AGAIN));
    }
    if have != note.cache {
        return Err(problem(
            cache,
            "it has changed since it was saved".to_owned(),
            AGAIN,
        ));
    }
    if Mark::of(model).map_err(unreadable)? != note.model {
        let reason = format!("it was saved with another model than {}", model.display());
        return Err(problem(cache, reason, AGAIN));
    }
    let maker = Maker::of(runtime);
    if maker != note.library {
        let reason = format!(
            "it was saved by {}, and loaded is {}",
            note.library.describe(),
            maker.describe()
        );
        return Err(problem(cache, reason, AGAIN));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_sees_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mark = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Mark::of(&path).unwrap()
        };
        let mut large = vec![1_u8; 3 << 20];
        let first = mark(&large);
        *large.last_mut().unwrap() = 2;
        assert_ne!(mark(&large), first);
        *large.last_mut().unwrap() = 1;
        large[0] = 2;
        assert_ne!(mark(&large), first);
        large[0] = 1;
        assert_eq!(mark(&large), first);
        assert_ne!(mark(b""), mark(b"x"));
        // Between one and two times the ends, no byte counts twice or is left out.
        let mut middle = vec![1_u8; (1 << 20) + 5];
        let before = mark(&middle);
        middle[(1 << 20) + 1] = 9;
        assert_ne!(mark(&middle), before);
    }

    #[test]
    fn the_side_file_is_named_after_the_cache() {
        assert_eq!(side_file(Path::new("a/b.bin")), Path::new("a/b.bin.json"));
    }
}

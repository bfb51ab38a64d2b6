//! The side file of a prompt cache: which model and library made it.
//!
//! The library detects a cache of another model in part only, so that we keep a note beside each
//! cache that we have it save, and refuse what does not agree with it.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rkllm_digest::Mark;
use serde::{Deserialize, Serialize};

use super::BackendKind;
use crate::protocol::error::Failure;

const FORMAT: u32 = 2;

/// The library, as far as its caches depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maker {
    backend: String,
    abi: String,
    version: Option<String>,
}

impl Maker {
    /// The library of that backend, layout and release.
    pub(crate) fn new(backend: BackendKind, abi: &str, version: Option<&str>) -> Self {
        Self {
            backend: backend.as_str().to_owned(),
            abi: abi.to_owned(),
            version: version.map(str::to_owned),
        }
    }

    fn describe(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of an unknown release");
        format!("the {} runtime {version} (ABI {})", self.backend, self.abi)
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

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// The side file of `cache`.
#[must_use]
pub(crate) fn side_file(cache: &Path) -> PathBuf {
    with(cache, ".json")
}

fn problem(cache: &Path, reason: String, hint: &str) -> Failure {
    Failure::prompt_cache(cache, reason, hint)
}

/// A cache that a run is to save. The library writes it under another name, so that what lies at
/// its place stays whole until there is a new one.
pub(crate) struct Saving {
    cache: PathBuf,
    /// The file itself, where `cache` is a link to it.
    place: PathBuf,
    part: PathBuf,
}

impl Saving {
    pub(crate) fn to(cache: &CStr) -> Self {
        let cache = PathBuf::from(OsStr::from_bytes(cache.to_bytes()));
        let place = fs::canonicalize(&cache).unwrap_or_else(|_| cache.clone());
        let part = with(&place, ".part");
        Self { cache, place, part }
    }

    /// Where the library is to write.
    pub(crate) fn part(&self) -> Option<CString> {
        CString::new(self.part.as_os_str().as_bytes()).ok()
    }

    /// Removes what nobody vouches for: of a run that has failed, or of a process that has died.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_file(&self.part);
    }

    /// Puts what the library has written in its place, and beside it a note of what made it.
    pub(crate) fn keep(
        &self,
        model: &Path,
        library: Maker,
        lora: Option<String>,
    ) -> Result<(), Failure> {
        let saved = |error: io::Error| {
            let reason = format!(
                "was not saved by the runtime: {}",
                crate::library::reason(&error)
            );
            problem(
                &self.cache,
                reason,
                "See the runtime's own lines in the log.",
            )
        };
        let note = Note {
            format: FORMAT,
            cache: Mark::of(&self.part).map_err(saved)?,
            model: Mark::of(model).map_err(saved)?,
            library,
            lora,
        };
        let side = side_file(&self.cache);
        let side_part = with(&side, ".part");
        // The cache first: an old note beside a new cache is refused, as the other way round.
        let written = || -> io::Result<()> {
            fs::write(&side_part, serde_json::to_vec_pretty(&note)?)?;
            fs::rename(&self.part, &self.place)?;
            fs::rename(&side_part, &side)
        };
        written().map_err(|error| {
            self.clear();
            let _ = fs::remove_file(&side_part);
            let reason = format!(
                "or its metadata file cannot be written: {}",
                crate::library::reason(&error)
            );
            problem(
                &self.cache,
                reason,
                "Pass a path in a folder that you can write to.",
            )
        })
    }
}

/// Checks that there is a file at all.
///
/// # Errors
/// `ErrorKind::FileMissing`, or `ErrorKind::InvalidArgument` for what is no file.
pub(crate) fn check(cache: &Path) -> Result<(), Failure> {
    if !cache.exists() {
        return Err(Failure::file_missing("path", cache));
    }
    if !cache.is_file() {
        return Err(Failure::invalid_with_hint(
            "path",
            format!("is not a regular file: {}", cache.display()),
            "Pass the file that save_prompt_cache= wrote.",
        ));
    }
    Ok(())
}

/// Checks that `cache` was saved with this model by this library, and is whole.
///
/// # Errors
/// `ErrorKind::PromptCache` naming what does not agree.
pub(crate) fn verify(cache: &Path, model: &Path, library: &Maker) -> Result<(), Failure> {
    const AGAIN: &str = "Save it again with save_prompt_cache=, using this model and runtime.";
    const UNKNOWN: &str = "Save it again with save_prompt_cache=, or pass verify=False if you are sure \
                           that it was saved with this model and runtime.";
    let side = side_file(cache);
    let text = match fs::read(&side) {
        Ok(text) => text,
        Err(error) => {
            let reason = format!(
                "cannot be verified, because its metadata file {} cannot be read: {}",
                side.display(),
                crate::library::reason(&error)
            );
            return Err(problem(cache, reason, UNKNOWN));
        }
    };
    let note: Note = serde_json::from_slice(&text)
        .ok()
        .filter(|note: &Note| note.format == FORMAT)
        .ok_or_else(|| {
            let reason = format!(
                "cannot be verified, because {} was not written by rkllm_rs",
                side.display()
            );
            problem(cache, reason, UNKNOWN)
        })?;
    let unreadable = |error: io::Error| {
        problem(
            cache,
            format!("cannot be verified: {}", crate::library::reason(&error)),
            AGAIN,
        )
    };
    let have = Mark::of(cache).map_err(unreadable)?;
    if have.size < note.cache.size {
        let reason = format!("is truncated: {} of {} bytes", have.size, note.cache.size);
        return Err(problem(cache, reason, AGAIN));
    }
    if have != note.cache {
        return Err(problem(
            cache,
            "has changed since it was saved".to_owned(),
            AGAIN,
        ));
    }
    if Mark::of(model).map_err(unreadable)? != note.model {
        let reason = format!("was not saved with the model {}", model.display());
        return Err(problem(cache, reason, AGAIN));
    }
    if *library != note.library {
        let reason = format!(
            "was saved by {}, but the loaded runtime is {}",
            note.library.describe(),
            library.describe()
        );
        return Err(problem(cache, reason, AGAIN));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_file_is_named_after_the_cache() {
        assert_eq!(side_file(Path::new("a/b.bin")), Path::new("a/b.bin.json"));
    }
}

//! A folder of prompt caches: the computed beginnings of conversations, of which the ones used least recently
//! are removed when there are too many bytes.
//!
//! Several processes may share it. Whoever loads a cache keeps those away who write or remove, and the other
//! way round; nobody waits, since a prompt can always be computed.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::prompt_cache::side_file;
use crate::protocol::PromptStore;
use crate::protocol::error::Failure;

const SUFFIX: &str = "promptcache";

/// The folder, open.
pub(crate) struct Store {
    folder: PathBuf,
    max_bytes: u64,
    lock: File,
}

/// Nobody writes while a cache is loaded, and nobody loads while one is written.
pub(crate) struct Locked<'a>(&'a Store);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // It goes with the file at the latest.
        let _ = flock(&self.0.lock, FlockOperation::Unlock);
    }
}

impl Store {
    /// Makes the folder if it is missing; only its owner can read a new one.
    ///
    /// # Errors
    /// `ErrorKind::PromptCache` if it cannot be written to.
    pub(crate) fn open(store: &PromptStore) -> Result<Self, Failure> {
        let folder = &store.folder;
        let open = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            options.open(folder.join("lock"))
        };
        let lock = open().map_err(|error| problem(folder, &error))?;
        Ok(Self {
            folder: folder.clone(),
            max_bytes: store.max_bytes,
            lock,
        })
    }

    /// Where the cache of this key is, if there is one.
    pub(crate) fn file(&self, key: u64) -> PathBuf {
        self.folder.join(format!("{key:016x}.{SUFFIX}"))
    }

    /// `None` while another process writes, or, `to_write`, while one loads.
    pub(crate) fn lock(&self, to_write: bool) -> Result<Option<Locked<'_>>, Failure> {
        let how = if to_write {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        match flock(&self.lock, how) {
            Ok(()) => Ok(Some(Locked(self))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(problem(&self.folder, &error.into())),
        }
    }

    /// Notes that a cache was used now.
    pub(crate) fn used(file: &Path) {
        // Of a folder that can only be read, the order is that of the writing.
        let _ = OpenOptions::new()
            .append(true)
            .open(file)
            .and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Removes a cache with its metadata.
    pub(crate) fn remove(file: &Path) {
        let _ = fs::remove_file(file);
        let _ = fs::remove_file(side_file(file));
    }

    /// Removes caches until the others have no more than `max_bytes`, the one used least recently first.
    pub(crate) fn shrink(&self) {
        let mut all: Vec<_> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().extension() == Some(OsStr::new(SUFFIX)))
            .filter_map(|entry| {
                let data = entry.metadata().ok()?;
                Some((data.modified().ok()?, data.len(), entry.path()))
            })
            .collect();
        all.sort();
        let mut bytes: u64 = all.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in all {
            if bytes <= self.max_bytes {
                break;
            }
            Self::remove(&path);
            bytes -= size;
        }
    }
}

fn problem(folder: &Path, error: &io::Error) -> Failure {
    let reason = format!("cannot be kept: {}", crate::library::reason(error));
    Failure::prompt_cache(
        folder,
        reason,
        "Pass a folder that you can write to as prompt_cache_dir.",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn store(name: &str, max_bytes: u64) -> (PathBuf, Store) {
        let folder =
            std::env::temp_dir().join(format!("rkllm-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let told = PromptStore {
            folder: folder.join("below"),
            max_bytes,
        };
        (folder, Store::open(&told).unwrap())
    }

    #[test]
    fn the_one_used_least_recently_goes_first() {
        let (folder, store) = store("oldest", 25);
        let now = SystemTime::now();
        for key in 0..3 {
            let file = store.file(key);
            fs::write(&file, [0; 10]).unwrap();
            fs::write(side_file(&file), b"{}").unwrap();
            let past = now - Duration::from_secs(100 - key);
            File::options()
                .append(true)
                .open(&file)
                .unwrap()
                .set_modified(past)
                .unwrap();
        }
        fs::write(store.folder.join("other"), [0; 99]).unwrap();
        Store::used(&store.file(0));
        store.shrink();
        let left = |key| {
            (
                store.file(key).exists(),
                side_file(&store.file(key)).exists(),
            )
        };
        assert_eq!(
            [left(0), left(1), left(2)],
            [(true, true), (false, false), (true, true)]
        );
        assert!(store.folder.join("other").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn who_writes_is_alone() {
        let (folder, one) = store("lock", 0);
        let two = Store::open(&PromptStore {
            folder: one.folder.clone(),
            max_bytes: 0,
        })
        .unwrap();
        {
            let _loads = one.lock(false).unwrap().unwrap();
            assert!(two.lock(false).unwrap().is_some());
            assert!(two.lock(true).unwrap().is_none());
        }
        {
            let _writes = one.lock(true).unwrap().unwrap();
            assert!(two.lock(false).unwrap().is_none());
        }
        assert!(two.lock(true).unwrap().is_some());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_folder_is_told() {
        let (folder, store) = store("file", 0);
        let file = store.folder.join("lock");
        let told = Store::open(&PromptStore {
            folder: file.clone(),
            max_bytes: 0,
        });
        assert_eq!(
            told.err().unwrap().fields.path.as_deref(),
            Some(file.as_path())
        );
        fs::remove_dir_all(folder).unwrap();
    }
}

//! Evidence A: the official libraries by the Git blob id of their files, or by their SHA-256.

use std::sync::LazyLock;

use serde::Deserialize;

use super::Layouts;

/// One official library file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KnownLibrary {
    /// The release, such as `1.2.1b1`.
    pub release: String,
    abi: String,
    /// `linux` or `android`.
    pub os: String,
    /// The vendor's folder: `aarch64`, `armhf`, `arm64-v8a` or `armeabi-v7a`.
    pub arch: String,
    /// The Git blob id of the file, in lower-case hex; where it is not known, `sha256` is.
    #[serde(default)]
    pub git_blob_sha1: Option<String>,
    /// The SHA-256 of the file, in lower-case hex, where known.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The commit of the vendor's repository that has it; not every release has a tag.
    pub commit: String,
    /// The file's path there.
    pub path: String,
    /// Its size in bytes, where known; always beside a SHA-256.
    #[serde(default)]
    pub size: Option<u64>,
}

impl KnownLibrary {
    /// The layout's name, such as `v1_2_1`; those of 1.0.x are named too.
    #[must_use]
    pub fn abi(&self) -> &str {
        &self.abi
    }

    /// The layout it belongs to.
    #[must_use]
    pub fn layouts(&self) -> Layouts {
        Layouts::named(&self.abi).unwrap_or(Layouts::NONE)
    }
}

static TABLE: LazyLock<Vec<KnownLibrary>> = LazyLock::new(|| {
    // The table is part of the source and a test reads it, so the empty one is never seen.
    serde_json::from_str(include_str!("../../data/known-libraries.json")).unwrap_or_default()
});

/// All official libraries, oldest release first.
#[must_use]
pub fn known_libraries() -> &'static [KnownLibrary] {
    &TABLE
}

/// The official library whose file has that Git blob id, or that SHA-256 (lower-case hex).
#[must_use]
pub fn known_library(git_blob_sha1: &str, sha256: Option<&str>) -> Option<&'static KnownLibrary> {
    TABLE.iter().find(|one| match &one.git_blob_sha1 {
        Some(id) => id == git_blob_sha1,
        None => sha256.is_some() && one.sha256.as_deref() == sha256,
    })
}

/// Whether a file of that size could be one that is known by its SHA-256.
#[must_use]
pub fn needs_sha256(size: u64) -> bool {
    TABLE
        .iter()
        .any(|one| one.sha256.is_some() && one.size == Some(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Release, Version};

    #[test]
    fn the_table_reads_and_agrees_with_the_releases() {
        assert_eq!(TABLE.len(), 37);
        for one in TABLE.iter() {
            let release = Version::parse(&one.release).unwrap().release();
            assert_eq!(release, Release::Known(one.layouts()), "{}", one.release);
            let id = one.git_blob_sha1.as_deref();
            let found = known_library(id.unwrap_or(""), one.sha256.as_deref());
            assert_eq!(found, Some(one));
            assert!(id.is_some() || one.sha256.is_some(), "{}", one.release);
            if one.sha256.is_some() {
                assert!(needs_sha256(one.size.unwrap()));
            }
            let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(one.commit.len() == 40 && hex(&one.commit), "{}", one.commit);
            let end = format!("/{}/librkllmrt.so", one.arch);
            assert!(one.path.ends_with(&end), "{}", one.path);
            assert!(!one.path.starts_with('/') && !one.path.contains(".."));
        }
    }

    #[test]
    fn others_are_unknown() {
        let (id, sha256) = ("0".repeat(40), "0".repeat(64));
        for (id, sha256) in [
            (id.as_str(), None),
            (&id, Some(sha256.as_str())),
            ("", None),
            ("", Some("")),
        ] {
            assert_eq!(known_library(id, sha256), None);
        }
        assert!(!needs_sha256(0));
    }
}

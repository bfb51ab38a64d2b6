//! Evidence A: the official libraries by the Git blob id of their files.

use std::sync::LazyLock;

use serde::Deserialize;

use super::Layouts;

/// One official library file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KnownLibrary {
    /// The release, such as `1.2.1b1`.
    pub release: String,
    generation: String,
    /// `linux` or `android`.
    pub os: String,
    /// The vendor's folder: `aarch64`, `armhf`, `arm64-v8a` or `armeabi-v7a`.
    pub arch: String,
    /// The Git blob id of the file, in lower-case hex.
    pub git_blob_sha1: String,
    /// The commit of the vendor's repository that has it; not every release has a tag.
    pub commit: String,
    /// The file's path there.
    pub path: String,
    /// Its size in bytes, where known.
    #[serde(default)]
    pub size: Option<u64>,
}

impl KnownLibrary {
    /// The generation's name, such as `v1_2_1`; those of 1.0.x are named too.
    #[must_use]
    pub fn generation(&self) -> &str {
        &self.generation
    }

    /// The generation it belongs to.
    #[must_use]
    pub fn layouts(&self) -> Layouts {
        Layouts::named(&self.generation).unwrap_or(Layouts::NONE)
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

/// The official library whose file has that Git blob id (lower-case hex).
#[must_use]
pub fn known_library(git_blob_sha1: &str) -> Option<&'static KnownLibrary> {
    TABLE.iter().find(|one| one.git_blob_sha1 == git_blob_sha1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Release, Version};

    #[test]
    fn the_table_reads_and_agrees_with_the_releases() {
        assert_eq!(TABLE.len(), 36);
        for one in TABLE.iter() {
            let release = Version::parse(&one.release).unwrap().release();
            assert_eq!(release, Release::Known(one.layouts()), "{}", one.release);
            assert_eq!(known_library(&one.git_blob_sha1), Some(one));
            let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(one.commit.len() == 40 && hex(&one.commit), "{}", one.commit);
            let end = format!("/{}/librkllmrt.so", one.arch);
            assert!(one.path.ends_with(&end), "{}", one.path);
            assert!(!one.path.starts_with('/') && !one.path.contains(".."));
        }
    }

    #[test]
    fn others_are_unknown() {
        assert_eq!(
            known_library("0000000000000000000000000000000000000000"),
            None
        );
        assert_eq!(known_library(""), None);
    }
}

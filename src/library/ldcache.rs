//! Reads `/etc/ld.so.cache`, the dynamic linker's list of libraries (glibc).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use memchr::{memchr, memmem};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// The paths under which the cache knows the library `name`, in its order.
///
/// An older format may stand before the one read here, and every offset counts from the magic text.
/// Whatever does not fit is skipped: the cache is a hint, and its files are checked like all others.
pub(super) fn lookup(cache: &[u8], name: &str) -> Vec<PathBuf> {
    let Some(start) = memmem::find(cache, MAGIC) else {
        return Vec::new();
    };
    let cache = &cache[start..];
    let Some(count) = word(cache, MAGIC.len()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for index in 0..count as usize {
        let Some(entry) = index
            .checked_mul(ENTRY)
            .and_then(|at| at.checked_add(HEADER))
        else {
            break;
        };
        // flags, key, value, osversion, hwcap
        let (Some(key), Some(value)) = (word(cache, entry + 4), word(cache, entry + 8)) else {
            break;
        };
        if text(cache, key) == Some(name.as_bytes()) {
            found.extend(
                text(cache, value)
                    .filter(|path| path.starts_with(b"/"))
                    .map(|path| PathBuf::from(OsStr::from_bytes(path))),
            );
        }
    }
    found
}

/// Files of the cache are in the byte order of the machine that wrote them: this one.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn text(bytes: &[u8], at: u32) -> Option<&[u8]> {
    let rest = bytes.get(at as usize..)?;
    Some(&rest[..memchr(0, rest)?])
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A cache with those names and paths, behind `before`.
    fn cache(before: &[u8], entries: &[(&str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table = Vec::new();
        let base = HEADER + entries.len() * ENTRY;
        for (name, path) in entries {
            let key = (base + strings.len()) as u32;
            strings.extend(name.bytes().chain([0]));
            let value = (base + strings.len()) as u32;
            strings.extend(path.bytes().chain([0]));
            for number in [0x0303, key, value, 0, 0, 0] {
                table.extend(number.to_ne_bytes());
            }
        }
        let mut file = before.to_vec();
        file.extend(MAGIC);
        file.extend((entries.len() as u32).to_ne_bytes());
        file.extend((strings.len() as u32).to_ne_bytes());
        file.extend([0; 20]);
        file.extend(table);
        file.extend(strings);
        file
    }

    /// A cache that knows one library.
    pub(crate) fn one(name: &str, path: &str) -> Vec<u8> {
        cache(b"", &[(name, path)])
    }

    const ENTRIES: &[(&str, &str)] = &[
        ("libz.so.1", "/lib/libz.so.1"),
        ("librkllmrt.so", "/opt/a/librkllmrt.so"),
        ("librkllmrt.so", "/opt/b/librkllmrt.so"),
        ("librkllmrt.so.1", "/opt/c/librkllmrt.so.1"),
        ("librkllmrt.so", "relative/librkllmrt.so"),
    ];

    #[test]
    fn finds_all_of_that_name() {
        for before in [&b""[..], b"ld.so-1.7.0\0\x01\0\0\0padding....."] {
            let found = lookup(&cache(before, ENTRIES), "librkllmrt.so");
            assert_eq!(
                found,
                [
                    PathBuf::from("/opt/a/librkllmrt.so"),
                    PathBuf::from("/opt/b/librkllmrt.so")
                ]
            );
        }
        assert!(lookup(&cache(b"", ENTRIES), "libnone.so").is_empty());
        assert!(lookup(b"", "libz.so.1").is_empty());
    }

    #[test]
    fn reads_this_machine_s() {
        if let Ok(bytes) = std::fs::read("/etc/ld.so.cache") {
            if memmem::find(&bytes, MAGIC).is_some() {
                assert!(!lookup(&bytes, "libc.so.6").is_empty());
            }
        }
    }

    #[test]
    fn any_truncation_is_survived() {
        let whole = cache(b"", ENTRIES);
        for length in 0..whole.len() {
            let _ = lookup(&whole[..length], "librkllmrt.so");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(rest: Vec<u8>) {
            let mut file = MAGIC.to_vec();
            file.extend(rest);
            let _ = lookup(&file, "librkllmrt.so");
        }
    }
}

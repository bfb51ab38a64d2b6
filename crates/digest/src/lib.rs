//! Tells which file it is: the model, adapter and prompt cache that belong together.
//!
//! Against accidents only: whoever wants to can make two files of the same mark.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// Places of a file that are looked at: reading all of a model takes longer than loading it.
const SAMPLES: u64 = 256;
const SAMPLE_SIZE: u64 = 4096;

/// A file's size, and a hash over places all over it: both ends, and of up to 1 MiB every byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// In bytes.
    pub size: u64,
    /// Of the size, too.
    pub hash: u64,
}

impl Mark {
    /// Looks at a file.
    ///
    /// # Errors
    /// What opening or reading gives.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut hash = of_bytes(0, &size.to_le_bytes());
        let mut bytes = [0_u8; SAMPLE_SIZE as usize];
        let sample = &mut bytes[..size.min(SAMPLE_SIZE) as usize];
        let last = size - sample.len() as u64;
        for i in 0..SAMPLES {
            let at = u128::from(last) * u128::from(i) / u128::from(SAMPLES - 1);
            file.read_exact_at(sample, at as u64)?;
            hash = of_bytes(hash, sample);
        }
        Ok(Self { size, hash })
    }
}

/// The hash of bytes, in steps: each takes up the result of the one before.
#[must_use]
pub fn of_bytes(before: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(before, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = of_bytes(0, &bytes);
        assert_eq!(whole, of_bytes(0, &bytes));
        assert_ne!(whole, of_bytes(1, &bytes));
        for length in 0..100 {
            assert_ne!(whole, of_bytes(0, &bytes[..length]));
            let mut changed = bytes.clone();
            changed[length] ^= 1;
            assert_ne!(whole, of_bytes(0, &changed));
        }
    }

    #[test]
    fn a_mark_sees_both_ends_and_all_of_a_small_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mark = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            Mark::of(file.path()).unwrap()
        };
        for size in [0_usize, 1, 4095, 4097, 1 << 20, (3 << 20) + 7] {
            let mut bytes = vec![1_u8; size];
            let first = mark(&bytes);
            assert_eq!(first.size, size as u64);
            assert_ne!(mark(&[&bytes[..], b"x"].concat()).hash, first.hash);
            let places = if size <= 1 << 20 { 17 } else { 1 };
            for place in (0..places)
                .map(|i| i * size / 17)
                .chain([size.saturating_sub(1)])
            {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = 2;
                    assert_ne!(mark(&bytes), first, "{size} {place}");
                    bytes[place] = 1;
                }
            }
            assert_eq!(mark(&bytes), first);
        }
    }

    #[test]
    fn what_cannot_be_read_has_no_mark() {
        assert!(Mark::of(Path::new("/no/such/file")).is_err());
        assert!(Mark::of(Path::new("/")).is_err());
    }
}

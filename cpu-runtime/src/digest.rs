//! Tells files apart: which model and adapter a prompt cache was made with, and whether it is whole.
//!
//! Against accidents only: whoever wants to can make two files of the same digest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Places of a file that are looked at.
const SAMPLES: u64 = 256;
const SAMPLE_SIZE: usize = 4096;

/// The digest of bytes, in steps: each takes up the result of the one before.
pub(crate) fn of_bytes(before: u64, bytes: &[u8]) -> u64 {
    // Each step is reversible, so that one changed word always shows.
    let step = |digest: u64, word: u64| {
        (digest ^ word)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
    };
    let words = bytes.chunks_exact(8);
    let mut last = [0_u8; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let digest = words.fold(step(before, bytes.len() as u64), |digest, word| {
        let mut eight = [0_u8; 8];
        eight.copy_from_slice(word);
        step(digest, u64::from_le_bytes(eight))
    });
    step(digest, u64::from_le_bytes(last))
}

/// The digest of a file's length, its start and places all over it: reading all of a model takes
/// longer than loading it.
pub(crate) fn of_file(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut digest = of_bytes(0, &length.to_le_bytes());
    let mut sample = [0_u8; SAMPLE_SIZE];
    for i in 0..SAMPLES {
        let at = (u128::from(length) * u128::from(i) / u128::from(SAMPLES)) as u64;
        let mut got = 0;
        while got < sample.len() {
            match file.read_at(&mut sample[got..], at + got as u64)? {
                0 => break,
                more => got += more,
            }
        }
        digest = of_bytes(digest, &sample[..got]);
    }
    Ok(digest)
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
        assert_ne!(of_bytes(0, &[0; 8]), of_bytes(0, &[0; 9]));
        for length in 0..100 {
            assert_ne!(whole, of_bytes(0, &bytes[..length]));
            let mut changed = bytes.clone();
            changed[length] ^= 1;
            assert_ne!(whole, of_bytes(0, &changed));
        }
    }

    #[test]
    fn files_are_told_apart() {
        let own = std::env::current_exe().expect("own path");
        let digest = of_file(&own).expect("readable");
        assert_eq!(of_file(&own).expect("readable"), digest);
        assert_ne!(of_file(Path::new("Cargo.toml")).expect("readable"), digest);
        assert!(of_file(Path::new("/no/such/file")).is_err());
    }
}

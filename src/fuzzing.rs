//! What each fuzz target of this crate does with its bytes; `fuzz/` runs it under libFuzzer, and [`tests`] on what
//! is kept of that.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use rkllm_digest::Mark;

pub use crate::files::fuzzing::{gguf, vendor_lines};
pub use crate::library::fuzzing::{banner, elf, ld_cache};
pub use crate::link::npu::fuzzing::npu_record;
pub use crate::link::worker::fuzzing::frames;

/// A folder for files, in memory where that can be.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let folder = base.join(format!("rkllm-rs-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for files");
    folder
});

/// A model's file of any kind, with the suffix that the first byte chooses.
///
/// # Panics
/// There is no room for a file.
pub fn inspect(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let names = ["a.rkllm", "a.gguf", "a.bin", "qwen2.5-w8a8-rk3588.rkllm"];
    let path = FOLDER.join(names[usize::from(*kind) % names.len()]);
    fs::write(&path, bytes).expect("room for a file");
    drop(crate::files::inspect::inspect(&path));
}

/// The mark of a file: the same for the same bytes, and another one if a byte is another.
///
/// # Panics
/// It is not so.
pub fn digest(bytes: &[u8]) {
    let Some((at, bytes)) = bytes.split_first() else {
        return;
    };
    let path = FOLDER.join("digest");
    let file = File::create(&path).expect("a file");
    file.write_all_at(bytes, 0).expect("room for a file");
    let mark = Mark::of(&path).expect("a file");
    assert_eq!(
        (mark.size, Ok(mark)),
        (bytes.len() as u64, Mark::of(&path).map_err(drop))
    );
    if let Some(byte) = bytes.get(usize::from(*at)) {
        file.write_all_at(&[!byte], u64::from(*at)).expect("a byte");
        assert_ne!(Ok(mark), Mark::of(&path).map_err(drop));
    }
}

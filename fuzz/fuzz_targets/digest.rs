//! The mark of a file: the same for the same bytes, and another one if a byte is another.

#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use rkllm_digest::Mark;

static FILE: LazyLock<(PathBuf, File)> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let path = base.join(format!("rkllm-rs-fuzz-digest-{}", std::process::id()));
    let file = File::create(&path).expect("a file");
    (path, file)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((at, bytes)) = bytes.split_first() else {
        return;
    };
    let (path, file) = &*FILE;
    file.set_len(0).expect("an empty file");
    file.write_all_at(bytes, 0).expect("room for a file");
    let mark = Mark::of(path).expect("a file");
    assert_eq!(
        (mark.size, Ok(mark)),
        (bytes.len() as u64, Mark::of(path).map_err(drop))
    );
    if let Some(byte) = bytes.get(usize::from(*at)) {
        file.write_all_at(&[!byte], u64::from(*at)).expect("a byte");
        assert_ne!(Ok(mark), Mark::of(path).map_err(drop));
    }
});

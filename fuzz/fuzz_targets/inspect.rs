//! A model's file of any kind, with the suffix that the first byte chooses.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let folder = base.join(format!("rkllm-rs-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for files");
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let names = ["a.rkllm", "a.gguf", "a.bin", "qwen2.5-w8a8-rk3588.rkllm"];
    let path = FOLDER.join(names[usize::from(*kind) % names.len()]);
    std::fs::write(&path, bytes).expect("room for a file");
    drop(rkllm_rs::files::inspect::inspect(&path));
});

//! Runs fuzz targets on what is kept for them in `fuzz/corpus`, in tests of the crates that they are of.

use std::path::Path;
use std::process::Command;

/// A test of each of these targets.
macro_rules! replay {
    ($($target:ident),*) => {
        $(#[test] fn $target() {
            for input in kept::inputs(stringify!($target)) {
                super::$target(&input);
            }
        })*
    };
}
pub(super) use replay;

/// What is kept for a target. Python reads the archive: no crate does it without ten others.
pub(super) fn inputs(target: &str) -> Vec<Vec<u8>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own
        .ancestors()
        .find(|folder| folder.join("fuzz").is_dir())
        .expect("the repository");
    let script = root.join("scripts/fuzz_run.py");
    let told = Command::new("python3")
        .arg(script)
        .args(["--kept", target])
        .output()
        .expect("python3 is there");
    let errors = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{errors}");
    let mut rest = told.stdout.as_slice();
    let mut all = Vec::new();
    while let Some((length, others)) = rest.split_first_chunk() {
        let length = usize::try_from(u64::from_le_bytes(*length)).expect("a length");
        let (input, others) = others.split_at(length);
        all.push(input.to_vec());
        rest = others;
    }
    assert!(!all.is_empty(), "nothing is kept for {target}");
    all
}

//! What tests of the core share: fakes, scripts, models.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rkllm_rs::{Input, LoadOptions, Model, ModelConfig, Runtime};
use serde_json::Value;

pub(crate) const ABI_VERSIONS: [&str; 5] = ["v1_1_0", "v1_2_0", "v1_2_1", "v1_3_0", "v1_3_1"];

pub(crate) fn fake(abi_version: &str) -> PathBuf {
    let folder = std::env::var_os("RKLLM_RS_FAKES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release"),
        PathBuf::from,
    );
    let path = folder.join(format!("libfake_rkllm_{abi_version}.so"));
    assert!(
        path.exists(),
        "{} is missing: build it as tests/fake_rkllm/README.md says",
        path.display()
    );
    path
}

pub(crate) fn runtime(abi_version: &str) -> Arc<Runtime> {
    let options = LoadOptions {
        library: Some(fake(abi_version)),
        ..LoadOptions::default()
    };
    Runtime::load(&options).unwrap()
}

/// A scripted model in a file of its own.
pub(crate) fn script(name: &str, script: &Value) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rkllm-rs-runs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.rkllm"));
    std::fs::write(&path, script.to_string()).unwrap();
    path
}

pub(crate) fn open(abi_version: &str, name: &str, model: &Value) -> Model {
    let path = script(&format!("{name}-{abi_version}"), model);
    Model::open(&runtime(abi_version), path, ModelConfig::default()).unwrap()
}

/// Releases before 1.2.2 run one model in a process, and an error has all lines of its time.
static ONE_MODEL: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_MODEL.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn hello() -> Input {
    Input::prompt("hello").unwrap()
}

/// What an example says of a scripted model.
pub(crate) fn example(name: &str, model: &Path) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", name, "--"])
        .args([&fake("v1_3_1"), model])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

//! Loads scripted stand-ins through the real loader, as no Python test can: from several threads, files that are half
//! a CPU runtime, and places of a machine that is a folder.
//!
//! The libraries come from `tests/fake_rkllm`: from the folder `RKLLM_RS_FAKES`, or built here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use rkllm_rs::abi::RefusalReason;
use rkllm_rs::error::RuntimeError as Error;
use rkllm_rs::library::Environment;
use rkllm_rs::runtime::{BackendChoice, LoadOptions, Runtime};

fn fakes() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("RKLLM_RS_FAKES") {
            return folder.into();
        }
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build
            .arg("build")
            .arg("--target-dir")
            .arg(folder.parent().unwrap());
        for name in ["v1_0_1", "v1_1_0", "v1_2_0", "v1_2_1", "v1_3_0", "v1_3_1"] {
            build.arg("-p").arg(format!("fake-rkllm-{name}"));
        }
        assert!(build.status().unwrap().success(), "the fakes do not build");
        folder.parent().unwrap().join("debug")
    })
}

/// A machine of its own: a folder that stands for `/`, and copies of the fakes in it.
struct Machine {
    folder: tempfile::TempDir,
    env: Environment,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = Environment::rooted(folder.path().to_owned());
        Self { folder, env }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A copy of a fake, with `config` in its blob and some symbols renamed away.
    fn library(&self, name: &str, abi_version: &str, config: &str, dropped: &[&str]) -> PathBuf {
        const MARK: &[u8] = b"FAKE_RKLLM_CONFIG:";
        let path = self.path(name);
        let mut bytes = fs::read(fakes().join(format!("libfake_rkllm_{abi_version}.so"))).unwrap();
        let at = memchr::memmem::find(&bytes, MARK).unwrap();
        let blob = &mut bytes[at + MARK.len()..at + 4096];
        blob.fill(0);
        blob[..config.len()].copy_from_slice(config.as_bytes());
        for symbol in dropped {
            let whole = format!("\0{symbol}\0").into_bytes();
            while let Some(at) = memchr::memmem::find(&bytes, &whole) {
                bytes[at + 5] = b'x';
            }
        }
        fs::write(&path, bytes).unwrap();
        path
    }

    fn load(&self, options: &LoadOptions) -> Result<Arc<Runtime>, Error> {
        Runtime::load_in(options, &self.env)
    }
}

fn banner(version: &str) -> String {
    format!(
        "{{\"banner\": \"RKLLM SDK (version: {version} | target: Linux | build: 0 2026-01-01 00:00:00)\"}}"
    )
}

fn at(library: &Path) -> LoadOptions {
    LoadOptions {
        library: Some(library.to_owned()),
        ..LoadOptions::default()
    }
}

fn refusal(result: Result<Arc<Runtime>, Error>) -> RefusalReason {
    match result {
        Err(Error::UnsupportedRuntime { refusal, .. }) => {
            assert!(!refusal.hint().is_empty());
            refusal.reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_share_one_runtime() {
    let machine = Machine::new();
    let path = machine.library("one.so", "v1_2_1", &banner("1.2.2"), &[]);
    let all: Vec<Arc<Runtime>> = std::thread::scope(|scope| {
        let load = || scope.spawn(|| machine.load(&at(&path)).unwrap());
        let threads: Vec<_> = (0..8).map(|_| load()).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
}

#[test]
fn half_a_cpu_runtime_is_refused() {
    let machine = Machine::new();
    let path = machine.library("half.so", "v1_3_0", &banner("1.3.0"), &[]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"rkllm_rs CPU runtime");
    fs::write(&path, bytes).unwrap();
    assert_eq!(
        refusal(machine.load(&at(&path))),
        RefusalReason::BrokenCpuRuntime
    );
    let npu = LoadOptions {
        backend: BackendChoice::Npu,
        ..at(&path)
    };
    assert!(matches!(
        refusal(machine.load(&npu)),
        RefusalReason::WrongBackend { cpu_needed: false }
    ));
    let vendor = machine.library("vendor.so", "v1_3_0", &banner("1.3.0"), &[]);
    let cpu = LoadOptions {
        backend: BackendChoice::Cpu,
        ..at(&vendor)
    };
    assert!(matches!(
        refusal(machine.load(&cpu)),
        RefusalReason::WrongBackend { cpu_needed: true }
    ));
}

#[test]
fn a_later_place_may_have_a_better_library() {
    let mut machine = Machine::new();
    let home = machine.path("home/x").parent().unwrap().to_owned();
    machine.env.set("RKLLM_RS_HOME", &home);
    machine.library(
        "home/runtimes/9.0.0/librkllmrt.so",
        "v1_3_0",
        &banner("9.0.0"),
        &[],
    );
    assert!(matches!(
        refusal(machine.load(&LoadOptions::default())),
        RefusalReason::Newer(_)
    ));
    machine.library(
        "home/runtimes/1.3.0/librkllmrt.so",
        "v1_3_0",
        &banner("1.3.0"),
        &[],
    );
    let runtime = machine.load(&LoadOptions::default()).unwrap();
    assert_eq!(runtime.identity().version.as_deref(), Some("1.3.0"));
}

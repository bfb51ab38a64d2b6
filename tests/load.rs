//! Loads scripted stand-ins through the real loader: what is accepted, what is refused, and why.
//!
//! The libraries come from `tests/fake_rkllm`: from the folder `RKLLM_RS_FAKES`, or built here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use rkllm_rs::abi::{EvidenceKind, Generation, Layouts, RefusalReason};
use rkllm_rs::backend::{BackendKind, BackendNote, backends_in, resolve_in as resolve};
use rkllm_rs::error::{Error, ErrorKind};
use rkllm_rs::loader::{Environment, LoadProblem};
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
    fn library(&self, name: &str, generation: &str, config: &str, dropped: &[&str]) -> PathBuf {
        const MARK: &[u8] = b"FAKE_RKLLM_CONFIG:";
        let path = self.path(name);
        let mut bytes = fs::read(fakes().join(format!("libfake_rkllm_{generation}.so"))).unwrap();
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

    fn npu(&self) {
        fs::write(self.path("dev/rknpu"), "").unwrap();
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

fn with_abi(library: &Path, abi: Generation) -> LoadOptions {
    LoadOptions {
        abi: Some(abi),
        ..at(library)
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

fn problem(result: Result<Arc<Runtime>, Error>) -> LoadProblem {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LibraryNotFound);
    assert!(
        error
            .to_string()
            .starts_with("Could not load RKLLM library from any location")
    );
    assert!(error.hint().is_some());
    error
        .load_problem()
        .unwrap_or_else(|| panic!("{error}"))
        .clone()
}

#[test]
fn every_generation_is_identified() {
    let machine = Machine::new();
    for (generation, version) in [
        ("v1_1_0", "1.1.4"),
        ("v1_2_0", "1.2.1b1"),
        ("v1_2_1", "1.2.3"),
        ("v1_3_0", "1.3.0"),
        ("v1_3_1", "1.3.1"),
    ] {
        let named = machine.library(
            &format!("{generation}/named.so"),
            generation,
            &banner(version),
            &[],
        );
        let bare = machine.library(
            &format!("{generation}/bare.so"),
            generation,
            "{\"banner\": null}",
            &[],
        );
        let runtime = machine.load(&at(&named)).unwrap();
        assert_eq!(runtime.identity().generation.as_str(), generation);
        assert_eq!(runtime.identity().version.as_deref(), Some(version));
        assert_eq!(runtime.backend(), BackendKind::Npu);
        let kinds: Vec<EvidenceKind> = runtime
            .identity()
            .evidence
            .iter()
            .map(|line| line.kind)
            .collect();
        assert_eq!(
            kinds,
            [
                EvidenceKind::Banner,
                EvidenceKind::Symbols,
                EvidenceKind::Defaults
            ]
        );
        // Without a banner, functions and defaults do not separate 1.3.0 from 1.3.1.
        let bare = if generation >= "v1_3_0" {
            let refused = refusal(machine.load(&at(&bare)));
            assert!(matches!(refused, RefusalReason::TooLittle(Layouts::V1_3)));
            with_abi(&bare, generation.parse().unwrap())
        } else {
            at(&bare)
        };
        let runtime = machine.load(&bare).unwrap();
        assert_eq!(runtime.identity().generation.as_str(), generation);
        assert_eq!(runtime.identity().version, None);
        assert_eq!(
            runtime.capabilities().has("per_run_sampling"),
            generation >= "v1_3_0"
        );
        assert_eq!(runtime.capabilities().has("audio"), generation == "v1_3_1");
    }
}

#[test]
fn what_the_evidence_does_not_carry_is_refused() {
    let machine = Machine::new();
    let garbage = |version: &str| {
        format!(
            "{}, \"defaults\": \"garbage\"}}",
            banner(version).trim_end_matches('}')
        )
    };
    let bare = machine.library(
        "garbage.so",
        "v1_3_0",
        "{\"banner\": null, \"defaults\": \"garbage\"}",
        &[],
    );
    assert!(matches!(
        refusal(machine.load(&at(&bare))),
        RefusalReason::TooLittle(_)
    ));
    assert!(machine.load(&with_abi(&bare, Generation::V1_3_0)).is_ok());

    let named = machine.library("named.so", "v1_2_1", &garbage("1.2.3"), &[]);
    assert!(matches!(
        refusal(machine.load(&at(&named))),
        RefusalReason::Unconfirmed(_)
    ));
    let asked = refusal(machine.load(&with_abi(&named, Generation::V1_3_0)));
    assert!(matches!(asked, RefusalReason::Contradicted { .. }));

    let lying = machine.library("lying.so", "v1_2_1", &banner("1.3.0"), &[]);
    assert_eq!(
        refusal(machine.load(&at(&lying))),
        RefusalReason::Disagreement
    );
    assert_eq!(
        refusal(machine.load(&with_abi(&lying, Generation::V1_3_0))),
        RefusalReason::Disagreement
    );

    let silent = machine.library(
        "silent.so",
        "v1_3_0",
        "{\"banner\": null}",
        &["rkllm_load_lora"],
    );
    assert!(matches!(
        refusal(machine.load(&at(&silent))),
        RefusalReason::Incomplete(_)
    ));
    let gap = machine.library("gap.so", "v1_3_0", &banner("1.3.0"), &["rkllm_load_lora"]);
    let runtime = machine.load(&at(&gap)).unwrap();
    assert!(!runtime.capabilities().has("lora"));
    let error = runtime.capabilities().require("lora").unwrap_err();
    assert!(error.to_string().contains("rkllm_load_lora"), "{error}");
}

#[test]
fn old_libraries_are_told_apart_and_never_called() {
    let machine = Machine::new();
    let record = machine.path("record");
    let config = format!(
        "{{\"banner\": null, \"record\": {:?}}}",
        record.to_str().unwrap()
    );
    let bare = machine.library("bare.so", "v1_0_1", &config, &[]);
    assert_eq!(refusal(machine.load(&at(&bare))), RefusalReason::TooOld);
    assert_eq!(
        refusal(machine.load(&with_abi(&bare, Generation::V1_1_0))),
        RefusalReason::TooOld
    );
    assert!(
        !record.exists(),
        "a function of the refused library was called"
    );
}

#[test]
fn a_refusal_by_the_file_opens_nothing() {
    let machine = Machine::new();
    let touch = machine.path("touched");
    let config = |version| {
        let banner = banner(version);
        format!(
            "{}, \"constructor_touch\": {:?}}}",
            banner.trim_end_matches('}'),
            touch.to_str().unwrap()
        )
    };
    let newer = machine.library("newer.so", "v1_3_1", &config("1.4.0"), &[]);
    assert!(matches!(
        refusal(machine.load(&at(&newer))),
        RefusalReason::Newer(_)
    ));
    let old = machine.library("old.so", "v1_0_1", &config("1.0.1"), &[]);
    assert_eq!(refusal(machine.load(&at(&old))), RefusalReason::TooOld);
    assert!(!touch.exists());
    let runtime = machine.load(&with_abi(&newer, Generation::V1_3_1)).unwrap();
    assert_eq!(runtime.identity().version.as_deref(), Some("1.4.0"));
    assert!(runtime.identity().newer);
    assert!(touch.exists());
}

#[test]
fn the_same_file_is_one_runtime() {
    let machine = Machine::new();
    let path = machine.library("one.so", "v1_3_0", &banner("1.3.0"), &[]);
    let link = machine.path("link.so");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let first = machine.load(&at(&path)).unwrap();
    let second = machine.load(&at(&link)).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert!(machine.load(&with_abi(&path, Generation::V1_3_0)).is_ok());
    let other = refusal(machine.load(&with_abi(&path, Generation::V1_2_1)));
    assert!(matches!(other, RefusalReason::AlreadyLoaded { .. }));
    let copy = machine.library("copy.so", "v1_3_0", &banner("1.3.0"), &[]);
    assert!(!Arc::ptr_eq(&first, &machine.load(&at(&copy)).unwrap()));
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
fn what_is_named_is_obeyed() {
    let mut machine = Machine::new();
    let good = machine.library("usr/lib/librkllmrt.so", "v1_3_0", &banner("1.3.0"), &[]);
    assert_eq!(
        machine.load(&LoadOptions::default()).unwrap().path(),
        good.canonicalize().unwrap()
    );
    assert_eq!(
        problem(machine.load(&at(&machine.path("none.so")))),
        LoadProblem::Missing
    );
    machine.env.set("RKLLM_RS_LIB", machine.path("gone.so"));
    assert_eq!(
        problem(machine.load(&LoadOptions::default())),
        LoadProblem::Missing
    );
    machine.env.set("RKLLM_RS_LIB", machine.path("usr/lib"));
    assert!(machine.load(&LoadOptions::default()).is_ok());
    fs::write(machine.path("noelf.so"), "hello").unwrap();
    assert_eq!(
        problem(machine.load(&at(&machine.path("noelf.so")))),
        LoadProblem::NotElf
    );
}

#[test]
fn other_libraries_are_not_rkllm() {
    let machine = Machine::new();
    let path = machine.library(
        "part.so",
        "v1_3_0",
        &banner("1.3.0"),
        &["rkllm_init", "rkllm_run"],
    );
    let LoadProblem::MissingSymbols(missing) = problem(machine.load(&at(&path))) else {
        panic!("loaded without rkllm_init");
    };
    assert_eq!(missing, ["rkllm_init", "rkllm_run"]);
    let whole = fs::read(machine.library("whole.so", "v1_3_0", "{}", &[])).unwrap();
    fs::write(machine.path("cut.so"), &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(
        problem(machine.load(&at(&machine.path("cut.so")))),
        LoadProblem::Truncated { .. }
    ));
}

#[test]
fn found_libraries_must_be_trusted() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut machine = Machine::new();
    let path = machine.library("usr/lib/librkllmrt.so", "v1_3_0", &banner("1.3.0"), &[]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let error = machine.load(&LoadOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("can be written by everybody"), "{text}");
    assert!(text.contains("RKLLM_RS_LIB"), "{text}");
    // Named, the same file is taken.
    assert!(machine.load(&at(&path)).is_ok());

    let machine_b = Machine::new();
    let mut machine_b = Machine {
        env: machine_b.env.clone(),
        ..machine_b
    };
    let arch = if cfg!(target_arch = "aarch64") {
        "aarch64"
    } else if cfg!(target_arch = "arm") {
        "armhf"
    } else {
        "x86_64"
    };
    let local = machine_b.library(
        &format!("work/libs/rkllm/{arch}/librkllmrt.so"),
        "v1_3_0",
        &banner("1.3.0"),
        &[],
    );
    let beside = machine_b.library("models/librkllmrt.so", "v1_3_0", &banner("1.3.0"), &[]);
    machine_b.env.cwd = Some(machine_b.path("work/x").parent().unwrap().to_owned());
    let options = LoadOptions {
        model_dir: beside.parent().map(Path::to_owned),
        ..LoadOptions::default()
    };
    let error = machine_b.load(&options).unwrap_err();
    let text = error.to_string();
    for path in [&local, &beside] {
        let line = text
            .lines()
            .find(|line| line.contains(path.to_str().unwrap()))
            .unwrap();
        assert!(line.contains("official release"), "{line}");
    }
    machine.env.set("RKLLM_RS_LIB", local);
    assert!(machine.load(&LoadOptions::default()).is_ok());
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

#[test]
fn backends_are_told_without_loading() {
    let machine = Machine::new();
    let touch = machine.path("touched");
    let config = format!(
        "{}, \"constructor_touch\": {:?}}}",
        banner("1.3.0").trim_end_matches('}'),
        touch.to_str().unwrap()
    );
    let path = machine.library("usr/lib/librkllmrt.so", "v1_3_0", &config, &[]);
    let list = backends_in(&LoadOptions::default(), &machine.env);
    assert_eq!(
        list[0].library.as_deref(),
        Some(path.canonicalize().unwrap().as_path())
    );
    assert!(
        !list[0].available && list[0].reason.contains("no NPU"),
        "{:?}",
        list[0]
    );
    machine.npu();
    let list = backends_in(&LoadOptions::default(), &machine.env);
    assert!(
        list[0].available && list[0].reason.contains("1.3.0"),
        "{:?}",
        list[0]
    );
    assert!(!list[1].available && list[1].library.is_none());
    assert!(!touch.exists());
}

#[test]
fn no_other_release_takes_the_place_of_the_chosen_one() {
    let mut machine = Machine::new();
    machine.npu();
    machine.library("usr/lib/librkllmrt.so", "v1_3_0", &banner("1.3.0"), &[]);
    machine.library(
        "home/runtimes/1.1.4/librkllmrt.so",
        "v1_1_0",
        &banner("1.1.4"),
        &[],
    );
    let home = machine.path("home/x").parent().unwrap().to_owned();
    machine.env.set("RKLLM_RS_HOME", home);
    let [chosen, free] = ["a", "b"].map(|name| {
        let path = machine.path(&format!("models/{name}.rkllm"));
        fs::write(&path, "{}").unwrap();
        path
    });
    let auto = LoadOptions::default();
    let version = |model: &PathBuf| {
        let found = resolve(std::slice::from_ref(model), &auto, &machine.env)?;
        Ok::<_, Error>(found.runtime.identity().version.clone().unwrap())
    };
    // The runtimes folder comes before the system's.
    assert_eq!(version(&free).unwrap(), "1.1.4");

    let file = machine.path("models/a.rkllm.runtime");
    fs::write(&file, "1.2.3\n").unwrap();
    let error = version(&chosen).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(error.to_string().contains("version 1.2.3 is not installed"));
    assert!(hint.contains("rkllm-rs runtime install 1.2.3"), "{hint}");
    assert_eq!(version(&free).unwrap(), "1.1.4");
    let both = [chosen.clone(), free.clone()];
    let found = resolve(&both, &auto, &machine.env).unwrap();
    assert_eq!(found.model, free);
    let fallback = found.fallback.unwrap();
    assert!(
        fallback.contains("RKLLM version 1.2.3 is not installed"),
        "{fallback}"
    );

    machine.library(
        "home/runtimes/1.2.3/librkllmrt.so",
        "v1_2_1",
        &banner("1.2.3"),
        &[],
    );
    assert_eq!(version(&chosen).unwrap(), "1.2.3");
    fs::write(&file, "/usr/lib").unwrap();
    let error = version(&chosen).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("should name an installed version")
    );
}

#[test]
fn models_find_their_backend() {
    let mut machine = Machine::new();
    let library = machine.library("lib/fake.so", "v1_3_0", &banner("1.3.0"), &[]);
    let rkllm = machine.path("models/a.rkllm");
    fs::write(&rkllm, "{}").unwrap();
    let options = at(&library);

    let found = resolve(std::slice::from_ref(&rkllm), &options, &machine.env).unwrap();
    assert_eq!(
        (found.model.as_path(), found.fallback),
        (rkllm.as_path(), None)
    );
    assert!(matches!(found.warnings.as_slice(), [BackendNote::NoNpu(_)]));
    for spec in [
        machine.path("models/a"),
        machine.path("models/x").parent().unwrap().to_owned(),
    ] {
        assert_eq!(
            resolve(&[spec], &options, &machine.env).unwrap().model,
            rkllm
        );
    }

    // Found, not named: without an NPU it says so.
    machine.library("usr/lib/librkllmrt.so", "v1_3_0", &banner("1.3.0"), &[]);
    let auto = LoadOptions::default();
    let error = resolve(std::slice::from_ref(&rkllm), &auto, &machine.env).unwrap_err();
    assert!(matches!(error, Error::NoNpu { .. }), "{error}");
    let npu = LoadOptions {
        backend: BackendChoice::Npu,
        ..auto.clone()
    };
    assert_eq!(
        resolve(std::slice::from_ref(&rkllm), &npu, &machine.env)
            .unwrap()
            .warnings
            .len(),
        1
    );
    machine.npu();
    let found = resolve(std::slice::from_ref(&rkllm), &auto, &machine.env).unwrap();
    assert!(found.warnings.is_empty());

    // A model of the other kind.
    let gguf = machine.path("models/a.gguf");
    fs::write(&gguf, [b"GGUF".as_slice(), &[0; 64]].concat()).unwrap();
    for options in [&npu, &options] {
        let error = resolve(std::slice::from_ref(&gguf), options, &machine.env).unwrap_err();
        assert!(matches!(error, Error::BackendMismatch { .. }), "{error}");
        assert!(
            error.to_string().contains("needs backend \"cpu\""),
            "{error}"
        );
    }
    let cpu = LoadOptions {
        backend: BackendChoice::Cpu,
        ..auto.clone()
    };
    let error = resolve(std::slice::from_ref(&rkllm), &cpu, &machine.env).unwrap_err();
    assert!(matches!(error, Error::BackendMismatch { .. }), "{error}");
    let error = resolve(std::slice::from_ref(&gguf), &auto, &machine.env).unwrap_err();
    assert!(error.hint().unwrap().contains("rkllm_rs[cpu]"), "{error}");

    // In order of preference; a missing one is passed over, and told.
    let found = resolve(
        &[machine.path("none.rkllm"), rkllm.clone()],
        &auto,
        &machine.env,
    )
    .unwrap();
    assert!(found.fallback.unwrap().contains("none.rkllm: no such file"));
    let error = resolve(&[machine.path("none.rkllm")], &auto, &machine.env).unwrap_err();
    assert!(error.is_file_not_found());

    machine.env.set("RKLLM_RS_BACKEND", "tpu");
    let error = resolve(std::slice::from_ref(&rkllm), &auto, &machine.env).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("RKLLM_RS_BACKEND"));
    machine.env.set("RKLLM_RS_BACKEND", "CPU");
    let error = resolve(&[rkllm], &auto, &machine.env).unwrap_err();
    assert!(matches!(error, Error::BackendMismatch { .. }), "{error}");
}

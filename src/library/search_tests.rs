//! Where a library may be, and in which order.

use std::os::unix::ffi::OsStrExt as _;

use super::*;

fn paths(list: &[Candidate], origin: Origin) -> Vec<&Path> {
    list.iter()
        .filter(|one| one.origin == origin)
        .map(|one| one.path.as_path())
        .collect()
}

#[test]
fn what_is_named_is_the_only_place() {
    let mut env = Environment::rooted("/nowhere".into());
    env.set("RKLLM_LIB_PATH", "/shared");
    let places = Places::default();
    let list = npu(&places, &env);
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].origin, list[0].rule),
        (Origin::Variable("RKLLM_LIB_PATH"), Rule::Obeyed)
    );
    env.set("RKLLM_RS_LIB", "/own");
    assert_eq!(npu(&places, &env)[0].path, Path::new("/own"));
    let places = Places {
        library: Some(Path::new("given")),
        ..places
    };
    let list = npu(&places, &env);
    assert_eq!((list.len(), list[0].origin), (1, Origin::Argument));
}

#[test]
fn empty_variables_are_unset() {
    let mut env = Environment::rooted("/nowhere".into());
    for name in [
        "RKLLM_RS_LIB",
        "RKLLM_LIB_PATH",
        "RKLLM_RS_HOME",
        "XDG_DATA_HOME",
        "LD_LIBRARY_PATH",
    ] {
        env.set(name, "");
    }
    assert!(
        npu(&Places::default(), &env)
            .iter()
            .all(|one| one.origin == Origin::System)
    );
    assert_eq!(env.home(), None);
}

#[test]
fn the_home_folder_follows_its_variables() {
    let mut env = Environment::rooted("/".into());
    env.set("HOME", "/home/ann");
    assert_eq!(
        env.home().unwrap(),
        Path::new("/home/ann/.local/share/rkllm_rs")
    );
    env.set("XDG_DATA_HOME", "relative");
    assert_eq!(
        env.home().unwrap(),
        Path::new("/home/ann/.local/share/rkllm_rs")
    );
    env.set("XDG_DATA_HOME", "/data");
    assert_eq!(env.home().unwrap(), Path::new("/data/rkllm_rs"));
    env.set("RKLLM_RS_HOME", "/rk");
    assert_eq!(env.home().unwrap(), Path::new("/rk"));
}

#[test]
fn found_places_come_in_order() {
    let root = tempfile::tempdir().unwrap();
    let mut env = Environment::rooted(root.path().to_owned());
    env.cwd = Some("/work".into());
    env.set("RKLLM_RS_HOME", "/rk");
    env.set("LD_LIBRARY_PATH", "/one::relative:/two");
    let places = Places {
        package_dir: Some(Path::new("/src/python/rkllm_rs")),
        model_dir: Some(Path::new("/models")),
        ..Places::default()
    };
    let list = npu(&places, &env);
    let mut origins: Vec<Origin> = list.iter().map(|one| one.origin).collect();
    origins.dedup();
    assert_eq!(
        origins,
        [
            Origin::Package,
            Origin::Runtimes,
            Origin::WorkingFolder,
            Origin::BesideModel,
            Origin::LdLibraryPath,
            Origin::System
        ]
    );
    assert_eq!(
        paths(&list, Origin::LdLibraryPath),
        [
            Path::new("/one/librkllmrt.so"),
            Path::new("/two/librkllmrt.so")
        ]
    );
    let package = paths(&list, Origin::Package);
    let arch = arch_names()[0];
    for folder in ["/src/python/rkllm_rs", "/src/python", "/src"] {
        let path = Path::new(folder)
            .join("libs/rkllm")
            .join(arch)
            .join("librkllmrt.so");
        assert!(package.contains(&path.as_path()), "{folder}");
    }
    assert!(
        paths(&list, Origin::System).contains(&root.path().join("usr/lib/librkllmrt.so").as_path())
    );
    let official = |one: &&Candidate| one.rule == Rule::Official;
    let downloads: Vec<Origin> = list.iter().filter(official).map(|one| one.origin).collect();
    assert!(downloads.contains(&Origin::WorkingFolder) && downloads.contains(&Origin::BesideModel));
    assert!(list.iter().all(|one| one.rule != Rule::Obeyed));
}

#[test]
fn runtimes_come_newest_first() {
    let home = tempfile::tempdir().unwrap();
    for name in [
        "1.2.3", "1.10.0", "1.2.1b1", "1.2.1", "v1.3.0", "notes", "current",
    ] {
        fs::create_dir_all(home.path().join("runtimes").join(name)).unwrap();
    }
    fs::write(home.path().join("runtimes/2.0.0"), "a file").unwrap();
    let found = runtimes(&home.path().join("runtimes"));
    let names: Vec<&str> = found
        .iter()
        .filter_map(|path| path.parent()?.file_name()?.to_str())
        .collect();
    assert_eq!(
        names,
        [
            "current", "1.10.0", "v1.3.0", "1.2.3", "1.2.1", "1.2.1b1", "notes"
        ]
    );
}

#[test]
fn the_linker_s_cache_is_asked() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(
        root.path().join("etc/ld.so.cache"),
        ldcache::tests::one("librkllmrt.so", "/far/librkllmrt.so"),
    )
    .unwrap();
    let list = npu(
        &Places::default(),
        &Environment::rooted(root.path().to_owned()),
    );
    assert_eq!(
        paths(&list, Origin::LdCache),
        [root.path().join("far/librkllmrt.so")]
    );
}

#[test]
fn the_cpu_runtime_has_places_of_its_own() {
    let mut env = Environment::rooted("/nowhere".into());
    let places = Places {
        cpu_library: Some(Path::new("/site/rkllm_rs_cpu/librkllmrt_cpu.so")),
        package_dir: Some(Path::new("/site/rkllm_rs")),
        ..Places::default()
    };
    let list = cpu(&places, &env, |_| false);
    assert_eq!(
        (list[0].origin, list[0].rule),
        (Origin::CpuPackage, Rule::Installed)
    );
    assert!(
        list.iter()
            .any(|one| one.path == Path::new("/nowhere/usr/lib/librkllmrt_cpu.so"))
    );
    // A variable for the vendor's library counts only when it names a CPU runtime.
    env.set("RKLLM_RS_LIB", "/lib/some.so");
    assert!(cpu(&places, &env, |_| false).len() > 1);
    assert_eq!(
        cpu(&places, &env, |_| true)[0].path,
        Path::new("/lib/some.so")
    );
    env.set("RKLLM_RS_CPU_LIB", "/cpu.so");
    let list = cpu(&places, &env, |_| true);
    assert_eq!(
        (list.len(), list[0].origin),
        (1, Origin::Variable("RKLLM_RS_CPU_LIB"))
    );
}

#[test]
fn any_bytes_make_a_path() {
    let mut env = Environment::rooted("/nowhere".into());
    let name = OsStr::from_bytes(b"/lib/\xff.so");
    env.set("RKLLM_RS_LIB", name);
    assert_eq!(npu(&Places::default(), &env)[0].path, Path::new(name));
}

#[test]
fn a_chosen_version_comes_before_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut env = Environment::rooted("/nowhere".into());
    env.cwd = Some(folder.path().to_owned());
    env.set("RKLLM_RS_HOME", "/rk");
    let places = Places {
        package_dir: Some(Path::new("/site/rkllm_rs")),
        ..Places::default()
    };
    let find = |env: &Environment| -> Vec<(PathBuf, Origin, Rule)> {
        npu(&places, env)
            .into_iter()
            .filter(|one| one.origin != Origin::Package)
            .map(|one| (one.path, one.origin, one.rule))
            .collect()
    };
    let current = (
        PathBuf::from("/rk/runtimes/current/librkllmrt.so"),
        Origin::Runtimes,
        Rule::Owned,
    );
    assert_eq!(find(&env)[0], current);
    let file = folder.path().join(".rkllm-runtime");
    fs::write(file, "1.2.3\n").unwrap();
    let project = (
        PathBuf::from("/rk/runtimes/1.2.3/librkllmrt.so"),
        Origin::ChosenForProject,
        Rule::Chosen,
    );
    assert_eq!(find(&env)[..2], [project, current]);
}

#[test]
fn a_choice_is_a_version_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".rkllm-runtime");
    let mut env = Environment::rooted("/nowhere".into());
    env.cwd = Some(folder.path().to_owned());
    env.set("RKLLM_RS_HOME", "/rk");
    let rule = || npu(&Places::default(), &env)[0].rule;
    for text in [
        "",
        "1.2",
        "../1.2.3",
        "/tmp/1.2.3",
        "1.2.3/..",
        "1.2.3 1.3.0",
        "1.2.3\n1.3.0",
        "1.2.3-x",
        "current",
    ] {
        fs::write(&file, text).unwrap();
        assert_eq!(rule(), Rule::NoVersion, "{text:?}");
    }
    fs::write(&file, [b'1'; 4096]).unwrap();
    assert_eq!(rule(), Rule::NoVersion);
    fs::write(&file, b"1.2.3\xff").unwrap();
    assert_eq!(rule(), Rule::NoVersion);
    fs::remove_file(&file).unwrap();
    assert_eq!(rule(), Rule::Owned);
    // Neither a pipe nor a folder holds the search up.
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(rule(), Rule::NoVersion);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(rule(), Rule::NoVersion);
    assert_eq!(npu(&Places::default(), &env)[0].path, file);
}

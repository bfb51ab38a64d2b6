//! Who may have written a library that was found.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:\nbob:x:1001:100::/:\neve:x:1002:100::/:\nbroken";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder with `lib/a.so` in it, all of them private to the user.
fn place() -> (tempfile::TempDir, PathBuf, Trusted) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap();
    fs::create_dir(path.join("lib")).unwrap();
    fs::write(path.join("lib/a.so"), "x").unwrap();
    mode(&path, 0o755);
    mode(&path.join("lib"), 0o755);
    mode(&path.join("lib/a.so"), 0o644);
    let who = Trusted {
        uid: rustix::process::geteuid().as_raw(),
        groups: Groups::Private(Vec::new()),
    };
    (root, path, who)
}

fn untrusted(result: Result<(), LoadProblem>) -> (PathBuf, String) {
    match result {
        Err(LoadProblem::Untrusted { path, why }) => (path, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_is_private_that_bears_the_user_s_name_alone() {
    let owns = |name: &str, gid, group: &str, members: &[&str], of: u32| {
        let members: Vec<String> = members.iter().map(|one| (*one).to_owned()).collect();
        let name = name.to_owned();
        Account { name, gid }.owns(of, group, &members, PASSWD)
    };
    assert!(owns("root", 0, "root", &[], 0));
    assert!(owns("ann", 1000, "ann", &[], 1000));
    assert!(owns("ann", 1000, "ann", &["ann"], 1000));
    // From a directory service, which has no line in the file.
    assert!(owns("zoe", 70_000, "zoe", &[], 70_000));
    assert!(!owns("ann", 1000, "ann", &["ann", "eve"], 1000));
    assert!(!owns("ann", 1000, "staff", &[], 1000));
    assert!(!owns("ann", 1000, "ann", &[], 50));
    assert!(!owns("bob", 100, "bob", &[], 100));
}

#[test]
fn the_system_s_accounts_are_asked() {
    let root = Account::of(0).expect("every system has root");
    assert_eq!((root.name.as_str(), root.gid), ("root", 0));
    // Nobody has the last number but one, which stands for an error where it is not nobody's.
    let nameless = Trusted {
        uid: u32::MAX - 7,
        groups: Groups::System,
    };
    assert!(Account::of(nameless.uid).is_none());
    assert!(!nameless.is_private(u32::MAX - 7));
}

#[test]
fn own_files_are_trusted() {
    let (_keep, root, who) = place();
    assert_eq!(check(&root.join("lib/a.so"), &root, &who), Ok(()));
    assert_eq!(check(&root.join("lib/../lib/./a.so"), &root, &who), Ok(()));
}

#[test]
fn what_others_can_write_is_not() {
    for (name, bits) in [
        ("lib/a.so", 0o646),
        ("lib", 0o757),
        ("lib", 0o1777),
        ("", 0o777),
    ] {
        let (_keep, root, who) = place();
        mode(&root.join(name), bits);
        let (path, why) = untrusted(check(&root.join("lib/a.so"), &root, &who));
        assert_eq!(path, root.join(name));
        assert_eq!(why, "is writable by everyone");
    }
}

#[test]
fn a_group_must_be_private() {
    let (_keep, root, mut who) = place();
    mode(&root.join("lib"), 0o775);
    let gid = fs::metadata(root.join("lib")).unwrap().gid();
    let (_, why) = untrusted(check(&root.join("lib/a.so"), &root, &who));
    assert_eq!(why, format!("is writable by group {gid}"));
    who.groups = Groups::Private(vec![gid]);
    assert_eq!(check(&root.join("lib/a.so"), &root, &who), Ok(()));
}

#[test]
fn another_user_s_file_is_not() {
    let (_keep, root, who) = place();
    let data = fs::symlink_metadata(root.join("lib/a.so")).unwrap();
    let other = Trusted {
        uid: data.uid() + 1,
        ..who
    };
    if data.uid() != 0 {
        assert!(
            other
                .objection(&data)
                .unwrap()
                .starts_with("belongs to user")
        );
    }
}

#[test]
fn every_folder_behind_a_link_counts() {
    let (_keep, root, who) = place();
    for name in ["open", "far"] {
        fs::create_dir(root.join(name)).unwrap();
        mode(&root.join(name), 0o755);
    }
    symlink("../lib/a.so", root.join("open/hop.so")).unwrap();
    symlink(root.join("open/hop.so"), root.join("far/b.so")).unwrap();
    assert_eq!(check(&root.join("far/b.so"), &root, &who), Ok(()));
    mode(&root.join("open"), 0o777);
    let (path, _) = untrusted(check(&root.join("far/b.so"), &root, &who));
    assert_eq!(path, root.join("open"));
}

#[test]
fn loops_and_gaps_are_errors() {
    let (_keep, root, who) = place();
    symlink("loop.so", root.join("loop.so")).unwrap();
    for name in ["loop.so", "none.so"] {
        let result = check(&root.join(name), &root, &who);
        assert!(
            matches!(result, Err(LoadProblem::Unreadable(_))),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn a_temporary_folder_is_not_trusted() {
    let (_keep, root, who) = place();
    if root.starts_with("/tmp") {
        let (path, _) = untrusted(check(&root.join("lib/a.so"), Path::new("/"), &who));
        assert_eq!(path, Path::new("/tmp"));
    }
}

//! Whether a library that was found, not named, may be loaded: nobody but root and the user could
//! have put it there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::problem::{LoadProblem, reason};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Who is trusted besides root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted {
    uid: u32,
    private_groups: Vec<u32>,
}

impl Trusted {
    /// The effective user, with what the account files below `root` say of the groups.
    pub(crate) fn this_process(root: &Path) -> Self {
        let read = |name| fs::read_to_string(root.join(name)).unwrap_or_default();
        let uid = rustix::process::geteuid().as_raw();
        Self::new(uid, &read("etc/passwd"), &read("etc/group"))
    }

    /// A group is private when it bears the name of root or the user and nobody else is in it.
    fn new(uid: u32, passwd: &str, group: &str) -> Self {
        // name:password:uid:gid:…
        let accounts: Vec<(&str, u32, u32)> = passwd
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let uid = fields.nth(1)?.parse().ok()?;
                Some((name, uid, fields.next()?.parse().ok()?))
            })
            .collect();
        let trusted = |account: &&(&str, u32, u32)| account.1 == 0 || account.1 == uid;
        // name:password:gid:members
        let private_groups = group
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let gid: u32 = fields.nth(1)?.parse().ok()?;
                let members = fields.next().unwrap_or_default();
                let owned = accounts
                    .iter()
                    .filter(trusted)
                    .any(|one| one.0 == name && one.2 == gid);
                let others = members
                    .split(',')
                    .any(|member| !member.is_empty() && member != name)
                    || accounts.iter().any(|one| one.2 == gid && one.0 != name);
                (owned && !others).then_some(gid)
            })
            .collect();
        Self {
            uid,
            private_groups,
        }
    }

    /// What is wrong with the owner or the mode, in words that follow the path.
    fn objection(&self, data: &Metadata) -> Option<String> {
        let (uid, mode) = (data.uid(), data.mode());
        if uid != 0 && uid != self.uid {
            return Some(format!("belongs to user {uid}"));
        }
        // A link's mode says nothing; a link is as safe as the folder that it lies in.
        if data.file_type().is_symlink() {
            return None;
        }
        if mode & 0o002 != 0 {
            return Some("can be written by everybody".to_owned());
        }
        if mode & 0o020 != 0 && !self.private_groups.contains(&data.gid()) {
            return Some(format!("can be written by group {}", data.gid()));
        }
        None
    }
}

/// Checks the file at `path`, every folder on the way to it and every link followed.
///
/// Folders above `root` are taken as they are; outside of tests there are none.
///
/// # Errors
///
/// [`LoadProblem::Untrusted`] with the first file or folder that others could change, or what the
/// system answered on the way.
pub(super) fn check(path: &Path, root: &Path, who: &Trusted) -> Result<(), LoadProblem> {
    let mut rest: VecDeque<OsString> = VecDeque::new();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    push_front(&mut rest, path);
    examine(&here, root, who)?;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let data = examine(&next, root, who)?;
        if !data.file_type().is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(LoadProblem::Unreadable(
                "too many symbolic links".to_owned(),
            ));
        }
        let target =
            fs::read_link(&next).map_err(|error| LoadProblem::Unreadable(reason(&error)))?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        push_front(&mut rest, &target);
    }
    Ok(())
}

fn push_front(rest: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn examine(path: &Path, root: &Path, who: &Trusted) -> Result<Metadata, LoadProblem> {
    let data =
        fs::symlink_metadata(path).map_err(|error| LoadProblem::Unreadable(reason(&error)))?;
    let above = root != path && root.starts_with(path);
    match who.objection(&data) {
        Some(why) if !above => Err(LoadProblem::Untrusted {
            path: path.to_owned(),
            why,
        }),
        _ => Ok(data),
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;

//! Whether a library that was found, not named, may be loaded: nobody but root and the user could
//! have put it there.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Group, User};

use super::problem::{LoadProblem, reason};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Who is trusted besides root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted {
    uid: u32,
    groups: Groups,
}

/// What is known of the groups that may write.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Groups {
    /// What the system's account service says, when it is asked.
    System,
    /// These are private.
    #[cfg(test)]
    Private(Vec<u32>),
}

impl Trusted {
    /// The effective user.
    pub(crate) fn this_process() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            groups: Groups::System,
        }
    }

    /// Whether only root or the user is in a group.
    ///
    /// The account service is asked here, at a group that may write, and not before: it may have to
    /// ask a server.
    fn is_private(&self, gid: u32) -> bool {
        match &self.groups {
            Groups::System => [0, self.uid].into_iter().any(|uid| {
                let (user, group) = (Account::of(uid), Group::from_gid(gid.into()));
                let local = fs::read_to_string("/etc/passwd").unwrap_or_default();
                match (user, group) {
                    (Some(user), Ok(Some(group))) => {
                        user.owns(gid, &group.name, &group.mem, &local)
                    }
                    // A user or a group without an entry, as in many containers.
                    _ => false,
                }
            }),
            #[cfg(test)]
            Groups::Private(groups) => groups.contains(&gid),
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
            return Some("is writable by everyone".to_owned());
        }
        if mode & 0o020 != 0 && !self.is_private(data.gid()) {
            return Some(format!("is writable by group {}", data.gid()));
        }
        None
    }
}

/// A user, as far as groups are concerned.
struct Account {
    name: String,
    gid: u32,
}

impl Account {
    fn of(uid: u32) -> Option<Self> {
        let user = User::from_uid(uid.into()).ok()??;
        Some(Self {
            name: user.name,
            gid: user.gid.as_raw(),
        })
    }

    /// Whether a group is this user's own: bears the name, and has nobody else in it.
    ///
    /// Groups list those only who are in them besides their first one; whose first one it is, is
    /// known of the machine's own accounts (`/etc/passwd`), since other services do not list theirs.
    fn owns(&self, gid: u32, name: &str, members: &[String], local: &str) -> bool {
        // name:password:uid:gid:…
        let shared = local.lines().any(|line| {
            let mut fields = line.split(':');
            let other = fields.next() != Some(&self.name);
            other && fields.nth(2).and_then(|field| field.parse().ok()) == Some(gid)
        });
        self.gid == gid
            && self.name == name
            && members.iter().all(|member| *member == self.name)
            && !shared
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

//! The places where a library may be, in order.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::ldcache;
use super::problem::Origin;
use crate::abi::Version;

/// The vendor's file name.
pub(crate) const NPU_NAME: &str = "librkllmrt.so";
/// The CPU runtime's file name.
pub(crate) const CPU_NAME: &str = "librkllmrt_cpu.so";
/// Names the vendor's library.
pub(crate) const LIB_VARIABLE: &str = "RKLLM_RS_LIB";
/// Names the vendor's library, for other programs too.
pub(crate) const SHARED_VARIABLE: &str = "RKLLM_LIB_PATH";
/// In the working folder, names the version that the project uses.
const PROJECT_FILE: &str = ".rkllm-runtime";
/// Names the CPU runtime.
pub(crate) const CPU_VARIABLE: &str = "RKLLM_RS_CPU_LIB";

/// What a search depends on besides its options, taken once.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: HashMap<OsString, OsString>,
    /// The working folder, when there is one.
    pub cwd: Option<PathBuf>,
    /// What stands for `/` in places of the system; every other path is taken as it is.
    pub root: PathBuf,
}

impl Environment {
    /// This process's, as it is now.
    #[must_use]
    pub fn current() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            cwd: std::env::current_dir().ok(),
            root: PathBuf::from("/"),
        }
    }

    /// One without variables below `root`, for tests.
    #[must_use]
    pub fn rooted(root: PathBuf) -> Self {
        Self {
            variables: HashMap::new(),
            cwd: None,
            root,
        }
    }

    /// Sets a variable in this snapshot alone.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    /// A variable; an empty one counts as unset.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The folder for data of this project.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        if let Some(home) = self.var("RKLLM_RS_HOME") {
            return Some(PathBuf::from(home));
        }
        // The XDG specification has relative paths ignored.
        let data = self
            .var("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let data = data.or_else(|| Some(Path::new(self.var("HOME")?).join(".local/share")))?;
        Some(data.join("rkllm_rs"))
    }
}

/// Under which condition a candidate is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Named by the user: loaded, or the search ends with its problem.
    Obeyed,
    /// Came with an installed package that runs code here anyway.
    Installed,
    /// Found: nobody else may have put it there.
    Owned,
    /// An installed version that a file names: as [`Rule::Owned`], and no other is taken in its place.
    Chosen,
    /// A file that should name a version and does not: nothing is taken in its place either.
    NoVersion,
    /// Found where downloads lie: an official release only.
    Official,
}

/// A place to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The file, or a folder when the user named one.
    pub(crate) path: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) rule: Rule,
}

/// What the caller adds to the environment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Places<'a> {
    pub(crate) library: Option<&'a Path>,
    pub(crate) package_dir: Option<&'a Path>,
    pub(crate) model_dir: Option<&'a Path>,
    pub(crate) cpu_library: Option<&'a Path>,
}

/// The vendor's folder names for this process; on other machines all, for the sake of the message.
fn arch_names() -> &'static [&'static str] {
    if cfg!(target_arch = "aarch64") {
        &["aarch64"]
    } else if cfg!(target_arch = "arm") {
        &["armhf"]
    } else {
        &["x86_64", "aarch64", "armhf"]
    }
}

fn multiarch() -> &'static [&'static str] {
    if cfg!(target_arch = "aarch64") {
        &["aarch64-linux-gnu"]
    } else if cfg!(target_arch = "arm") {
        &["arm-linux-gnueabihf"]
    } else {
        &["x86_64-linux-gnu"]
    }
}

/// What the user named: the argument, else the first variable that is set. It is obeyed.
pub(crate) fn explicit(
    places: &Places,
    env: &Environment,
    variables: &[&'static str],
) -> Option<Candidate> {
    let obeyed = |path: &OsStr, origin| Candidate {
        path: PathBuf::from(path),
        origin,
        rule: Rule::Obeyed,
    };
    if let Some(path) = places.library {
        return Some(obeyed(path.as_os_str(), Origin::Argument));
    }
    let set = |name: &&'static str| Some(obeyed(env.var(name)?, Origin::Variable(name)));
    variables.iter().find_map(set)
}

/// Where the vendor's library may be, in order; the explicit one alone when there is one.
pub(crate) fn npu(places: &Places, env: &Environment) -> Vec<Candidate> {
    if let Some(only) = explicit(places, env, &[LIB_VARIABLE, SHARED_VARIABLE]) {
        return vec![only];
    }
    let mut list = List::default();
    for folder in places.package_dir.into_iter().flat_map(package_folders) {
        for arch in arch_names() {
            let path = folder.join("libs/rkllm").join(arch).join(NPU_NAME);
            list.add(path, Origin::Package, Rule::Owned);
        }
    }
    if let Some(folder) = env.home().map(|home| home.join("runtimes")) {
        list.0.extend(chosen(env, &folder));
        for path in runtimes(&folder) {
            list.add(path, Origin::Runtimes, Rule::Owned);
        }
    }
    for arch in arch_names() {
        if let Some(cwd) = &env.cwd {
            let path = cwd.join("libs/rkllm").join(arch).join(NPU_NAME);
            list.add(path, Origin::WorkingFolder, Rule::Official);
        }
    }
    if let Some(folder) = places.model_dir {
        list.add(folder.join(NPU_NAME), Origin::BesideModel, Rule::Official);
    }
    system(&mut list, env, NPU_NAME);
    list.0
}

/// Where the CPU runtime may be, in order; the explicit one alone when there is one.
///
/// `marked` tells whether a file bears the CPU runtime's mark: [`LIB_VARIABLE`] may name either.
pub(crate) fn cpu(
    places: &Places,
    env: &Environment,
    marked: impl Fn(&Path) -> bool,
) -> Vec<Candidate> {
    if let Some(only) = explicit(places, env, &[CPU_VARIABLE]) {
        return vec![only];
    }
    let shared = explicit(&Places::default(), env, &[LIB_VARIABLE, SHARED_VARIABLE]);
    if let Some(only) = shared.filter(|one| marked(&one.path)) {
        return vec![only];
    }
    let mut list = List::default();
    if let Some(path) = places.cpu_library {
        list.add(path.to_owned(), Origin::CpuPackage, Rule::Installed);
    }
    for folder in places.package_dir.into_iter().flat_map(package_folders) {
        list.add(folder.join(CPU_NAME), Origin::Package, Rule::Owned);
        list.add(
            folder.join("rkllm_rs_cpu").join(CPU_NAME),
            Origin::Package,
            Rule::Owned,
        );
    }
    if let Some(home) = env.home() {
        list.add(
            home.join("runtimes").join(CPU_NAME),
            Origin::Runtimes,
            Rule::Owned,
        );
    }
    system(&mut list, env, CPU_NAME);
    list.0
}

#[derive(Default)]
struct List(Vec<Candidate>);

impl List {
    fn add(&mut self, path: PathBuf, origin: Origin, rule: Rule) {
        if self.0.iter().all(|one| one.path != path) {
            self.0.push(Candidate { path, origin, rule });
        }
    }
}

/// The package's folder, and in a checkout the one beside or above it that has `libs`.
fn package_folders(package: &Path) -> Vec<PathBuf> {
    let mut folders = vec![package.to_owned()];
    let above = package.parent();
    folders.extend(above.map(Path::to_owned));
    // python/rkllm_rs in a checkout, whose libs/ lies beside python/.
    if let Some(checkout) = above
        .filter(|above| above.ends_with("python"))
        .and_then(Path::parent)
    {
        folders.push(checkout.to_owned());
    }
    folders
}

/// The version chosen for the project.
///
/// The file lies where downloads lie, so it says no more than which of the user's own runtimes it is.
fn chosen(env: &Environment, runtimes: &Path) -> Option<Candidate> {
    let file = env.cwd.as_ref()?.join(PROJECT_FILE);
    file.symlink_metadata().ok()?;
    let (path, rule) = match named_version(&file) {
        Some(version) => (runtimes.join(version).join(NPU_NAME), Rule::Chosen),
        None => (file, Rule::NoVersion),
    };
    Some(Candidate {
        path,
        origin: Origin::ChosenForProject,
        rule,
    })
}

/// The version that stands alone in a file; anything else, a path above all, is none.
fn named_version(file: &Path) -> Option<String> {
    // A pipe under the name must not hold us up.
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(file)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    let text = text.trim_ascii();
    Version::parse(text).map(|_| text.to_owned())
}

/// `current` first, then the versions, newest first; a name that is no version comes last.
fn runtimes(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.join("current").join(NPU_NAME)];
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    let mut versions: Vec<(Option<_>, OsString)> = entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name != "current")
        .map(|name| {
            let text = name
                .to_str()
                .map(|text| text.strip_prefix('v').unwrap_or(text));
            let version = text.and_then(Version::parse);
            // A suffix marks a preview, which comes before the release.
            let key =
                version.map(|it| (it.numbers(), it.suffix().is_empty(), it.suffix().to_owned()));
            (key, name)
        })
        .filter(|(_, name)| folder.join(name).is_dir())
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    found.extend(
        versions
            .into_iter()
            .map(|(_, name)| folder.join(name).join(NPU_NAME)),
    );
    found
}

/// What the dynamic linker would take, and the folders of most install guides.
fn system(list: &mut List, env: &Environment, name: &str) {
    use std::os::unix::ffi::OsStrExt as _;
    let folders = env
        .var("LD_LIBRARY_PATH")
        .map(OsStr::as_bytes)
        .unwrap_or_default();
    for folder in folders.split(|byte| *byte == b':' || *byte == b';') {
        // An empty entry means the working folder, from where nothing is taken by accident.
        let folder = Path::new(OsStr::from_bytes(folder));
        if folder.is_absolute() {
            list.add(folder.join(name), Origin::LdLibraryPath, Rule::Owned);
        }
    }
    if let Ok(cache) = fs::read(env.at("/etc/ld.so.cache")) {
        for path in ldcache::lookup(&cache, name) {
            let path = env.root.join(path.strip_prefix("/").unwrap_or(&path));
            list.add(path, Origin::LdCache, Rule::Owned);
        }
    }
    for folder in ["/usr/lib", "/usr/local/lib", "/lib", "/opt/lib"] {
        list.add(env.at(folder).join(name), Origin::System, Rule::Owned);
    }
    for folder in ["/usr/lib", "/usr/local/lib", "/lib"] {
        for arch in multiarch() {
            list.add(
                env.at(folder).join(arch).join(name),
                Origin::System,
                Rule::Owned,
            );
        }
    }
    if cfg!(target_pointer_width = "64") {
        list.add(env.at("/usr/lib64").join(name), Origin::System, Rule::Owned);
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;

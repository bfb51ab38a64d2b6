//! A loaded library, shared by all that use the same file.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::abi::{
    Capabilities, Evidence, Generation, Identity, Refusal, RefusalReason, precheck,
};
use crate::backend::BackendKind;
use crate::error::{Error, Result};
use crate::ffi::ParamBuffer;
use crate::loader::{
    self, CPU_NAME, Candidate, Environment, FileEvidence, LoadProblem, NPU_NAME, Opened, Places,
    Rule, Symbols, Tried, Trusted, host,
};

/// The variable that stands in for an automatic choice of backend.
pub(crate) const BACKEND_VARIABLE: &str = "RKLLM_RS_BACKEND";

/// Which backend is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BackendChoice {
    /// What fits the model and the machine.
    #[default]
    Auto,
    /// The vendor's library.
    Npu,
    /// The CPU runtime.
    Cpu,
}

impl BackendChoice {
    /// The choice, with `RKLLM_RS_BACKEND` in place of [`BackendChoice::Auto`].
    pub(crate) fn or_variable(self, env: &Environment) -> Result<Self> {
        match (self, env.var(BACKEND_VARIABLE)) {
            (Self::Auto, Some(value)) => {
                Self::parse(&value.to_string_lossy(), BACKEND_VARIABLE)
            }
            _ => Ok(self),
        }
    }

    fn parse(text: &str, name: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "npu" => Ok(Self::Npu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(Error::InvalidArgument {
                name: name.to_owned(),
                reason: format!("{text:?} is no backend"),
                hint: Some("Use \"auto\", \"npu\" or \"cpu\".".to_owned()),
            }),
        }
    }

    /// The backend, unless any will do.
    pub(crate) fn only(self) -> Option<BackendKind> {
        match self {
            Self::Auto => None,
            Self::Npu => Some(BackendKind::Npu),
            Self::Cpu => Some(BackendKind::Cpu),
        }
    }
}

impl FromStr for BackendChoice {
    type Err = Error;

    /// Reads `auto`, `npu` or `cpu`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for anything else.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, "backend")
    }
}

/// Where to look for a library, and what is known about it.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// A library's file, or the folder that it is in; obeyed.
    pub library: Option<PathBuf>,
    /// The backend.
    pub backend: BackendChoice,
    /// The generation, where evidence is missing.
    pub abi: Option<Generation>,
    /// The folder of the installed Python package, for `libs/rkllm` in it or beside it.
    pub package_dir: Option<PathBuf>,
    /// The installed CPU runtime's library.
    pub cpu_library: Option<PathBuf>,
    /// The folder of the model.
    pub model_dir: Option<PathBuf>,
}

impl LoadOptions {
    pub(crate) fn places(&self) -> Places<'_> {
        Places {
            library: self.library.as_deref(),
            package_dir: self.package_dir.as_deref(),
            model_dir: self.model_dir.as_deref(),
            cpu_library: self.cpu_library.as_deref(),
        }
    }
}

/// A loaded library: identified, and never unloaded.
///
/// The same file asked for twice is one `Runtime`.
pub struct Runtime {
    opened: Opened,
    forks: u64,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("path", &self.opened.path)
            .field("identity", &self.opened.identity)
            .finish_non_exhaustive()
    }
}

/// All that were ever loaded, by device and inode. The lock is held while one is being loaded.
static LOADED: LazyLock<Mutex<HashMap<(u64, u64), Arc<Runtime>>>> = LazyLock::new(Mutex::default);

impl Runtime {
    /// Finds, checks, opens and identifies a library.
    ///
    /// A library that the options or the environment name is the only one looked at. Without one the
    /// first suitable library found is taken; `Auto` prefers the vendor's to the CPU runtime.
    ///
    /// # Errors
    ///
    /// [`Error::LibraryNotFound`] with every place looked at; [`Error::UnsupportedRuntime`] when there
    /// is a library, but not one that can be used; [`Error::InvalidArgument`] for a bad
    /// `RKLLM_RS_BACKEND`; [`Error::Forked`] in a child of a process that has loaded one.
    pub fn load(options: &LoadOptions) -> Result<Arc<Self>> {
        Self::load_in(options, &Environment::current())
    }

    /// As [`Runtime::load`], in an environment of the caller's making.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`].
    pub fn load_in(options: &LoadOptions, env: &Environment) -> Result<Arc<Self>> {
        match options.backend.or_variable(env)?.only() {
            Some(kind) => Self::load_kind(options, env, kind),
            None => {
                let candidates = loader::npu_places(&options.places(), env);
                let search = Search { options, env, want: None, names: &[NPU_NAME, CPU_NAME] };
                match search.first(&candidates) {
                    Err(Error::LibraryNotFound { tried, hint })
                        if candidates.iter().all(|one| one.rule != Rule::Obeyed) =>
                    {
                        Self::load_kind(options, env, BackendKind::Cpu)
                            .map_err(|error| error.after(tried, &hint))
                    }
                    result => result,
                }
            }
        }
    }

    /// Loads a library of that kind and no other.
    pub(crate) fn load_kind(options: &LoadOptions, env: &Environment, kind: BackendKind) -> Result<Arc<Self>> {
        let (candidates, names) = places(options, env, kind);
        Search { options, env, want: Some(kind), names }.first(&candidates)
    }

    /// The library that [`Runtime::load_kind`] would try first, examined but not loaded, and what its
    /// file says.
    pub(crate) fn find_kind(options: &LoadOptions, env: &Environment, kind: BackendKind) -> Result<(PathBuf, String)> {
        let (candidates, names) = places(options, env, kind);
        Search { options, env, want: Some(kind), names }.examined(&candidates)
    }

    /// The file, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.opened.path
    }

    /// Which release it is, and how that was found.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.opened.identity
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.opened.capabilities
    }

    /// What runs models with it.
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        if self.opened.identity.cpu_runtime { BackendKind::Cpu } else { BackendKind::Npu }
    }

    /// What the file said before it was loaded.
    #[must_use]
    pub fn file_evidence(&self) -> &FileEvidence {
        &self.opened.file
    }

    /// Its functions.
    pub(crate) fn symbols(&self) -> &Symbols {
        &self.opened.symbols
    }

    /// What `rkllm_createDefaultParam` returned, to start every init from.
    pub(crate) fn defaults(&self) -> &ParamBuffer {
        &self.opened.defaults
    }

    /// Refuses in a forked child of the process that loaded it.
    pub(crate) fn check_process(&self) -> Result<()> {
        if host::fork::generation() == self.forks { Ok(()) } else { Err(Error::Forked) }
    }
}

/// The candidates for a kind, and the file names looked for in a folder that the user named.
fn places(
    options: &LoadOptions,
    env: &Environment,
    kind: BackendKind,
) -> (Vec<Candidate>, &'static [&'static str]) {
    let places = options.places();
    match kind {
        BackendKind::Npu => (loader::npu_places(&places, env), &[NPU_NAME, CPU_NAME]),
        BackendKind::Cpu => (loader::cpu_places(&places, env, is_cpu_runtime), &[CPU_NAME, NPU_NAME]),
    }
}

/// Whether the file that would be loaded for `path` bears the CPU runtime's mark.
pub(crate) fn is_cpu_runtime(path: &Path) -> bool {
    let candidate = Candidate { path: path.to_owned(), origin: loader::Origin::Argument, rule: Rule::Obeyed };
    let root = Path::new("/");
    let found = loader::locate(&candidate, &[CPU_NAME, NPU_NAME], root, &Trusted::this_process(root));
    let file = found.and_then(|located| loader::examine(&located, Rule::Obeyed));
    file.is_ok_and(|file| file.cpu_marker)
}

/// A walk through candidates.
struct Search<'a> {
    options: &'a LoadOptions,
    env: &'a Environment,
    want: Option<BackendKind>,
    names: &'a [&'static str],
}

impl Search<'_> {
    /// Loads the first candidate that can be used.
    fn first(&self, candidates: &[Candidate]) -> Result<Arc<Runtime>> {
        if host::fork::generation() != 0 {
            return Err(Error::Forked);
        }
        self.walk(candidates, |candidate, who| self.one(candidate, who))
    }

    /// The first candidate whose file gives no reason against it.
    fn examined(&self, candidates: &[Candidate]) -> Result<(PathBuf, String)> {
        self.walk(candidates, |candidate, who| {
            let located = loader::locate(candidate, self.names, &self.env.root, who)?;
            let file = loader::examine(&located, candidate.rule)?;
            self.suits(file.cpu_marker)?;
            let evidence = Evidence { explicit: self.options.abi, ..file.evidence() };
            precheck(&evidence).map_err(|refusal| LoadProblem::Refused(Box::new(refusal)))?;
            let told = match (file.cpu_marker, file.known, file.banners.first()) {
                (true, ..) => "CPU runtime".to_owned(),
                (_, Some(known), _) => format!("official library {}", known.release),
                (_, None, Some(banner)) => format!("library with the banner of {banner}"),
                (_, None, None) => "library of unknown release".to_owned(),
            };
            Ok((located.path, told))
        })
    }

    fn walk<T>(
        &self,
        candidates: &[Candidate],
        mut visit: impl FnMut(&Candidate, &Trusted) -> Result<T, LoadProblem>,
    ) -> Result<T> {
        let who = Trusted::this_process(&self.env.root);
        let mut tried = Vec::new();
        for candidate in candidates {
            match visit(candidate, &who) {
                Ok(found) => return Ok(found),
                Err(problem) => tried.push(Tried {
                    path: candidate.path.clone(),
                    origin: candidate.origin,
                    problem,
                }),
            }
        }
        Err(failure(tried, self.want))
    }

    fn one(&self, candidate: &Candidate, who: &Trusted) -> Result<Arc<Runtime>, LoadProblem> {
        let located = loader::locate(candidate, self.names, &self.env.root, who)?;
        let mut loaded = LOADED.lock();
        if let Some(runtime) = loaded.get(&located.id.key()) {
            return self.again(runtime, candidate.rule);
        }
        let file = loader::examine(&located, candidate.rule)?;
        self.suits(file.cpu_marker)?;
        let (path, rule, abi) = (located.path.clone(), candidate.rule, self.options.abi);
        let opened = host::run(move || loader::open(path, file, rule, abi))?;
        // The dynamic linker may have led to a file that is loaded already.
        let key = opened.file.id.key();
        let runtime = match loaded.get(&key) {
            Some(runtime) => self.again(runtime, rule)?,
            None => Arc::new(Runtime { opened, forks: host::fork::generation() }),
        };
        loaded.insert(key, Arc::clone(&runtime));
        loaded.insert(located.id.key(), Arc::clone(&runtime));
        Ok(runtime)
    }

    /// Whether a library that is loaded already is what was asked for.
    fn again(&self, runtime: &Arc<Runtime>, rule: Rule) -> Result<Arc<Runtime>, LoadProblem> {
        if rule == Rule::Official && runtime.opened.file.known.is_none() {
            return Err(LoadProblem::NotOfficial);
        }
        self.suits(runtime.opened.identity.cpu_runtime)?;
        let loaded = runtime.opened.identity.generation;
        match self.options.abi {
            Some(asked) if asked != loaded => {
                let evidence = runtime.opened.identity.evidence.clone();
                let reason = RefusalReason::AlreadyLoaded { asked, loaded };
                Err(LoadProblem::Refused(Box::new(Refusal { reason, evidence })))
            }
            _ => Ok(Arc::clone(runtime)),
        }
    }

    fn suits(&self, cpu: bool) -> Result<(), LoadProblem> {
        let kind = if cpu { BackendKind::Cpu } else { BackendKind::Npu };
        match self.want {
            Some(want) if want != kind => {
                let reason = RefusalReason::WrongBackend { cpu_needed: want == BackendKind::Cpu };
                Err(LoadProblem::Refused(Box::new(Refusal { reason, evidence: Vec::new() })))
            }
            _ => Ok(()),
        }
    }
}

/// The error of a walk that found nothing: the first refusal, since that was a library at least.
fn failure(mut tried: Vec<Tried>, want: Option<BackendKind>) -> Error {
    let refused = tried.iter().position(|one| matches!(one.problem, LoadProblem::Refused(_)));
    if let Some(index) = refused {
        let Tried { path, problem, .. } = tried.swap_remove(index);
        if let LoadProblem::Refused(refusal) = problem {
            return Error::UnsupportedRuntime { path, refusal: *refusal };
        }
    }
    let hint = hint(&tried, want);
    Error::LibraryNotFound { tried, hint }
}

fn hint(tried: &[Tried], want: Option<BackendKind>) -> String {
    let mut hints: Vec<String> = Vec::new();
    for hint in tried.iter().filter_map(|one| one.problem.hint()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    if hints.is_empty() || tried.len() > 1 {
        hints.push(fix(want));
    }
    hints.join(" ")
}

/// How to get a library.
fn fix(want: Option<BackendKind>) -> String {
    const CPU: &str = "pip install 'rkllm_rs[cpu]'";
    let folder = if cfg!(target_arch = "aarch64") {
        "aarch64"
    } else if cfg!(target_arch = "arm") {
        "armhf"
    } else {
        return match want {
            Some(BackendKind::Cpu) => format!("Install the CPU runtime: {CPU}."),
            _ => format!(
                "The vendor has no library for {}: use a .gguf model with the CPU runtime \
                 ({CPU}), or name a stand-in with library= or RKLLM_RS_LIB.",
                std::env::consts::ARCH
            ),
        };
    };
    match want {
        Some(BackendKind::Cpu) => format!("Install the CPU runtime: {CPU}."),
        _ => format!(
            "Copy librkllmrt.so from rkllm-runtime/Linux/librkllm_api/{folder} of the vendor's \
             repository (airockchip/rknn-llm), in a release not older than the model's toolkit, to \
             /usr/lib, or name it with library= or RKLLM_RS_LIB."
        ),
    }
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;

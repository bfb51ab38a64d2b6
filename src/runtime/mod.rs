//! A loaded library, shared by all that use the same file.

pub mod backend;
mod error;
mod search;
mod told;

pub use error::Error;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::error::Result;
use crate::abi::{AbiVersion, Capabilities, Identity};
use crate::files::BackendKind;
use crate::host;
use crate::library::{
    self, CPU_NAME, Environment, FileEvidence, NPU_NAME, Opened, Places, Rule, Symbols,
};
use crate::protocol::error::Failure;
use rkllm_ffi::ParamBuffer;

use search::Search;
pub(crate) use search::is_cpu_runtime;
use search::named_kind;
pub(crate) use told::Told;

/// The chip of this board, as models are named after it, if that can be read.
pub(crate) fn board_chip() -> Option<String> {
    backend::device::chip(&Environment::current())
}

/// The variable that stands in for an automatic choice of backend.
pub(crate) const BACKEND_VARIABLE: &str = "RKLLM_RS_BACKEND";

/// Which backend is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
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
            (Self::Auto, Some(value)) => Self::parse(&value.to_string_lossy(), BACKEND_VARIABLE)
                .map_err(|error| match error {
                    Error::Invalid(failure) => Error::Invalid(failure.with_hint(format!(
                        "Set {BACKEND_VARIABLE} to {}, or unset it.",
                        Self::CHOICES
                    ))),
                    other => other,
                }),
            _ => Ok(self),
        }
    }

    /// What an argument can be.
    pub const CHOICES: &str = r#""auto", "npu" or "cpu""#;

    fn parse(text: &str, name: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "npu" => Ok(Self::Npu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(Failure::choice(name, Self::CHOICES, format_args!("{text:?}")).into()),
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
    /// [`Error::Invalid`] for anything else.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, "backend")
    }
}

/// Where to look for a library, and what is known about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// A library's file, or the folder that it is in; obeyed.
    #[serde(with = "crate::protocol::paths::optional")]
    pub library: Option<PathBuf>,
    /// The backend.
    pub backend: BackendChoice,
    /// The layout, where evidence is missing.
    pub abi: Option<AbiVersion>,
    /// The folder of the installed Python package, for `libs/rkllm` in it or beside it.
    #[serde(with = "crate::protocol::paths::optional")]
    pub package_dir: Option<PathBuf>,
    /// The installed CPU runtime's library.
    #[serde(with = "crate::protocol::paths::optional")]
    pub cpu_library: Option<PathBuf>,
    /// The folder of the model.
    #[serde(with = "crate::protocol::paths::optional")]
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
    path: PathBuf,
    identity: Identity,
    capabilities: Capabilities,
    /// What there is of it in this process; nothing of one that a worker has loaded.
    native: Option<Native>,
    forks: u64,
}

struct Native {
    file: FileEvidence,
    symbols: Symbols,
    defaults: Box<ParamBuffer>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("path", &self.path)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    fn new(opened: Opened) -> Self {
        Self {
            path: opened.path,
            identity: opened.identity,
            capabilities: opened.capabilities,
            native: Some(Native {
                file: opened.file,
                symbols: opened.symbols,
                defaults: opened.defaults,
            }),
            forks: host::fork::depth(),
        }
    }

    fn native(&self) -> &Native {
        self.native
            .as_ref()
            .expect("a library of a worker is called there")
    }

    /// Finds, checks, opens and identifies a library.
    ///
    /// A library that the options or the environment name is the only one looked at. Without one the
    /// first suitable library found is taken; `Auto` prefers the vendor's to the CPU runtime.
    ///
    /// # Errors
    ///
    /// [`Error::LibraryNotFound`] with every place looked at; [`Error::UnsupportedRuntime`] when there
    /// is a library, but not one that can be used; [`Error::Invalid`] for a bad
    /// `RKLLM_RS_BACKEND`; [`Error::ForkedRuntime`] in a child of a process that has loaded one.
    pub fn load(options: &LoadOptions) -> Result<Arc<Self>> {
        Self::load_in(options, &Environment::current())
    }

    /// As [`Runtime::load`], in an environment of the caller's making.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`].
    pub fn load_in(options: &LoadOptions, env: &Environment) -> Result<Arc<Self>> {
        if let Some(kind) = options.backend.or_variable(env)?.only() {
            return Self::load_kind(options, env, kind);
        }
        let candidates = library::npu_places(&options.places(), env);
        let obeyed = candidates.iter().any(|one| one.rule == Rule::Obeyed);
        let search = Search {
            options,
            env,
            want: None,
            names: &[NPU_NAME, CPU_NAME],
        };
        match search.first(&candidates) {
            Err(Error::LibraryNotFound { tried, hint }) if !obeyed => {
                Self::load_kind(options, env, BackendKind::Cpu)
                    .map_err(|error| error.after(tried, &hint))
            }
            result => result,
        }
    }

    /// Loads a library of that kind and no other.
    pub(crate) fn load_kind(
        options: &LoadOptions,
        env: &Environment,
        kind: BackendKind,
    ) -> Result<Arc<Self>> {
        let (candidates, search) = Search::of(options, env, kind);
        search.first(&candidates)
    }

    /// The library of that kind that would be loaded, examined but not loaded, and what its file
    /// says.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`], as far as files alone can tell.
    pub fn find(options: &LoadOptions, kind: BackendKind) -> Result<(PathBuf, String)> {
        Self::find_kind(options, &Environment::current(), kind)
    }

    /// The library that [`Runtime::load_kind`] would try first, examined but not loaded, and what its
    /// file says.
    pub(crate) fn find_kind(
        options: &LoadOptions,
        env: &Environment,
        kind: BackendKind,
    ) -> Result<(PathBuf, String)> {
        let (candidates, search) = Search::of(options, env, kind);
        search.examined(&candidates)
    }

    /// The file, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which release it is, and how that was found.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What runs models with it.
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        if self.identity.cpu_runtime {
            BackendKind::Cpu
        } else {
            BackendKind::Npu
        }
    }

    /// What the file said before it was loaded; `None` for one that a worker has loaded.
    #[must_use]
    pub fn file_evidence(&self) -> Option<&FileEvidence> {
        self.native.as_ref().map(|native| &native.file)
    }

    /// Its functions.
    pub(crate) fn symbols(&self) -> &Symbols {
        &self.native().symbols
    }

    /// What `rkllm_createDefaultParam` returned, to start every init from.
    pub(crate) fn defaults(&self) -> &ParamBuffer {
        &self.native().defaults
    }

    /// Refuses in a forked child of the process that loaded it.
    pub(crate) fn check_process(&self) -> Result<()> {
        if host::fork::depth() == self.forks {
            Ok(())
        } else {
            Err(Error::ForkedRuntime)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_in_any_case() {
        for (text, choice) in [
            ("auto", BackendChoice::Auto),
            (" NPU ", BackendChoice::Npu),
            ("Cpu", BackendChoice::Cpu),
        ] {
            assert_eq!(text.parse::<BackendChoice>().unwrap(), choice);
        }
        let error = "gpu".parse::<BackendChoice>().unwrap_err();
        assert_eq!(
            error.kind(),
            crate::protocol::error::ErrorKind::InvalidArgument
        );
        assert!(error.to_string().starts_with("backend "));
    }

    #[test]
    fn the_variable_stands_in_for_auto_alone() {
        let mut env = Environment::rooted("/nowhere".into());
        assert_eq!(
            BackendChoice::Auto.or_variable(&env).unwrap(),
            BackendChoice::Auto
        );
        env.set(BACKEND_VARIABLE, "cpu");
        assert_eq!(
            BackendChoice::Auto.or_variable(&env).unwrap(),
            BackendChoice::Cpu
        );
        assert_eq!(
            BackendChoice::Npu.or_variable(&env).unwrap(),
            BackendChoice::Npu
        );
        env.set(BACKEND_VARIABLE, "tpu");
        let error = BackendChoice::Auto.or_variable(&env).unwrap_err();
        assert!(error.to_string().starts_with(BACKEND_VARIABLE));
        assert!(BackendChoice::Cpu.or_variable(&env).is_ok());
    }

    #[test]
    fn a_machine_without_libraries_lists_its_places() {
        let root = tempfile::tempdir().unwrap();
        let env = Environment::rooted(root.path().to_owned());
        let error = Runtime::load_in(&LoadOptions::default(), &env).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("Could not load RKLLM library from any location:\n"),
            "{text}"
        );
        for name in ["usr/lib/librkllmrt.so", "usr/lib/librkllmrt_cpu.so"] {
            let path = root.path().join(name);
            assert!(
                text.contains(&format!("{} (system folder): no such file", path.display())),
                "{text}"
            );
        }
        assert!(error.hint().unwrap().contains(crate::abi::GET_CPU_RUNTIME));
    }
}

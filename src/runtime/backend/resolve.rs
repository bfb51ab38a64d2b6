//! From what the caller calls a model to its file and the library that runs it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::device;
use super::folder::inside;
use crate::files::{self, BackendKind, ModelKind, ModelProblem};
use crate::library::{Environment, LoadProblem, Rule, npu_places};
use crate::protocol::error::{ErrorKind, Failure};
use crate::runtime::error::{Error, Result};
use crate::runtime::{LoadOptions, Runtime, is_cpu_runtime, named_kind};

/// A warning that goes with a resolved model.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendNote {
    /// Backend or library were asked for, and no NPU is to be seen.
    NoNpu(String),
    /// The file may not be a model.
    Doubtful(PathBuf, String),
    /// The file's name says one chip, and the board another.
    OtherChip(PathBuf, String, String),
}

impl std::fmt::Display for BackendNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNpu(reason) => write!(f, "no NPU was detected: {reason}"),
            Self::Doubtful(path, doubt) => write!(f, "{}: {doubt}", path.display()),
            Self::OtherChip(path, named, board) => write!(
                f,
                "{} is named after {named}, and this board has {board}: a model runs only on the chip that it \
                 was converted for",
                path.display()
            ),
        }
    }
}

/// A model's file with the library that is to run it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The file.
    pub model: PathBuf,
    /// What it is.
    pub kind: ModelKind,
    /// The library.
    pub runtime: Arc<Runtime>,
    /// What the caller should know.
    pub warnings: Vec<BackendNote>,
    /// Why a model that came first in order was passed over.
    pub fallback: Option<String>,
}

/// Finds the model's file and loads the library that runs it.
///
/// Each path is a file, a folder with models in it, or a name without suffix; several stand in order
/// of preference. A folder's and a name's `.rkllm` comes before its `.gguf`. `options.backend`, or else
/// `RKLLM_RS_BACKEND`, restricts the choice; `options.model_dir` is set from the model.
///
/// # Errors
///
/// [`Error::ModelFile`] for a file that is none, [`Error::BackendMismatch`] for one of the other kind,
/// [`Error::NoNpu`] when only a `.rkllm` model is there and no NPU, and those of [`Runtime::load`].
pub fn resolve(spec: &[PathBuf], options: &LoadOptions) -> Result<Resolved> {
    resolve_in(spec, options, &Environment::current())
}

/// As [`resolve`], in an environment of the caller's making.
///
/// # Errors
///
/// As [`resolve`].
pub fn resolve_in(spec: &[PathBuf], options: &LoadOptions, env: &Environment) -> Result<Resolved> {
    let Some(first) = spec.first() else {
        return Err(Failure::invalid_with_hint(
            "model",
            "must contain at least one path",
            "Pass the path of a .rkllm or .gguf file.",
        )
        .into());
    };
    let choice = Choice::new(options, env)?;
    let mut passed = Passed::default();
    let mut candidates = Vec::new();
    for path in spec {
        match expand(path, choice.required) {
            Ok(found) => candidates.extend(found),
            // Later paths may stand in for a model that is not on this machine.
            Err(missing) if missing.is_missing() && spec.len() > 1 => {
                passed.add(path, &missing.to_string(), problem(path, missing.clone()));
            }
            Err(other) => return Err(problem(path, other)),
        }
    }
    for (path, kind) in candidates {
        if let Some(required) = choice
            .required
            .filter(|required| *required != kind.backend())
        {
            let error = Error::BackendMismatch {
                path: path.clone(),
                model_kind: kind,
                backend: required,
            };
            passed.skip(error);
            continue;
        }
        match choice.load(&path, kind, options, env) {
            Ok((runtime, warnings)) => {
                let fallback = passed
                    .reason()
                    .map(|why| format!("{} runs on the {}: {why}", path.display(), kind.backend()));
                return Ok(Resolved {
                    model: path,
                    kind,
                    runtime,
                    warnings,
                    fallback,
                });
            }
            Err(Refused::Final(error)) => return Err(error),
            Err(Refused::Passed(reason, error)) => passed.add(&path, &reason, error),
        }
    }
    if spec.len() > 1 && passed.all_missing(spec.len()) {
        let others = spec[1..].iter().map(|path| path.display().to_string());
        return Err(problem(first, ModelProblem::AllMissing(others.collect())));
    }
    Err(passed
        .error()
        .unwrap_or_else(|| problem(first, ModelProblem::Missing)))
}

fn problem(path: &Path, problem: ModelProblem) -> Error {
    Error::ModelFile {
        path: path.to_owned(),
        problem,
    }
}

/// The models that one path stands for, in order.
fn expand(
    path: &Path,
    required: Option<BackendKind>,
) -> Result<Vec<(PathBuf, ModelKind)>, ModelProblem> {
    match files::present(path) {
        Ok(data) if data.is_dir() && ModelKind::of(path).is_some() => Err(ModelProblem::Directory),
        Ok(data) if data.is_dir() => inside(path, required),
        // A backend or library that was named is obeyed, whatever the file is called.
        Ok(_) => {
            let kind = ModelKind::of(path).map_or_else(|| files::inspect::sniffed(path), Ok);
            let kind = kind.or_else(|problem| required.map(runs).ok_or(problem))?;
            Ok(vec![(path.to_owned(), kind)])
        }
        Err(missing) if missing.is_missing() && ModelKind::of(path).is_none() => {
            let with = |kind: ModelKind| {
                let mut name = OsString::from(path);
                name.push(kind.extension());
                (PathBuf::from(name), kind)
            };
            let named = ModelKind::ALL.map(with);
            let there: Vec<_> = named
                .into_iter()
                .filter(|(path, _)| path.exists())
                .collect();
            if there.is_empty() {
                Err(missing)
            } else {
                Ok(there)
            }
        }
        Err(other) => Err(other),
    }
}

/// The kind of model that a backend runs.
fn runs(backend: BackendKind) -> ModelKind {
    match backend {
        BackendKind::Npu => ModelKind::Rkllm,
        BackendKind::Cpu => ModelKind::Gguf,
    }
}

/// Why a candidate gave nothing.
enum Refused {
    /// Nothing else may be taken in its place.
    Final(Error),
    /// Another may, for this reason.
    Passed(String, Error),
}

/// What the caller asked for.
struct Choice {
    /// The only backend allowed.
    required: Option<BackendKind>,
    /// A variable names the vendor's library.
    named: bool,
    /// A variable names a CPU runtime in its place, so that no model can go to the NPU.
    cpu_named: bool,
}

impl Choice {
    fn new(options: &LoadOptions, env: &Environment) -> Result<Self> {
        let asked = options.backend.or_variable(env)?.only();
        let places = npu_places(&options.places(), env);
        let named = places.first().filter(|one| one.rule == Rule::Obeyed);
        let cpu_named = named.is_some_and(|one| is_cpu_runtime(&one.path));
        // A library that cannot be loaded says nothing of the models that it would run.
        let by_library = match (&options.library, named) {
            (Some(_), Some(one)) => Some(named_kind(&one.path)?),
            _ => None,
        };
        Ok(Self {
            required: asked.or(by_library),
            named: named.is_some(),
            cpu_named,
        })
    }

    fn load(
        &self,
        path: &Path,
        kind: ModelKind,
        options: &LoadOptions,
        env: &Environment,
    ) -> Result<(Arc<Runtime>, Vec<BackendNote>), Refused> {
        let fixed = self.required.is_some();
        let checked = files::check(path, kind).map_err(|cause| problem(path, cause));
        // A model that could not be run anyway is passed over whatever its file is like.
        let model_dir = path.parent().map(Path::to_owned);
        let options = LoadOptions {
            model_dir,
            ..options.clone()
        };
        let device = match kind {
            ModelKind::Rkllm => device::npu(env).map(Some),
            ModelKind::Gguf => Ok(None),
        };
        if !fixed && kind == ModelKind::Rkllm && self.cpu_named {
            let error = Error::BackendMismatch {
                path: path.to_owned(),
                model_kind: kind,
                backend: BackendKind::Cpu,
            };
            return Err(Refused::Passed(
                "the library named by the environment is the CPU runtime".to_owned(),
                error,
            ));
        }
        let obeyed = fixed || self.named;
        if let (Err(reason), false) = (&device, obeyed) {
            // Without a library too, that is what to mend first.
            let error = match Runtime::find_kind(&options, env, kind.backend()) {
                Err(error) => error,
                Ok(_) => Error::NoNpu {
                    path: path.to_owned(),
                    reason: reason.clone(),
                },
            };
            return Err(Refused::Passed(
                format!("no NPU was detected ({reason})"),
                error,
            ));
        }
        // Before any code of the library runs, if there is one.
        let checked = match checked {
            Err(error) if Runtime::find_kind(&options, env, kind.backend()).is_ok() => {
                return Err(Refused::Final(error));
            }
            checked => checked,
        };
        let runtime = match Runtime::load_kind(&options, env, kind.backend()) {
            Ok(runtime) => runtime,
            Err(error) => {
                let brief = match (&error, kind) {
                    (Error::LibraryNotFound { tried, .. }, ModelKind::Rkllm) => {
                        match tried.last().map(|one| &one.problem) {
                            // What was asked for, and not what the machine happens to lack.
                            Some(problem @ LoadProblem::NotInstalled(_)) => {
                                format!("RKLLM {problem}")
                            }
                            _ => "no RKLLM library was found".to_owned(),
                        }
                    }
                    (Error::LibraryNotFound { .. }, ModelKind::Gguf) => {
                        "the CPU runtime is not installed".to_owned()
                    }
                    _ => error.to_string(),
                };
                // A library that was named and cannot be loaded is not passed over in silence.
                let fixed = fixed || (self.named && kind == ModelKind::Rkllm);
                return Err(if fixed {
                    Refused::Final(error)
                } else {
                    Refused::Passed(brief, error)
                });
            }
        };
        let doubt = checked.map_err(Refused::Final)?;
        let mut warnings: Vec<_> = device.err().map(BackendNote::NoNpu).into_iter().collect();
        warnings
            .extend(doubt.map(|doubt| BackendNote::Doubtful(path.to_owned(), doubt.to_string())));
        if kind == ModelKind::Rkllm {
            let named = files::name::hints(path).chip;
            if let (Some(named), Some(board)) = (named, device::chip(env)) {
                if named != board {
                    let [named, board] = [named, board].map(|chip| chip.to_uppercase());
                    warnings.push(BackendNote::OtherChip(path.to_owned(), named, board));
                }
            }
        }
        Ok((runtime, warnings))
    }
}

/// The candidates passed over so far.
#[derive(Default)]
struct Passed {
    reasons: Vec<String>,
    errors: Vec<Error>,
    /// The first that the required backend cannot run.
    mismatch: Option<Error>,
}

impl Passed {
    fn add(&mut self, path: &Path, reason: &str, error: Error) {
        self.reasons.push(format!("{}: {reason}", path.display()));
        self.errors.push(error);
    }

    fn skip(&mut self, error: Error) {
        self.mismatch.get_or_insert(error);
    }

    fn reason(&self) -> Option<String> {
        (!self.reasons.is_empty()).then(|| self.reasons.join("; "))
    }

    /// Whether none of so many files exists.
    fn all_missing(&self, count: usize) -> bool {
        let missing = |one: &Error| one.kind() == ErrorKind::ModelNotFound;
        self.mismatch.is_none() && self.errors.len() == count && self.errors.iter().all(missing)
    }

    /// The error when nothing is left: a missing file tells less than the others.
    fn error(self) -> Option<Error> {
        if self.mismatch.is_some() {
            return self.mismatch;
        }
        let mut errors = self.errors;
        let telling = errors
            .iter()
            .position(|one| one.kind() != ErrorKind::ModelNotFound)
            .unwrap_or(0);
        if errors.is_empty() {
            return None;
        }
        let first = errors.remove(telling);
        // With both libraries missing, both searches are told.
        let last = errors.pop();
        Some(match (first, last) {
            (
                Error::LibraryNotFound { tried, hint },
                Some(last @ Error::LibraryNotFound { .. }),
            ) => last.after(tried, &hint),
            (first, _) => first,
        })
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;

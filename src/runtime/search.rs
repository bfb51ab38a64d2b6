//! The walk through the places where a library may be.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::error::{Error, Result, named};
use super::{LoadOptions, Runtime};
use crate::abi::{Evidence, GET_CPU_RUNTIME, Refusal, RefusalReason, precheck};
use crate::files::BackendKind;
use crate::host;
use crate::library::{
    self, CPU_NAME, Candidate, Environment, LoadProblem, NPU_NAME, Origin, Rule, Tried, Trusted,
};

/// By device and inode, as the dynamic linker tells files apart.
type Loaded = HashMap<(u64, u64), Arc<Runtime>>;

/// All that were ever loaded. The lock is held while one is being loaded.
static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

/// Whether the file that would be loaded for `path` bears the CPU runtime's mark.
pub(crate) fn is_cpu_runtime(path: &Path) -> bool {
    named_kind(path).is_ok_and(|kind| kind == BackendKind::Cpu)
}

/// What a library that was given as an argument is, by its file.
pub(super) fn named_kind(path: &Path) -> Result<BackendKind> {
    let candidate = Candidate {
        path: path.to_owned(),
        origin: Origin::Argument,
        rule: Rule::Obeyed,
    };
    let (root, who) = (Path::new("/"), Trusted::this_process());
    let found = library::locate(&candidate, &[CPU_NAME, NPU_NAME], root, &who);
    match found.and_then(|located| library::examine(&located, Rule::Obeyed)) {
        Ok(file) => Ok(kind_of(file.cpu_marker)),
        Err(problem) => {
            let problem = match problem {
                LoadProblem::Directory(_) => {
                    LoadProblem::Directory("librkllmrt.so or librkllmrt_cpu.so")
                }
                other => other,
            };
            let tried = Tried {
                path: candidate.path,
                origin: candidate.origin,
                problem,
            };
            Err(failure(vec![tried], None))
        }
    }
}

fn kind_of(cpu: bool) -> BackendKind {
    if cpu {
        BackendKind::Cpu
    } else {
        BackendKind::Npu
    }
}

/// A walk through candidates.
pub(super) struct Search<'a> {
    pub(super) options: &'a LoadOptions,
    pub(super) env: &'a Environment,
    pub(super) want: Option<BackendKind>,
    pub(super) names: &'a [&'static str],
}

impl<'a> Search<'a> {
    /// The candidates for a kind, and the walk through them.
    pub(super) fn of(
        options: &'a LoadOptions,
        env: &'a Environment,
        kind: BackendKind,
    ) -> (Vec<Candidate>, Self) {
        let places = options.places();
        let (candidates, names): (_, &[&str]) = match kind {
            BackendKind::Npu => (library::npu_places(&places, env), &[NPU_NAME, CPU_NAME]),
            BackendKind::Cpu => (
                library::cpu_places(&places, env, is_cpu_runtime),
                &[CPU_NAME, NPU_NAME],
            ),
        };
        let want = Some(kind);
        let search = Self {
            options,
            env,
            want,
            names,
        };
        (candidates, search)
    }
}

impl Search<'_> {
    /// Loads the first candidate that can be used.
    pub(super) fn first(&self, candidates: &[Candidate]) -> Result<Arc<Runtime>> {
        if host::fork::depth() != 0 {
            return Err(Error::ForkedRuntime);
        }
        self.walk(candidates, |candidate, who| self.one(candidate, who))
    }

    /// The first candidate whose file gives no reason against it.
    pub(super) fn examined(&self, candidates: &[Candidate]) -> Result<(PathBuf, String)> {
        self.walk(candidates, |candidate, who| {
            let located = library::locate(candidate, self.names, &self.env.root, who)?;
            let file = library::examine(&located, candidate.rule)?;
            self.suits(file.cpu_marker)?;
            let evidence = Evidence {
                explicit: self.options.abi,
                ..file.evidence()
            };
            precheck(&evidence).map_err(|refusal| LoadProblem::Refused(Box::new(refusal)))?;
            let told = match (file.cpu_marker, file.known, file.banners.first()) {
                (true, ..) => "CPU runtime".to_owned(),
                (_, Some(known), _) => format!("official library {}", known.release),
                (_, None, Some(banner)) => {
                    format!("unofficial library with version string {banner}")
                }
                (_, None, None) => "unofficial library of an unknown release".to_owned(),
            };
            Ok((located.path, told))
        })
    }

    fn walk<T>(
        &self,
        candidates: &[Candidate],
        mut visit: impl FnMut(&Candidate, &Trusted) -> Result<T, LoadProblem>,
    ) -> Result<T> {
        let who = Trusted::this_process();
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
            // Another release in place of the chosen one is what the choice is to prevent.
            if matches!(candidate.rule, Rule::Chosen | Rule::NoVersion) {
                return Err(stopped(tried));
            }
        }
        Err(failure(tried, self.want))
    }

    fn one(&self, candidate: &Candidate, who: &Trusted) -> Result<Arc<Runtime>, LoadProblem> {
        let located = library::locate(candidate, self.names, &self.env.root, who)?;
        let mut loaded = LOADED.lock();
        if let Some(runtime) = loaded.get(&located.id.key()) {
            return self.again(runtime, candidate.rule);
        }
        let file = library::examine(&located, candidate.rule)?;
        self.suits(file.cpu_marker)?;
        let (path, rule, abi) = (located.path.clone(), candidate.rule, self.options.abi);
        let opened = host::run("rkllm-load", move || {
            let opened = library::open(path, file, rule, abi);
            // What its constructors said comes before whatever the program prints next.
            host::log_sync();
            opened
        });
        let opened = opened.map_err(|error| LoadProblem::NoThread(error.to_string()))??;
        // The dynamic linker may have led to a file that is loaded already.
        let key = opened.file.id.key();
        let runtime = match loaded.get(&key) {
            Some(runtime) => self.again(runtime, rule)?,
            None => Arc::new(Runtime::new(opened)),
        };
        loaded.insert(key, Arc::clone(&runtime));
        loaded.insert(located.id.key(), Arc::clone(&runtime));
        Ok(runtime)
    }

    /// Whether a library that is loaded already is what was asked for.
    fn again(&self, runtime: &Arc<Runtime>, rule: Rule) -> Result<Arc<Runtime>, LoadProblem> {
        if rule == Rule::Official && runtime.native().file.known.is_none() {
            return Err(LoadProblem::NotOfficial);
        }
        self.suits(runtime.identity.cpu_runtime)?;
        let loaded = runtime.identity.abi;
        match self.options.abi {
            Some(asked) if asked != loaded => {
                let evidence = runtime.identity.evidence.clone();
                let reason = RefusalReason::AlreadyLoaded { asked, loaded };
                Err(LoadProblem::Refused(Box::new(Refusal { reason, evidence })))
            }
            _ => Ok(Arc::clone(runtime)),
        }
    }

    fn suits(&self, cpu: bool) -> Result<(), LoadProblem> {
        match self.want {
            Some(want) if want != kind_of(cpu) => {
                let reason = RefusalReason::WrongBackend {
                    cpu_needed: want == BackendKind::Cpu,
                };
                Err(LoadProblem::Refused(Box::new(Refusal {
                    reason,
                    evidence: Vec::new(),
                })))
            }
            _ => Ok(()),
        }
    }
}

/// The error of a walk that a chosen version ended, with what is to be done about that one.
fn stopped(mut tried: Vec<Tried>) -> Error {
    let last = tried.pop().into_iter().collect();
    match failure(last, Some(BackendKind::Npu)) {
        Error::LibraryNotFound {
            tried: mut last,
            hint,
        } => {
            tried.append(&mut last);
            Error::LibraryNotFound { tried, hint }
        }
        refused => refused,
    }
}

/// The error of a walk that found nothing: the first refusal, since that was a library at least.
fn failure(mut tried: Vec<Tried>, want: Option<BackendKind>) -> Error {
    let refused = tried
        .iter()
        .position(|one| matches!(one.problem, LoadProblem::Refused(_)));
    if let Some(index) = refused {
        let Tried { path, problem, .. } = tried.swap_remove(index);
        if let LoadProblem::Refused(refusal) = problem {
            return Error::UnsupportedRuntime {
                path,
                refusal: *refusal,
            };
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
    match named(tried).map(|only| only.origin) {
        Some(Origin::Variable(name)) if hints.is_empty() => {
            hints.push(format!("Correct {name}, or unset it to search the usual places."));
        }
        Some(_) if hints.is_empty() => hints.push(
            "Check the path, or omit it to search the usual places. Relative paths start at the current \
             working folder."
                .to_owned(),
        ),
        None if hints.is_empty() || tried.len() > 1 => hints.push(fix(want)),
        _ => {}
    }
    hints.join(" ")
}

/// How to get a library.
fn fix(want: Option<BackendKind>) -> String {
    let folder = if cfg!(target_arch = "aarch64") {
        "aarch64"
    } else if cfg!(target_arch = "arm") {
        "armhf"
    } else {
        return match want {
            Some(BackendKind::Cpu) => format!("Install the CPU runtime: {GET_CPU_RUNTIME}."),
            _ => format!(
                "The vendor provides no library for {}. Use a .gguf model with the CPU runtime: \
                 {GET_CPU_RUNTIME}.",
                std::env::consts::ARCH
            ),
        };
    };
    match want {
        Some(BackendKind::Cpu) => format!("Install the CPU runtime: {GET_CPU_RUNTIME}."),
        _ => format!(
            "Run `rkllm-rs runtime install {}` (the release must not be older than the toolkit that \
             converted the model). Or copy librkllmrt.so from rkllm-runtime/Linux/librkllm_api/{folder} of \
             https://github.com/airockchip/rknn-llm to /usr/lib, or name your file with library= or \
             RKLLM_RS_LIB.",
            crate::abi::NEWEST,
        ),
    }
}

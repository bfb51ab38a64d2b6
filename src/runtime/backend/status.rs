//! What this machine has, without loading anything.

use std::path::PathBuf;

use super::device;
use crate::files::BackendKind;
use crate::library::Environment;
use crate::runtime::error::Error;
use crate::runtime::{LoadOptions, Runtime};

/// Whether a backend can be used here, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// The backend.
    pub name: BackendKind,
    /// Whether library and device are there. The library is examined, not loaded.
    pub available: bool,
    /// The library that would be loaded.
    pub library: Option<PathBuf>,
    /// What was found, or what is missing.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Looks for both backends. Files are read and nothing is loaded, so this is safe anywhere.
#[must_use]
pub fn backends(options: &LoadOptions) -> Vec<BackendStatus> {
    backends_in(options, &Environment::current())
}

/// As [`backends`], in an environment of the caller's making.
#[must_use]
pub fn backends_in(options: &LoadOptions, env: &Environment) -> Vec<BackendStatus> {
    [BackendKind::Npu, BackendKind::Cpu]
        .map(|name| status(name, options, env))
        .into()
}

fn status(name: BackendKind, options: &LoadOptions, env: &Environment) -> BackendStatus {
    let (library, told) = match Runtime::find_kind(options, env, name) {
        Ok((path, told)) => (path, told),
        Err(error) => {
            let (reason, hint) = (error.to_string(), error.hint());
            // The message's last line is the hint, which stands by itself here.
            let reason = match (&error, &hint) {
                (Error::LibraryNotFound { .. }, Some(hint)) => reason
                    .strip_suffix(hint.as_str())
                    .unwrap_or(&reason)
                    .trim_end()
                    .to_owned(),
                _ => reason,
            };
            return BackendStatus {
                name,
                available: false,
                library: None,
                reason,
                hint,
            };
        }
    };
    let device = match name {
        BackendKind::Npu => device::npu(env).map(|path| format!(", NPU at {}", path.display())),
        BackendKind::Cpu => Ok(String::new()),
    };
    let library = Some(library);
    match device {
        Ok(device) => BackendStatus {
            name,
            available: true,
            library,
            reason: format!("{told}{device}"),
            hint: None,
        },
        Err(reason) => {
            let error = Error::NoNpu {
                path: PathBuf::new(),
                reason: reason.clone(),
            };
            BackendStatus {
                name,
                available: false,
                library,
                reason: format!("{told}, but no NPU was detected: {reason}"),
                hint: error.hint(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_machine_has_neither() {
        let root = tempfile::tempdir().unwrap();
        let env = Environment::rooted(root.path().to_owned());
        let list = backends_in(&LoadOptions::default(), &env);
        assert_eq!(list.len(), 2);
        for one in &list {
            assert!(!one.available && one.library.is_none());
            assert!(
                one.reason
                    .starts_with("Could not load RKLLM library from any location")
            );
            assert!(one.hint.is_some());
        }
        assert!(
            list[1]
                .hint
                .as_deref()
                .unwrap_or_default()
                .contains(crate::abi::GET_CPU_RUNTIME)
        );
    }
}

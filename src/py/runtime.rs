//! `Runtime`, `Identity`, `backends`, and the choice of library and model.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet};

use super::errors::raise;
use crate::abi::Generation;
use crate::backend;
use crate::error::Error;
use crate::runtime::{self, BackendChoice, LoadOptions};

/// A loaded library.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct Runtime(pub(super) Arc<runtime::Runtime>);

/// Which release a library is, and how that was found.
#[pyclass(module = "rkllm_rs", frozen, get_all)]
pub(super) struct Identity {
    abi: &'static str,
    version: Option<String>,
    evidence: Vec<Py<Evidence>>,
    cpu_runtime: bool,
}

/// One piece of evidence.
#[pyclass(module = "rkllm_rs", frozen, get_all)]
pub(super) struct Evidence {
    kind: &'static str,
    finding: String,
    allows: String,
}

/// Whether a backend is to be had.
#[pyclass(module = "rkllm_rs", frozen, get_all)]
pub(super) struct BackendStatus {
    name: String,
    available: bool,
    library: Option<PathBuf>,
    reason: Option<String>,
    hint: Option<String>,
}

#[pymethods]
impl Evidence {
    fn __repr__(&self) -> String {
        format!(
            "Evidence({}: {} -> {})",
            self.kind, self.finding, self.allows
        )
    }
}

#[pymethods]
impl Identity {
    fn __repr__(&self) -> String {
        let version = self.version.as_deref().unwrap_or("unknown");
        let what = if self.cpu_runtime {
            ", the CPU runtime"
        } else {
            ""
        };
        format!(
            "Identity(abi={:?}, version={version:?}{what}, {} pieces of evidence)",
            self.abi,
            self.evidence.len()
        )
    }
}

#[pymethods]
impl BackendStatus {
    fn __repr__(&self) -> String {
        let state = if self.available {
            "available"
        } else {
            "not available"
        };
        let reason = self
            .reason
            .as_deref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        format!("BackendStatus({:?}, {state}{reason})", self.name)
    }
}

/// The options that Python gives, read from keywords.
fn options(
    backend: &str,
    library: Option<PathBuf>,
    abi: Option<&str>,
    package_dir: Option<PathBuf>,
    cpu_library: Option<PathBuf>,
) -> Result<LoadOptions, Error> {
    Ok(LoadOptions {
        library,
        backend: backend.parse::<BackendChoice>()?,
        abi: abi.map(str::parse::<Generation>).transpose()?,
        package_dir,
        cpu_library,
        model_dir: None,
    })
}

#[pymethods]
impl Runtime {
    /// Finds, checks, opens and identifies a library.
    #[staticmethod]
    #[pyo3(signature = (library, backend, abi, package_dir, cpu_library))]
    fn _load(
        py: Python<'_>,
        library: Option<PathBuf>,
        backend: &str,
        abi: Option<&str>,
        package_dir: Option<PathBuf>,
        cpu_library: Option<PathBuf>,
    ) -> PyResult<Self> {
        let loaded = options(backend, library, abi, package_dir, cpu_library)
            .and_then(|options| py.detach(|| runtime::Runtime::load(&options)));
        loaded.map(Self).map_err(|error| raise(py, &error))
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    #[getter]
    fn backend(&self) -> String {
        self.0.backend().to_string()
    }

    #[getter]
    fn identity(&self, py: Python<'_>) -> PyResult<Identity> {
        let identity = self.0.identity();
        let line = |line: &crate::abi::EvidenceLine| {
            let kind = line.kind.as_str();
            Py::new(
                py,
                Evidence {
                    kind,
                    finding: line.finding.clone(),
                    allows: line.allows.to_string(),
                },
            )
        };
        Ok(Identity {
            abi: identity.generation.as_str(),
            version: identity.version.clone(),
            evidence: identity
                .evidence
                .iter()
                .map(line)
                .collect::<PyResult<_>>()?,
            cpu_runtime: identity.cpu_runtime,
        })
    }

    #[getter]
    fn capabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        PyFrozenSet::new(py, self.0.capabilities().names())
    }

    fn __repr__(&self) -> String {
        let identity = self.0.identity();
        format!(
            "<rkllm_rs.Runtime {} {} ({}) from {:?}>",
            self.0.backend(),
            identity.version.as_deref().unwrap_or("of unknown release"),
            identity.generation,
            self.0.path().display().to_string(),
        )
    }

    fn __eq__(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn __hash__(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// Chooses model file, backend and library: the path, the runtime, warnings, and why the NPU was not
/// taken.
#[pyfunction]
#[pyo3(signature = (models, backend, library, abi, package_dir, cpu_library))]
#[allow(
    clippy::type_complexity,
    reason = "a tuple that one caller takes apart"
)]
pub(super) fn resolve(
    py: Python<'_>,
    models: Vec<PathBuf>,
    backend: &str,
    library: Option<PathBuf>,
    abi: Option<&str>,
    package_dir: Option<PathBuf>,
    cpu_library: Option<PathBuf>,
) -> PyResult<(PathBuf, Runtime, Vec<String>, Option<String>)> {
    let resolved = options(backend, library, abi, package_dir, cpu_library)
        .and_then(|options| py.detach(|| backend::resolve(&models, &options)))
        .map_err(|error| raise(py, &error))?;
    let notes = resolved.warnings.iter().map(ToString::to_string).collect();
    Ok((
        resolved.model,
        Runtime(resolved.runtime),
        notes,
        resolved.fallback,
    ))
}

/// What each backend says of itself on this machine.
#[pyfunction]
pub(super) fn backends(
    py: Python<'_>,
    package_dir: Option<PathBuf>,
    cpu_library: Option<PathBuf>,
) -> Vec<BackendStatus> {
    let options = LoadOptions {
        package_dir,
        cpu_library,
        ..LoadOptions::default()
    };
    py.detach(|| backend::backends(&options))
        .into_iter()
        .map(|status| BackendStatus {
            name: status.name.to_string(),
            available: status.available,
            library: status.library,
            reason: Some(status.reason).filter(|reason| !reason.is_empty()),
            hint: status.hint,
        })
        .collect()
}

/// The C layouts as this build has compiled them, by generation and struct.
#[pyfunction]
pub(super) fn abi_layouts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let all = PyDict::new(py);
    for (generation, layouts) in crate::ffi::generations() {
        let structs = PyDict::new(py);
        for layout in layouts {
            let fields = PyDict::new(py);
            for (name, offset) in &layout.fields {
                fields.set_item(name, offset)?;
            }
            let one = PyDict::new(py);
            one.set_item("size", layout.size)?;
            one.set_item("align", layout.align)?;
            one.set_item("fields", fields)?;
            structs.set_item(layout.name, one)?;
        }
        all.set_item(generation, structs)?;
    }
    Ok(all)
}

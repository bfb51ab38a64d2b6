//! `Runtime`, `Identity`, `backends`, and the choice of library and model.
//!
//! Long because it has the texts of four public classes, which are one subject.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyTuple};

use super::errors::raise;
use super::{convert, options};
use crate::abi::{AbiVersion, KnownLibrary};
use crate::files::BackendKind;
use crate::link::npu::Place;
use crate::link::worker::Worker;
use crate::protocol::error::{ErrorKind, Failure};
use crate::runtime::backend;
use crate::runtime::{self, BackendChoice, LoadOptions};

/// A loaded library: `librkllmrt.so`, or the CPU runtime in its place.
///
/// Each file is loaded once per process; loading it again returns the same object. What a worker has loaded
/// compares equal to it.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct Runtime {
    pub(super) library: Arc<runtime::Runtime>,
    /// The worker that has loaded it, until a model is opened there.
    pub(super) worker: Mutex<Option<Worker>>,
}

/// The release of a library, and the evidence for it.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, get_all)]
pub(super) struct Identity {
    /// The ABI of the library, such as `"v1_3_0"`.
    abi: &'static str,
    /// The release, such as `"1.2.3"`. `None` if neither banner nor fingerprint shows it.
    version: Option<String>,
    /// The evidence for this decision, one item per check.
    evidence: Vec<Py<Evidence>>,
    /// Whether it is the CPU runtime.
    cpu_runtime: bool,
}

/// One piece of evidence about a library's release.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, get_all)]
pub(super) struct Evidence {
    /// Kind of evidence.
    ///
    /// `"fingerprint"`: the checksum of a known file. `"banner"`: the version text in the file. `"symbols"`:
    /// the functions it exports. `"defaults"`: the bytes that `rkllm_createDefaultParam` writes.
    /// `"explicit"`: the argument `abi`. `"marker"`: the mark of the CPU runtime.
    kind: &'static str,
    /// What was found, in words.
    finding: String,
    /// The ABIs that this evidence allows, such as `"v1_2_1 or v1_3_0"`.
    allows: String,
}

/// Whether a backend is available on this machine; `rkllm_rs.backends()` returns it.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, get_all)]
pub(super) struct BackendStatus {
    /// `"npu"` or `"cpu"`.
    name: String,
    /// Whether the library and the device were found. The library is examined, not loaded.
    available: bool,
    /// Path of the library that would be loaded, or `None`.
    library: Option<OsString>,
    /// What was found, or what is missing.
    reason: Option<String>,
    /// What to do if it is not available, or `None`.
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

/// What `rkllm_rs._library.options` gives.
pub(super) type LoadArguments<'py> = (
    Bound<'py, PyAny>,
    Option<Bound<'py, PyAny>>,
    Option<Bound<'py, PyAny>>,
    Option<PathBuf>,
    Option<PathBuf>,
);

/// The options that Python gives.
pub(super) fn options(
    (backend, library, abi, package_dir, cpu_library): LoadArguments<'_>,
) -> PyResult<LoadOptions> {
    let py = backend.py();
    let library = convert::optional_path("library", library.as_ref())?;
    let backend = convert::choice("backend", BackendChoice::CHOICES, &backend)?;
    let abi = abi
        .map(|abi| convert::choice("abi", &AbiVersion::choices(), &abi))
        .transpose()?;
    let parsed = || {
        Ok(LoadOptions {
            library,
            backend: backend.parse::<BackendChoice>()?,
            abi: abi.map(|abi| abi.parse::<AbiVersion>()).transpose()?,
            package_dir,
            cpu_library,
            model_dir: None,
        })
    };
    parsed().map_err(|error: Failure| raise(py, &error))
}

/// The Python objects of all loaded libraries: one for each, as long as the process lives.
static OBJECTS: Mutex<Vec<Py<Runtime>>> = Mutex::new(Vec::new());

/// The one Python object of a loaded library.
fn object(py: Python<'_>, runtime: &Arc<runtime::Runtime>) -> PyResult<Py<Runtime>> {
    // Made before the lock is taken: making an object can run the program's code.
    let new = Runtime {
        library: Arc::clone(runtime),
        worker: Mutex::new(None),
    };
    let new = Py::new(py, new)?;
    let mut objects = OBJECTS.lock();
    let known = objects
        .iter()
        .find(|one| Arc::ptr_eq(&one.get().library, runtime));
    if let Some(known) = known {
        let known = known.clone_ref(py);
        drop(objects);
        return Ok(known);
    }
    objects.push(new.clone_ref(py));
    Ok(new)
}

impl Runtime {
    /// What is the same for two that are equal.
    fn key(&self) -> (&Path, AbiVersion, Option<&str>) {
        let identity = self.library.identity();
        (
            self.library.path(),
            identity.abi,
            identity.version.as_deref(),
        )
    }
}

#[pymethods]
impl Runtime {
    #[new]
    #[pyo3(signature = (*_given, **_named), text_signature = None)]
    fn not_made(
        py: Python<'_>,
        _given: &Bound<'_, PyTuple>,
        _named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Err(options::not_made(py, "Runtime"))
    }

    /// Finds, checks, opens and identifies a library.
    ///
    /// Args:
    ///     path: Path of the library; without it, the usual places are searched.
    ///     backend: `"npu"` is the vendor's library, `"cpu"` the CPU runtime, `"auto"` what the
    ///         machine has.
    ///     abi: The ABI, such as `"v1_3_0"`, if it cannot be detected.
    ///
    /// Returns:
    ///     The library. It is the same object if the library was loaded before.
    ///
    /// Raises:
    ///     LibraryNotFoundError: No library could be loaded; the message lists every place tried.
    ///     UnsupportedRuntimeError: The release of the library is uncertain or not supported.
    ///     InvalidArgumentError: `backend` or `abi` is unknown.
    ///     InvalidTypeError: An argument has the wrong type.
    #[staticmethod]
    #[pyo3(signature = (path=None, *surplus, backend=None, abi=None, **unknown), text_signature = "(path=None, *, backend='auto', abi=None)")]
    fn load(
        py: Python<'_>,
        path: Option<&Bound<'_, PyAny>>,
        surplus: &Bound<'_, PyTuple>,
        backend: Option<&Bound<'_, PyAny>>,
        abi: Option<&Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<Self>> {
        super::options::refuse(py, "Runtime.load", &["path"], surplus, unknown)?;
        let auto = pyo3::intern!(py, "auto").as_any();
        let helper_options = py.import("rkllm_rs._library")?.getattr("options")?;
        let path = convert::optional_path("path", path)?.map(PathBuf::into_os_string);
        let given = helper_options.call1((path, backend.unwrap_or(auto), abi))?;
        let options = options(given.extract::<LoadArguments<'_>>()?)?;
        super::vendor_log::look(py);
        let loaded = super::detach(py, || runtime::Runtime::load(&options));
        super::vendor_log::pass_on(py);
        super::vendor_log::warn(py)?;
        let failed = |error| raise(py, &Failure::from(error).renamed("library", "path"));
        object(py, &loaded.map_err(failed)?)
    }

    /// The same release at the same path, wherever it is loaded: in this process or in a worker.
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other
            .cast::<Self>()
            .is_ok_and(|other| self.key() == other.get().key())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.key().hash(&mut hasher);
        hasher.finish()
    }

    /// Path of the library.
    #[getter]
    fn path(&self) -> OsString {
        // A str, as the vendor's own tools and os.path have them, not a pathlib object.
        self.library.path().as_os_str().to_owned()
    }

    /// `"npu"` or `"cpu"`.
    #[getter]
    fn backend(&self) -> String {
        self.library.backend().to_string()
    }

    /// Which release the library is, with the evidence.
    #[getter]
    fn identity(&self, py: Python<'_>) -> PyResult<Identity> {
        let identity = self.library.identity();
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
            abi: identity.abi.as_str(),
            version: identity.version.clone(),
            evidence: identity
                .evidence
                .iter()
                .map(line)
                .collect::<PyResult<_>>()?,
            cpu_runtime: identity.cpu_runtime,
        })
    }

    /// Names of what the library supports, such as `"thinking"` or `"kv_cache_size"`.
    #[getter]
    fn capabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        PyFrozenSet::new(py, self.library.capabilities().names())
    }

    fn __repr__(&self) -> String {
        let identity = self.library.identity();
        format!(
            "<rkllm_rs.Runtime {} {} ({}) from {:?}>",
            self.library.backend(),
            identity.version.as_deref().unwrap_or("of unknown release"),
            identity.abi,
            self.library.path().display().to_string(),
        )
    }
}

/// What is to be said of the NPU's lock before a model is opened with this library; with `strict` an error.
pub(super) fn lock_note(
    py: Python<'_>,
    runtime: &runtime::Runtime,
    strict: bool,
) -> PyResult<Option<String>> {
    if runtime.backend() != BackendKind::Npu {
        return Ok(None);
    }
    let warning = Place::chosen().warning();
    match warning.map_err(|error| raise(py, &error))? {
        Some(text) if strict => {
            let failure = Failure::new(ErrorKind::UnsupportedFeature, text);
            let failure = failure.with_hint("Omit strict=True to get a warning instead.");
            Err(raise(py, &failure))
        }
        note => Ok(note),
    }
}

/// Chooses model file, backend and library.
///
/// Returns:
///     The model's path, the loaded runtime, warnings, and why the NPU is not used.
#[pyfunction]
#[pyo3(signature = (model, searched, *, strict = false))]
#[allow(
    clippy::type_complexity,
    reason = "a tuple that one caller takes apart"
)]
pub(super) fn resolve(
    py: Python<'_>,
    model: &Bound<'_, PyAny>,
    searched: LoadArguments<'_>,
    strict: bool,
) -> PyResult<(PathBuf, Py<Runtime>, Vec<String>, Option<String>)> {
    let models = convert::paths("model", model)?;
    let options = options(searched)?;
    super::vendor_log::look(py);
    let resolved = super::detach(py, || backend::resolve(&models, &options));
    super::vendor_log::pass_on(py);
    let mut notes = crate::host::vendor_log::notices();
    let resolved = resolved.map_err(|error| raise(py, &error.into()))?;
    notes.extend(resolved.warnings.iter().map(ToString::to_string));
    notes.extend(lock_note(py, &resolved.runtime, strict)?);
    Ok((
        resolved.model,
        object(py, &resolved.runtime)?,
        notes,
        resolved.fallback,
    ))
}

/// Checks what opening a model is given, as far as neither library nor model is needed for that.
#[pyfunction]
#[pyo3(signature = (model, searched, **settings))]
pub(super) fn check_opening(
    py: Python<'_>,
    model: &Bound<'_, PyAny>,
    searched: LoadArguments<'_>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    convert::paths("model", model)?;
    options(searched)?;
    let (config, _) = super::options::config(py, settings)?;
    config.check().map_err(|error| raise(py, &error))
}

/// Checks which backends this machine has, without loading anything.
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
    super::detach(py, || backend::backends(&options))
        .into_iter()
        .map(|status| BackendStatus {
            name: status.name.to_string(),
            available: status.available,
            library: status.library.map(PathBuf::into_os_string),
            reason: Some(status.reason).filter(|reason| !reason.is_empty()),
            hint: status.hint,
        })
        .collect()
}

/// Finds the vendor's library that would be loaded for a model, without loading it.
///
/// Returns:
///     Its path, and what its file says.
#[pyfunction]
#[pyo3(signature = (model, package_dir))]
pub(super) fn find_library(
    py: Python<'_>,
    model: Option<PathBuf>,
    package_dir: Option<PathBuf>,
) -> PyResult<(OsString, String)> {
    let model_dir = model.and_then(|model| Some(model.parent()?.to_owned()));
    let options = LoadOptions {
        package_dir,
        model_dir,
        ..LoadOptions::default()
    };
    super::detach(py, || runtime::Runtime::find(&options, BackendKind::Npu))
        .map(|(path, told)| (path.into_os_string(), told))
        .map_err(|error| raise(py, &error.into()))
}

/// Returns the official libraries, oldest release first.
#[pyfunction]
pub(super) fn known_libraries(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let one = |known: &KnownLibrary| {
        let entry = PyDict::new(py);
        entry.set_item("release", &known.release)?;
        entry.set_item("abi", known.abi())?;
        entry.set_item("os", &known.os)?;
        entry.set_item("arch", &known.arch)?;
        entry.set_item("git_blob_sha1", &known.git_blob_sha1)?;
        entry.set_item("commit", &known.commit)?;
        entry.set_item("path", &known.path)?;
        entry.set_item("size", known.size)?;
        entry.set_item("sha256", &known.sha256)?;
        Ok(entry)
    };
    crate::abi::known_libraries().iter().map(one).collect()
}

/// Returns the C layouts as compiled into this build, in bytes, by ABI and struct.
#[pyfunction]
pub(super) fn abi_layouts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let all = PyDict::new(py);
    for (abi, layouts) in rkllm_ffi::abi_versions() {
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
        all.set_item(abi, structs)?;
    }
    Ok(all)
}

//! From [`Failure`] to the exceptions of `rkllm_rs.errors`, which are defined in Python.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

use crate::protocol::error::{ErrorKind, Failure};

static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let module = MODULE.get_or_try_init(py, || {
        PyModule::import(py, "rkllm_rs.errors").map(Bound::unbind)
    })?;
    module.bind(py).getattr(name)
}

fn class_name(error: &Failure) -> &'static str {
    match error.kind {
        ErrorKind::ModelNotFound => "ModelNotFoundError",
        ErrorKind::LibraryNotFound => "LibraryNotFoundError",
        ErrorKind::UnsupportedRuntime => "UnsupportedRuntimeError",
        ErrorKind::UnsupportedFeature => "UnsupportedFeatureError",
        ErrorKind::ModelFormat => "ModelFormatError",
        ErrorKind::ModelPlatform => "ModelPlatformError",
        ErrorKind::ModelVersion => "ModelVersionError",
        ErrorKind::NpuMemory => "NpuMemoryError",
        ErrorKind::Driver => "DriverError",
        ErrorKind::ContextLength => "ContextLengthError",
        ErrorKind::Generation => "GenerationError",
        ErrorKind::Timeout => "GenerationTimeout",
        ErrorKind::Template => "TemplateError",
        ErrorKind::Schema => "SchemaError",
        ErrorKind::PromptCache => "PromptCacheError",
        ErrorKind::FileMissing => "FileMissingError",
        ErrorKind::Busy => "BusyError",
        ErrorKind::WorkerCrashed => "WorkerCrashed",
        ErrorKind::Closed => "ClosedError",
        ErrorKind::ForkedProcess => "ForkedProcessError",
        ErrorKind::InvalidArgument => "InvalidArgumentError",
        ErrorKind::InvalidType => "InvalidTypeError",
        ErrorKind::Model => "ModelError",
    }
}

fn build(
    py: Python<'_>,
    name: &str,
    message: &str,
    hint: Option<String>,
    log: Vec<String>,
) -> PyResult<PyErr> {
    let keywords = PyDict::new(py);
    keywords.set_item("hint", hint)?;
    keywords.set_item("log", log)?;
    let instance = class(py, name)?.call((message,), Some(&keywords))?;
    Ok(PyErr::from_value(instance))
}

/// The exception for `error`.
pub(super) fn raise(py: Python<'_>, error: &Failure) -> PyErr {
    if error.kind == ErrorKind::Closed {
        // The end of the process closes all models: a thread that still reads then stays where it is,
        // as one that waits does, in place of telling about it.
        super::detach(py, || ());
    }
    let log = error.fields.log.clone();
    build(py, class_name(error), &error.text, error.hint.clone(), log)
        .and_then(|exception| {
            name_file(py, error, &exception)?;
            tell_death(py, error, &exception)?;
            tell_size(py, error, &exception)?;
            Ok(exception)
        })
        .unwrap_or_else(|failure| failure)
}

/// Gives an error about one missing file what a `FileNotFoundError` has, `filename` and `errno`, and one of
/// a template what Jinja's errors have, `filename` and `lineno`.
fn name_file(py: Python<'_>, error: &Failure, exception: &PyErr) -> PyResult<()> {
    if let (ErrorKind::ModelNotFound | ErrorKind::FileMissing, Some(path)) =
        (error.kind, &error.fields.path)
    {
        let value = exception.value(py);
        value.setattr("errno", rustix::io::Errno::NOENT.raw_os_error())?;
        value.setattr("filename", path.as_os_str())?;
    }
    if error.kind == ErrorKind::Template {
        let (value, fields) = (exception.value(py), &error.fields);
        value.setattr(
            "filename",
            fields.path.as_ref().map(|path| path.as_os_str()),
        )?;
        value.setattr("lineno", fields.line)?;
    }
    Ok(())
}

/// Gives the error of a dead worker how it died.
fn tell_death(py: Python<'_>, error: &Failure, exception: &PyErr) -> PyResult<()> {
    if error.kind == ErrorKind::WorkerCrashed {
        let value = exception.value(py);
        value.setattr("signal", error.fields.signal)?;
        value.setattr("exit_code", error.fields.exit_code)?;
    }
    Ok(())
}

/// Gives the error of an input that is too long how long it is.
fn tell_size(py: Python<'_>, error: &Failure, exception: &PyErr) -> PyResult<()> {
    if let Some((needed, limit)) = error.fields.tokens {
        let value = exception.value(py);
        value.setattr("needed", needed)?;
        value.setattr("limit", limit)?;
    }
    Ok(())
}

/// Puts what had come before an error into its `partial`, where the class has one.
pub(super) fn with_partial(
    py: Python<'_>,
    error: &Failure,
    partial: impl FnOnce() -> PyResult<Py<PyAny>>,
) -> PyErr {
    let exception = raise(py, error);
    if matches!(error.kind, ErrorKind::Timeout | ErrorKind::Generation) {
        let set = partial().and_then(|partial| exception.value(py).setattr("partial", partial));
        if let Err(failure) = set {
            return failure;
        }
    }
    exception
}

/// An argument of the wrong Python type.
pub(super) struct InvalidType;

impl InvalidType {
    pub(super) fn new_err(py: Python<'_>, message: &str, hint: String) -> PyErr {
        build(py, "InvalidTypeError", message, Some(hint), Vec::new())
            .unwrap_or_else(|failure| failure)
    }
}

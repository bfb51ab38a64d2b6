//! Models in worker processes: choosing one there, and being one.

use std::ffi::OsString;
use std::path::PathBuf;

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::convert;
use super::errors::raise;
use super::runtime::{LoadArguments, Runtime, lock_note, options};
use crate::link::worker::{Policy, Program, Worker};
use crate::protocol::error::Failure;

/// Chooses model file, backend and library in a worker process, which loads the library.
///
/// A model that is opened with the runtime that comes of it is opened there. `program` is the command that
/// becomes the worker, which is ended when `still` does not give True any more.
///
/// Returns:
///     As `resolve`.
#[pyfunction]
#[pyo3(signature = (model, searched, *, program, restart, kill_after, still, strict))]
#[allow(
    clippy::type_complexity,
    clippy::too_many_arguments,
    reason = "one caller gives them, and takes the tuple apart"
)]
pub(super) fn resolve_isolated(
    py: Python<'_>,
    model: &Bound<'_, PyAny>,
    searched: LoadArguments<'_>,
    program: Vec<OsString>,
    restart: &Bound<'_, PyAny>,
    kill_after: Option<&Bound<'_, PyAny>>,
    still: Option<&Bound<'_, PyAny>>,
    strict: bool,
) -> PyResult<(PathBuf, Py<Runtime>, Vec<String>, Option<String>)> {
    let models = convert::paths("model", model)?;
    let options = options(searched)?;
    let policy = Policy {
        restart: convert::boolean("restart", restart)?,
        kill_after: convert::seconds("kill_after", kill_after)?,
    };
    super::vendor_log::look(py);
    let mut notes = crate::host::vendor_log::notices();
    let mut words = program.into_iter();
    let program = Program {
        file: words.next().unwrap_or_default(),
        arguments: words.collect(),
    };
    let worker = super::detach(py, || Worker::start(program, models, options, policy))
        .map_err(|error| raise(py, &error))?;
    let found = loop {
        if let Some(found) = super::detach(py, || worker.wait(super::STEP)) {
            break found;
        }
        py.check_signals()?;
        if let Some(still) = still {
            if !still.call0()?.is_truthy()? {
                return Err(raise(py, &Failure::closed()));
            }
        }
    };
    super::vendor_log::pass_on(py);
    let found = found.map_err(|error| raise(py, &error))?;
    notes.extend(found.warnings);
    notes.extend(lock_note(py, &found.runtime, strict)?);
    let runtime = Runtime {
        library: found.runtime,
        worker: Mutex::new(Some(worker)),
    };
    Ok((found.model, Py::new(py, runtime)?, notes, found.fallback))
}

/// Checks what is said about a worker process.
#[pyfunction]
#[pyo3(signature = (isolate, restart, kill_after))]
pub(super) fn check_isolation(
    isolate: Option<&Bound<'_, PyAny>>,
    restart: &Bound<'_, PyAny>,
    kill_after: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    if let Some(isolate) = isolate {
        convert::boolean("isolate", isolate)?;
    }
    convert::boolean("restart", restart)?;
    convert::seconds("kill_after", kill_after).map(drop)
}

/// Makes this process the worker of another one; does not return unless that is refused.
#[pyfunction]
pub(super) fn serve(py: Python<'_>, parent: i32) -> PyResult<()> {
    py.detach(|| crate::worker::serve(parent))?;
    Ok(())
}

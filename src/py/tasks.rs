//! Which task of asyncio runs.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::modules::Optional;

/// A number that no other thread has meanwhile. Asking the system takes longer.
pub(super) fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// The tasks that run, one for each loop; nothing where asyncio does not tell.
static TASKS: PyOnceLock<Option<Py<PyDict>>> = PyOnceLock::new();

/// [`TASKS`], where it is known already.
#[cfg(feature = "abi3")]
#[inline]
pub(super) fn tasks(py: Python<'_>) -> Option<&Bound<'_, PyDict>> {
    Some(TASKS.get(py)?.as_ref()?.bind(py))
}

/// The only task that runs in any thread, else what asyncio says of this thread, if there is one.
///
/// Asyncio is asked last: up to Python 3.11 it makes two system calls for the answer, which take longer
/// than all the rest of an item that is at hand.
pub(super) fn running_task(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static ASYNCIO: Optional = Optional::new();
    static LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if !ASYNCIO.is_imported(py, intern!(py, "asyncio.tasks"))? {
        return Ok(None);
    }
    let tasks = TASKS.get_or_try_init(py, || {
        if py.version_info() >= (3, 14) {
            // The dictionary is there, and stays empty.
            return Ok(None);
        }
        let tasks = py
            .import("asyncio.tasks")?
            .getattr_opt("_current_tasks")?
            .and_then(|tasks| tasks.cast_into::<PyDict>().ok());
        PyResult::Ok(tasks.map(Bound::unbind))
    })?;
    if let Some(tasks) = tasks.as_ref().map(|tasks| tasks.bind(py)) {
        match tasks.len() {
            0 => return Ok(None),
            1 => return Ok(tasks.iter().next().map(|(_, task)| task)),
            _ => {}
        }
    }
    let running = LOOP.import(py, "asyncio", "_get_running_loop")?.call0()?;
    if running.is_none() {
        return Ok(None);
    }
    let task = CURRENT
        .import(py, "asyncio", "current_task")?
        .call1((running,))?;
    Ok(Some(task).filter(|task| !task.is_none()))
}

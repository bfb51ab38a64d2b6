//! What every class has that can be waited for: the event loop's half, cancelling, `with`, collection.
//!
//! Lock discipline, for all of them: a lock is held for moments only, never while waiting, and never while
//! Python objects are made or dropped, since both can run the program's code, which may come here again.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::PyOSError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::awaited_item::{self, Take};
use super::callables::{Answerer, Slot};
use super::errors::with_partial;
use super::tasks::running_task;
use crate::model::Handle;
use crate::protocol::error::Failure;

/// Something that a program can wait for.
pub(super) trait Awaited {
    /// Whether questions of the library may come that the loop must look for.
    fn asks(&self) -> bool;

    /// A descriptor that becomes readable with it; `None` if it is there already.
    fn arm(&self) -> std::io::Result<Option<RawFd>>;

    /// Nobody waits any more: the reader was cancelled.
    fn leave(&self);

    /// Shows the collector every Python object that is held.
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError>;

    /// Lets go of callables that may refer to this object.
    fn clear(&self) {}
}

/// A run, read piece by piece.
pub(super) trait Stream {
    fn handle(&self) -> &Handle;

    fn answerer(&self) -> &Answerer;

    /// Where the callable is that is told each item, if items are told.
    fn on_token(&self) -> Option<&Slot> {
        None
    }

    /// Where the callable is that makes the value of the answer.
    fn parse(&self) -> Option<&Slot> {
        None
    }

    /// Ends the run, from any thread.
    fn end(&self) {
        self.handle().cancel();
    }

    /// What takes the next item if it has come.
    fn taker(&self) -> Option<Take> {
        None
    }

    /// What is to be known of the task that asks for the next item.
    fn note_caller(&self, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }

    /// Shows the collector every Python object that is held.
    fn show(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.answerer().traverse(visit)?;
        let mut slots = [self.on_token(), self.parse()].into_iter().flatten();
        slots.try_for_each(|slot| slot.traverse(visit))
    }

    /// What is raised for a run that failed: what a callable raised in it, or else `error`, with what had
    /// come until then.
    fn failed(
        &self,
        py: Python<'_>,
        error: &Failure,
        partial: impl FnOnce() -> PyResult<Py<PyAny>>,
    ) -> PyErr {
        super::vendor_log::pass_on(py);
        let raised = self.answerer().raised(py, self.handle());
        raised.unwrap_or_else(|| with_partial(py, error, partial))
    }
}

impl<T: Stream> Awaited for T {
    fn asks(&self) -> bool {
        self.answerer().any()
    }

    fn arm(&self) -> std::io::Result<Option<RawFd>> {
        self.handle().arm()
    }

    fn leave(&self) {
        self.handle().leave();
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.show(visit)
    }

    fn clear(&self) {
        self.answerer().clear();
        for slot in [self.on_token(), self.parse()].into_iter().flatten() {
            slot.clear();
        }
    }
}

/// [`Awaited::arm`] for Python.
pub(super) fn arm(awaited: &impl Awaited) -> PyResult<Option<i32>> {
    awaited
        .arm()
        .map_err(|error| PyOSError::new_err(error.to_string()))
}

/// What a function of `rkllm_rs._waiting` makes of `stream`.
fn coroutine<'py>(
    stream: &Bound<'py, PyAny>,
    function: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let function = function.import(stream.py(), "rkllm_rs._waiting", name)?;
    function.call1((stream,))
}

/// After so many items it is looked whether others are to have their turn, also where all were at hand.
const LOOK: usize = 64;

/// So many looks go by at most: letting others in takes as long as fifty items.
const LOOKS: usize = 12;

/// How long others wait where a loop takes its time for each item.
const TURN: Duration = Duration::from_micros(500);

/// Items since the last look; one count for all streams is enough.
static ITEMS: AtomicUsize = AtomicUsize::new(0);

/// When others were let in, and how many looks ago.
static LET_IN: Mutex<(Option<Instant>, usize)> = Mutex::new((None, 0));

/// Counts an item that is asked for, and tells whether others are to have their turn before it; until [`let_in`].
#[inline]
pub(super) fn is_turn() -> bool {
    // Nothing depends on its being exact, and this takes less than adding in one step.
    let items = ITEMS.load(Ordering::Relaxed).wrapping_add(1);
    ITEMS.store(items, Ordering::Relaxed);
    items >= LOOK && look()
}

#[cold]
fn look() -> bool {
    let mut let_in = LET_IN.lock();
    let_in.1 = let_in.1.saturating_add(1);
    let is_turn = let_in.1 >= LOOKS || let_in.0.is_none_or(|at| at.elapsed() >= TURN);
    if !is_turn {
        ITEMS.store(0, Ordering::Relaxed);
    }
    is_turn
}

#[cold]
fn let_in() {
    ITEMS.store(0, Ordering::Relaxed);
    *LET_IN.lock() = (Some(Instant::now()), 0);
}

/// Notes that the running task, if there is one, reads `stream`.
pub(super) fn note_reader(stream: &Bound<'_, PyAny>) -> PyResult<()> {
    static NOTE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if running_task(stream.py())?.is_some() {
        coroutine(stream, &NOTE, "note_reader")?;
    }
    Ok(())
}

/// What the next item of `stream` is awaited by; `at_hand` takes it if it has come.
#[inline]
pub(super) fn next_item<'py>(
    stream: &Bound<'py, PyAny>,
    answerer: &Answerer,
    at_hand: Option<Take>,
) -> PyResult<Bound<'py, PyAny>> {
    static NEXT_IN_TURN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // Here and not in the coroutine, which may be run by a task of its own, as by asyncio.wait_for().
    if !answerer.is_read_here(stream.py())? {
        note_reader(stream)?;
    }
    if is_turn() {
        let_in();
        return coroutine(stream, &NEXT_IN_TURN, "next_in_turn");
    }
    at_hand.map_or_else(
        || wait_for_item(stream),
        |take| awaited_item::awaited_item(stream, take),
    )
}

/// The coroutine that waits for the next item of `stream`, whose reader is noted.
pub(super) fn wait_for_item<'py>(stream: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static NEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    coroutine(stream, &NEXT, "next_item")
}

/// The coroutine that gives `stream` itself, for `async with`.
pub(super) fn entered<'py>(stream: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static ENTERED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    coroutine(stream, &ENTERED, "entered")
}

/// The coroutine that closes `stream`.
pub(super) fn closed<'py>(stream: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static CLOSED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    coroutine(stream, &CLOSED, "closed")
}

/// Makes the Python methods of a class that is [`Awaited`], and with `stream` of one that is a [`Stream`] as
/// well, beside its own.
macro_rules! source_class {
    (stream $class:ident { $($own:tt)* }) => {
        $crate::py::source::source_class! {
            $class {
                #[new]
                #[pyo3(signature = (*_given, **_named), text_signature = None)]
                fn not_made(
                    py: Python<'_>,
                    _given: &Bound<'_, pyo3::types::PyTuple>,
                    _named: Option<&Bound<'_, pyo3::types::PyDict>>,
                ) -> PyResult<Self> {
                    Err($crate::py::options::not_made(py, stringify!($class)))
                }

                fn __await__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                    Err($crate::py::options::awaited(py, stringify!($class)))
                }

                /// Tells what to use for a name of another package.
                fn __getattr__(
                    slf: &Bound<'_, Self>,
                    name: &Bound<'_, PyAny>,
                ) -> PyResult<Py<PyAny>> {
                    Err($crate::py::options::no_attribute(slf, name))
                }

                fn __iter__(slf: Py<Self>) -> Py<Self> {
                    slf
                }

                fn __aiter__(slf: Py<Self>) -> Py<Self> {
                    slf
                }

                fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    slf.get().note_caller(slf.py())?;
                    let this = slf.get();
                    $crate::py::source::next_item(slf.as_any(), this.answerer(), this.taker())
                }

                /// The task that reads, as a weak reference; for the event loop.
                #[getter]
                fn _reader(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                    self.answerer().reader(py)
                }

                fn _set_reader(&self, py: Python<'_>, reader: Py<PyAny>) {
                    self.answerer().set_reader(py, reader);
                }

                /// Cancels the run (`rkllm_abort`), from any thread. Does nothing after the end.
                ///
                /// Iteration then ends without an error.
                #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
                fn cancel(
                    &self,
                    py: Python<'_>,
                    surplus: &Bound<'_, pyo3::types::PyTuple>,
                    unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
                ) -> PyResult<()> {
                    const NAME: &str = concat!(stringify!($class), ".cancel");
                    $crate::py::options::refuse(py, NAME, &[], surplus, unknown)?;
                    $crate::py::detach(py, || self.end());
                    Ok(())
                }

                /// Ends the run (`rkllm_abort`), like `cancel()`. Leaving a `with` block calls it.
                #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
                fn close(
                    &self,
                    py: Python<'_>,
                    surplus: &Bound<'_, pyo3::types::PyTuple>,
                    unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
                ) -> PyResult<()> {
                    const NAME: &str = concat!(stringify!($class), ".close");
                    $crate::py::options::refuse(py, NAME, &[], surplus, unknown)?;
                    $crate::py::detach(py, || self.end());
                    Ok(())
                }

                /// Ends the run, like `close()`, for event loops. Leaving an `async with` block calls it.
                #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
                fn aclose<'py>(
                    slf: &Bound<'py, Self>,
                    surplus: &Bound<'py, pyo3::types::PyTuple>,
                    unknown: Option<&Bound<'py, pyo3::types::PyDict>>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    const NAME: &str = concat!(stringify!($class), ".aclose");
                    $crate::py::options::refuse(slf.py(), NAME, &[], surplus, unknown)?;
                    $crate::py::source::closed(slf.as_any())
                }

                fn __enter__(slf: Py<Self>) -> Py<Self> {
                    slf
                }

                fn __exit__(
                    &self,
                    py: Python<'_>,
                    _kind: &Bound<'_, PyAny>,
                    _error: &Bound<'_, PyAny>,
                    _traceback: &Bound<'_, PyAny>,
                ) {
                    $crate::py::detach(py, || self.end());
                }

                fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    $crate::py::source::entered(slf.as_any())
                }

                fn __aexit__<'py>(
                    slf: &Bound<'py, Self>,
                    _kind: &Bound<'py, PyAny>,
                    _error: &Bound<'py, PyAny>,
                    _traceback: &Bound<'py, PyAny>,
                ) -> PyResult<Bound<'py, PyAny>> {
                    $crate::py::source::closed(slf.as_any())
                }

                $($own)*
            }
        }
    };
    ($class:ident { $($own:tt)* }) => {
        #[pymethods]
        impl $class {
            /// Whether questions may come that the loop must look for.
            #[getter]
            fn _asks(&self) -> bool {
                self.asks()
            }

            /// A descriptor that becomes readable when something comes; `None` if it is there already.
            fn _arm(&self) -> PyResult<Option<i32>> {
                $crate::py::source::arm(self)
            }

            /// Says that the reader was cancelled while it waited; for the event loop.
            fn _leave(&self) {
                self.leave();
            }

            fn __traverse__(
                &self,
                visit: ::pyo3::gc::PyVisit<'_>,
            ) -> Result<(), ::pyo3::gc::PyTraverseError> {
                self.traverse(&visit)
            }

            fn __clear__(&self) {
                self.clear();
            }

            $($own)*
        }
    };
}

pub(super) use source_class;

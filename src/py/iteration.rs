//! What a loop over a stream calls for each item, made by hand: PyO3's entry into Rust takes longer than handing
//! over an item that is there.
//!
//! PyO3 makes the class and all of its methods. Programs see a class by hand below it, whose slots take an item
//! that is at hand, and leave all else to those of PyO3's class: waiting, the end, errors, what is told of each
//! item. A panic in a slot by hand would end the process, so nothing there can.

#![allow(unsafe_code, reason = "the classes and their slots are C's")]

use std::ffi::{CStr, c_int, c_void};
use std::mem;
#[cfg(feature = "abi3")]
use std::ptr;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::{PyClass, PyClassInitializer};

use super::awaited_item;
use super::c_class::{self, slot};
use super::callables::Answerer;
use super::chunk;
use super::source::{self, Stream};
use super::stream::{TextStream, TokenStream};
#[cfg(feature = "abi3")]
use super::tasks;

/// A class of PyO3's, for streams whose items may be at hand.
pub(super) trait Iterated:
    Stream + PyClass<Frozen = True> + Sync + Into<PyClassInitializer<Self>>
{
    /// What the class by hand is called, with its module.
    const FULL_NAME: &'static CStr;

    /// Where the class by hand is kept.
    fn kept() -> &'static PyOnceLock<Py<PyType>>;

    /// The next item if it is at hand and nothing else is to be done for it. Does not panic.
    fn at_hand<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>>;

    /// The object for a stream.
    fn object(self, py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        c_class::instance(class::<Self>(py)?, self)
    }
}

impl Iterated for TokenStream {
    const FULL_NAME: &'static CStr = c"rkllm_rs.TokenStream";

    fn kept() -> &'static PyOnceLock<Py<PyType>> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        &CLASS
    }

    #[inline]
    fn at_hand<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.ready(py, chunk::plain)
    }
}

impl Iterated for TextStream {
    const FULL_NAME: &'static CStr = c"rkllm_rs.TextStream";

    fn kept() -> &'static PyOnceLock<Py<PyType>> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        &CLASS
    }

    #[inline]
    fn at_hand<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let stream = self.stream.get();
        stream.ready(py, |text, _| Some(text.into_any()))
    }
}

/// The class by hand.
pub(super) fn class<T: Iterated>(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let class = T::kept().get_or_try_init(py, || {
        let slots = vec![
            slot(ffi::Py_tp_iternext, next::<T> as *mut c_void),
            slot(ffi::Py_am_anext, anext::<T> as *mut c_void),
        ];
        // SAFETY: each slot has what its number stands for.
        unsafe { c_class::below::<T>(py, T::FULL_NAME, slots) }
    })?;
    Ok(class.bind(py))
}

/// A stream, as a slot is given it.
///
/// # Safety
/// The thread is attached, and `object` is an instance of the class by hand that outlives the value.
unsafe fn given<'a, T: Iterated>(object: *mut PyObject) -> Borrowed<'a, 'a, T> {
    // SAFETY: the caller's promise; the class is below that of `T`.
    unsafe { Borrowed::from_ptr(Python::assume_attached(), object).cast_unchecked() }
}

unsafe extern "C" fn next<T: Iterated>(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls slots attached, with an instance that lives for the call.
    let stream = unsafe { given::<T>(this) };
    match stream.get().at_hand(stream.py()) {
        Some(item) => item.into_ptr(),
        // SAFETY: that slot takes an instance, attached.
        None => unsafe { base::<T>(stream.py(), ffi::Py_tp_iternext)(this) },
    }
}

unsafe extern "C" fn anext<T: Iterated>(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `next`.
    let stream = unsafe { given::<T>(this) };
    let py = stream.py();
    let known = is_reader(py, stream.get().answerer());
    let awaitable = match stream.get().taker() {
        Some(take) if known && !source::is_turn() => {
            awaited_item::awaited_item(stream.as_any(), take).ok()
        }
        _ => None,
    };
    match awaitable {
        Some(awaitable) => awaitable.into_ptr(),
        // SAFETY: as for `next`.
        None => unsafe { base::<T>(py, ffi::Py_am_anext)(this) },
    }
}

/// Whether the task that is noted as the reader runs here, and is the only one that runs in any thread.
#[cfg(feature = "abi3")]
fn is_reader(py: Python<'_>, answerer: &Answerer) -> bool {
    let Some(tasks) = tasks::tasks(py) else {
        return false;
    };
    let (tasks, mut at, mut task) = (tasks.as_ptr(), 0, ptr::null_mut());
    // SAFETY: it is a dictionary, which nobody changes meanwhile, since the interpreter's lock is held.
    let only = unsafe {
        ffi::PyDict_Size(tasks) == 1
            && ffi::PyDict_Next(tasks, &raw mut at, ptr::null_mut(), &raw mut task) != 0
    };
    // SAFETY: the reader is a weak reference. What it gives is borrowed, and compared at once.
    only && answerer.is_reader(py, |reader| unsafe {
        ffi::PyWeakref_GetObject(reader.as_ptr()) == task
    })
}

/// Without that lock PyO3 asks.
#[cfg(not(feature = "abi3"))]
fn is_reader(_py: Python<'_>, _answerer: &Answerer) -> bool {
    false
}

/// A slot of PyO3's class that takes an instance and gives an object.
///
/// # Safety
/// It is such a slot, and the class has it.
#[cold]
unsafe fn base<T: Iterated>(
    py: Python<'_>,
    slot: c_int,
) -> unsafe extern "C" fn(*mut PyObject) -> *mut PyObject {
    // SAFETY: the class is ready; a slot that it has is a function, of the type that the caller promises.
    unsafe { mem::transmute(ffi::PyType_GetSlot(T::type_object_raw(py), slot)) }
}

//! What `async for` awaits: an item of a stream, which may be at hand.
//!
//! An item that is at hand is handed over through `am_send`, without an exception and without a coroutine, which
//! take longer than all the rest. PyO3 has no slot for it, so the class is made by hand. Where the item has to
//! be waited for, a coroutine does it.

#![allow(unsafe_code, reason = "the class and its slots are C's")]

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject, PySendResult};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyTuple, PyType};

use super::c_class::{self, method, slot};
use super::source::wait_for_item;

/// Takes an item of a stream; `None` where it has to be waited for.
pub(super) type Take = fn(&Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>>;

/// How far it is.
enum Progress {
    New { stream: Py<PyAny>, take: Take },
    Waiting { coroutine: Py<PyAny> },
    Over,
}

impl Progress {
    fn release(self, py: Python<'_>) {
        match self {
            Self::New { stream: held, .. } | Self::Waiting { coroutine: held } => {
                drop(held.into_bound(py));
            }
            Self::Over => {}
        }
    }
}

/// The object, as Python allocates it.
#[repr(C)]
struct AwaitedItem {
    base: PyObject,
    /// Seen by attached threads only, in a critical section, and for moments: not while Python objects are made
    /// or dropped.
    state: UnsafeCell<Progress>,
}

/// An awaitable that gives the next item of `stream`: at once if it has come.
pub(super) fn awaited_item<'py>(
    stream: &Bound<'py, PyAny>,
    take: Take,
) -> PyResult<Bound<'py, PyAny>> {
    let py = stream.py();
    let class = class(py)?;
    let state = Progress::New {
        stream: stream.clone().unbind(),
        take,
    };
    // SAFETY: the class is ready, and its instances have the size of `AwaitedItem`. Nobody has the object before its
    // state is written: the collector runs on attached threads only, between their calls into Python, and does not
    // know a spare one before.
    unsafe {
        let spare = spare::take();
        let object = if spare.is_null() {
            ffi::PyType_GenericAlloc(class.as_type_ptr(), 0)
        } else {
            ffi::PyObject_Init(spare, class.as_type_ptr())
        };
        let made = Bound::from_owned_ptr_or_err(py, object)?;
        ptr::addr_of_mut!((*object.cast::<AwaitedItem>()).state).write(UnsafeCell::new(state));
        if !spare.is_null() {
            ffi::PyObject_GC_Track(object.cast());
        }
        Ok(made)
    }
}

/// The memory of one that was let go of, for the next: a loop has one at a time. The interpreter's lock, which the
/// caller holds, keeps other threads away.
#[cfg(feature = "abi3")]
mod spare {
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use pyo3::ffi::PyObject;

    static SPARE: AtomicPtr<PyObject> = AtomicPtr::new(ptr::null_mut());

    pub(super) fn take() -> *mut PyObject {
        let spare = SPARE.load(Ordering::Relaxed);
        SPARE.store(ptr::null_mut(), Ordering::Relaxed);
        spare
    }

    /// Whether it is kept, and not to be freed.
    pub(super) fn keep(object: *mut PyObject) -> bool {
        let keeps = SPARE.load(Ordering::Relaxed).is_null();
        if keeps {
            SPARE.store(object, Ordering::Relaxed);
        }
        keeps
    }
}

/// Without that lock nothing is kept.
#[cfg(not(feature = "abi3"))]
mod spare {
    use std::ptr;

    use pyo3::ffi::PyObject;

    pub(super) fn take() -> *mut PyObject {
        ptr::null_mut()
    }

    pub(super) fn keep(_: *mut PyObject) -> bool {
        false
    }
}

/// An instance, as a slot is given it.
#[derive(Clone, Copy)]
struct This<'a, 'py>(Borrowed<'a, 'py, PyAny>);

impl<'py> This<'_, 'py> {
    /// # Safety
    /// The thread is attached, and `object` is an instance of the class that outlives the value.
    unsafe fn new(object: *mut PyObject) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(Borrowed::from_ptr(Python::assume_attached(), object)) }
    }

    /// Puts a state in the place of the one before.
    fn put(self, state: Progress) -> Progress {
        with_critical_section(&self.0, || {
            let this = self.0.as_ptr().cast::<AwaitedItem>();
            // SAFETY: it is an instance. No other thread is here now: none is attached, or none in a critical
            // section of this object. Nothing in here lets one in.
            unsafe { mem::replace(&mut *(*this).state.get(), state) }
        })
    }

    fn end(self) {
        self.put(Progress::Over).release(self.0.py());
    }

    /// The coroutine that waits for the item, which is noted.
    fn coroutine(self, state: Progress) -> PyResult<Bound<'py, PyAny>> {
        let py = self.0.py();
        let coroutine = match state {
            Progress::New { stream, .. } => wait_for_item(&stream.into_bound(py))?,
            Progress::Waiting { coroutine } => coroutine.into_bound(py),
            Progress::Over => {
                let message = "cannot reuse already awaited coroutine";
                return Err(PyRuntimeError::new_err(message));
            }
        };
        let noted = coroutine.clone().unbind();
        self.put(Progress::Waiting { coroutine: noted }).release(py);
        Ok(coroutine)
    }

    fn send(self, value: *mut PyObject) -> PyResult<(PySendResult, Bound<'py, PyAny>)> {
        let py = self.0.py();
        let state = match self.put(Progress::Over) {
            Progress::New { stream, take } => {
                let stream = stream.into_bound(py);
                if let Some(item) = take(&stream)? {
                    return Ok((PySendResult::PYGEN_RETURN, item.into_bound(py)));
                }
                Progress::New {
                    stream: stream.unbind(),
                    take,
                }
            }
            state => state,
        };
        let coroutine = self.coroutine(state)?;
        let mut result = ptr::null_mut();
        // SAFETY: both are live objects, and the result is owned unless there was an error.
        let (status, result) = unsafe {
            let status = ffi::PyIter_Send(coroutine.as_ptr(), value, &raw mut result);
            (status, Bound::from_owned_ptr_or_err(py, result))
        };
        if status != PySendResult::PYGEN_NEXT {
            self.end();
        }
        Ok((status, result?))
    }
}

unsafe extern "C" fn send(
    this: *mut PyObject,
    value: *mut PyObject,
    result: *mut *mut PyObject,
) -> PySendResult {
    // SAFETY: Python calls slots attached, with an instance that lives for the call and a place for the result.
    unsafe {
        let (status, object) = match This::new(this).send(value) {
            Ok((status, object)) => (status, object.into_ptr()),
            Err(error) => {
                error.restore(Python::assume_attached());
                (PySendResult::PYGEN_ERROR, ptr::null_mut())
            }
        };
        *result = object;
        status
    }
}

unsafe extern "C" fn next(this: *mut PyObject) -> *mut PyObject {
    let mut result = ptr::null_mut();
    // SAFETY: as for `send`; a result that is returned by raising is owned here.
    unsafe {
        if send(this, ffi::Py_None(), &raw mut result) == PySendResult::PYGEN_RETURN {
            ffi::PyErr_SetObject(ffi::PyExc_StopIteration, result);
            ffi::Py_DECREF(result);
            result = ptr::null_mut();
        }
    }
    result
}

/// A method of the coroutine that waits.
unsafe fn call(this: *mut PyObject, name: &CStr, args: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls methods attached, with an instance and a tuple that live for the call.
    unsafe {
        let py = Python::assume_attached();
        let args = Bound::from_borrowed_ptr(py, args).cast_into_unchecked::<PyTuple>();
        let this = This::new(this);
        let called = this
            .coroutine(this.put(Progress::Over))
            .and_then(|coroutine| coroutine.call_method1(&*name.to_string_lossy(), args));
        match called {
            Ok(result) => result.into_ptr(),
            Err(error) => {
                error.restore(py);
                ptr::null_mut()
            }
        }
    }
}

macro_rules! methods {
    ($($function:ident $name:literal $doc:literal),*) => {
        $(unsafe extern "C" fn $function(this: *mut PyObject, args: *mut PyObject) -> *mut PyObject {
            // SAFETY: as Python calls it.
            unsafe { call(this, $name, args) }
        })*

        fn methods() -> Vec<ffi::PyMethodDef> {
            vec![
                $(method($name, $function, ffi::METH_VARARGS, $doc),)*
                ffi::PyMethodDef::zeroed(),
            ]
        }
    };
}

methods!(
    send_method c"send" c"Goes on with a value, as a coroutine does.",
    throw_method c"throw" c"Goes on with an exception, as a coroutine does.",
    close_method c"close" c"Ends, as a coroutine does."
);

unsafe extern "C" fn traverse(
    this: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes an instance, and a function for the objects that it holds. It runs attached and
    // with all other threads at rest, none of them in the middle of putting a state.
    unsafe {
        let class = visit(ffi::Py_TYPE(this).cast(), arg);
        if class != 0 {
            return class;
        }
        match &*(*this.cast::<AwaitedItem>()).state.get() {
            Progress::New { stream: held, .. } | Progress::Waiting { coroutine: held } => {
                visit(held.as_ptr(), arg)
            }
            Progress::Over => 0,
        }
    }
}

unsafe extern "C" fn clear(this: *mut PyObject) -> c_int {
    // SAFETY: the collector passes an instance, attached.
    unsafe { This::new(this).end() };
    0
}

unsafe extern "C" fn dealloc(this: *mut PyObject) {
    // SAFETY: the last reference is gone, so that nobody else sees the object; each instance has a reference to
    // its class.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        let state = (*this.cast::<AwaitedItem>()).state.get().read();
        state.release(Python::assume_attached());
        let class = ffi::Py_TYPE(this);
        if !spare::keep(this) {
            ffi::PyObject_GC_Del(this.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if let Some(class) = CLASS.get(py) {
        return Ok(class.bind(py));
    }
    let class = CLASS.get_or_try_init(py, || {
        // Kept as long as the class, which is for ever.
        let methods = Box::leak(methods().into_boxed_slice());
        let slots = vec![
            slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
            slot(ffi::Py_am_await, ffi::PyObject_SelfIter as *mut c_void),
            slot(ffi::Py_am_send, send as *mut c_void),
            slot(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void),
            slot(ffi::Py_tp_iternext, next as *mut c_void),
            slot(ffi::Py_tp_traverse, traverse as *mut c_void),
            slot(ffi::Py_tp_clear, clear as *mut c_void),
            slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        ];
        let (name, flags) = (c"rkllm_rs._native.AwaitedItem", ffi::Py_TPFLAGS_HAVE_GC);
        // SAFETY: each slot has what its number stands for; the methods live for ever.
        unsafe { c_class::class::<AwaitedItem>(py, name, flags, slots) }
    })?;
    Ok(class.bind(py))
}

//! `Chunk`: made by hand, since a stream makes and frees one for each token.

#![allow(unsafe_code, reason = "the class and its slots are C's")]

use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::ptr;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyString, PyType};

use super::c_class::{self, method, slot};
use super::logprobs;
use super::options;
use super::outputs::rebuilder;
use crate::protocol::output::TokenLogprob;

/// The object, as Python allocates it. Nothing in it changes, and what it refers to does not refer to it.
#[repr(C)]
struct Chunk {
    base: PyObject,
    /// A `str`, which is owned.
    text: *mut PyObject,
    token_id: c_int,
    /// A list or None, which is owned.
    logprobs: *mut PyObject,
}

const DOC: &CStr = c"A chunk of an answer, as a stream yields it. `str(chunk)` is its text.

Immutable; any number of threads and tasks may use it at the same time.";

const TEXT: &CStr = c"The chunk's text (`RKLLMResult.text`): never empty, always whole characters.";

const TOKEN_ID: &CStr = c"The token that completed the text (`RKLLMResult.token_id`).

Earlier tokens whose bytes only now form a character are in `Generation.token_ids`.";

const LOGPROBS: &CStr =
    c"How likely the tokens were that came since the last chunk; `None` without `logprobs`.";

/// A chunk.
pub(super) fn chunk(
    text: Bound<'_, PyString>,
    token_id: i32,
    likely: Option<&[TokenLogprob]>,
) -> PyResult<Py<PyAny>> {
    let logprobs = match likely {
        None => None,
        Some(_) => logprobs::list(text.py(), likely)?,
    };
    of_text(text, token_id, logprobs)
}

/// A chunk of a token alone; `None` if there is no memory for one. Does not panic.
#[inline]
pub(super) fn plain(text: Bound<'_, PyString>, token_id: i32) -> Option<Bound<'_, PyAny>> {
    let class = CLASS.get(text.py())?.bind(text.py());
    filled(class, text, token_id, None)
}

fn of_text(
    text: Bound<'_, PyString>,
    token_id: i32,
    logprobs: Option<Py<PyList>>,
) -> PyResult<Py<PyAny>> {
    let chunk = filled(class(text.py())?, text, token_id, logprobs);
    chunk
        .map(Bound::unbind)
        .ok_or_else(|| PyMemoryError::new_err(()))
}

#[inline]
fn filled<'py>(
    class: &Bound<'py, PyType>,
    text: Bound<'py, PyString>,
    token_id: i32,
    logprobs: Option<Py<PyList>>,
) -> Option<Bound<'py, PyAny>> {
    let py = class.py();
    // SAFETY: the class is ready, its instances have the size of `Chunk`, and the collector does not know them.
    // All of the object is written before anybody else has it.
    unsafe {
        let chunk = ffi::PyObject_Malloc(size_of::<Chunk>()).cast::<Chunk>();
        if chunk.is_null() {
            return None;
        }
        (*chunk).text = text.into_ptr();
        (*chunk).token_id = token_id;
        (*chunk).logprobs = logprobs.map_or_else(|| py.None(), Py::into_any).into_ptr();
        let made = ffi::PyObject_Init(chunk.cast(), class.as_type_ptr());
        Some(Bound::from_owned_ptr(py, made))
    }
}

/// A `Chunk` from its parts; for `pickle`.
#[pyfunction]
#[pyo3(signature = (text, token_id, logprobs=None))]
pub(super) fn _chunk(
    text: Bound<'_, PyString>,
    token_id: i32,
    logprobs: Option<Py<PyList>>,
) -> PyResult<Py<PyAny>> {
    of_text(text, token_id, logprobs)
}

unsafe extern "C" fn dealloc(this: *mut PyObject) {
    // SAFETY: the last reference is gone; the text, if it was written, and the class are owned.
    unsafe {
        let class = ffi::Py_TYPE(this);
        ffi::Py_XDECREF((*this.cast::<Chunk>()).text);
        ffi::Py_XDECREF((*this.cast::<Chunk>()).logprobs);
        ffi::PyObject_Free(this.cast());
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn text(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls slots attached, with an instance that lives for the call.
    unsafe {
        let text = (*this.cast::<Chunk>()).text;
        ffi::Py_INCREF(text);
        text
    }
}

unsafe extern "C" fn repr(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `text`; the format fits what follows it.
    unsafe {
        let Chunk { text, token_id, .. } = *this.cast::<Chunk>();
        ffi::PyUnicode_FromFormat(c"Chunk(text=%R, token_id=%d)".as_ptr(), text, token_id)
    }
}

/// Tells what to use in place of a name of another package. A way to answer every such name would make each reading
/// of an attribute three times as slow.
unsafe extern "C" fn choices(this: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    // SAFETY: as for `text`.
    unsafe {
        let py = Python::assume_attached();
        let name = PyString::intern(py, "choices");
        options::no_attribute(&Bound::from_borrowed_ptr(py, this), &name).restore(py);
    }
    ptr::null_mut()
}

/// Tells which attribute to use: this is not a dict.
unsafe extern "C" fn item(this: *mut PyObject, key: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `text`.
    unsafe {
        let py = Python::assume_attached();
        let key = Bound::from_borrowed_ptr(py, key);
        options::no_item(&Bound::from_borrowed_ptr(py, this), &key).restore(py);
    }
    ptr::null_mut()
}

/// Supports `copy` and `pickle`.
unsafe extern "C" fn reduce(this: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: as for `text`.
    let (py, chunk) = unsafe { (Python::assume_attached(), &*this.cast::<Chunk>()) };
    let reduced = rebuilder(py, "_chunk").and_then(|rebuilder| {
        // SAFETY: the chunk owns its text.
        let text = unsafe { Bound::from_borrowed_ptr(py, chunk.text) };
        // SAFETY: and its list.
        let logprobs = unsafe { Bound::from_borrowed_ptr(py, chunk.logprobs) };
        (rebuilder, (text, chunk.token_id, logprobs)).into_pyobject(py)
    });
    match reduced {
        Ok(reduced) => reduced.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// The class, as soon as it was asked for, which the module does.
static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The class.
pub(super) fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    CLASS
        .get_or_try_init(py, || made(py))
        .map(|class| class.bind(py))
}

fn made(py: Python<'_>) -> PyResult<Py<PyType>> {
    let member = |name: &'static CStr, type_code, offset, doc: &'static CStr| ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code,
        offset: offset as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: doc.as_ptr(),
    };
    // All are kept as long as the class, which is for ever.
    let members = Box::leak(Box::new([
        member(c"text", ffi::Py_T_OBJECT_EX, offset_of!(Chunk, text), TEXT),
        member(
            c"token_id",
            ffi::Py_T_INT,
            offset_of!(Chunk, token_id),
            TOKEN_ID,
        ),
        member(
            c"logprobs",
            ffi::Py_T_OBJECT_EX,
            offset_of!(Chunk, logprobs),
            LOGPROBS,
        ),
        ffi::PyMemberDef::default(),
    ]));
    let getters = Box::leak(Box::new([
        ffi::PyGetSetDef {
            name: c"choices".as_ptr(),
            get: Some(choices),
            doc: c"Always an `AttributeError`, which says to use `text`.".as_ptr(),
            ..Default::default()
        },
        ffi::PyGetSetDef::default(),
    ]));
    let methods = Box::leak(Box::new([
        method(
            c"__reduce__",
            reduce,
            ffi::METH_NOARGS,
            c"Supports `copy` and `pickle`.",
        ),
        ffi::PyMethodDef::zeroed(),
    ]));
    let slots = vec![
        slot(ffi::Py_tp_doc, DOC.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(ffi::Py_tp_str, text as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_getset, getters.as_mut_ptr().cast()),
        slot(ffi::Py_mp_subscript, item as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
    ];
    // SAFETY: each slot has what its number stands for; texts and lists live for ever.
    unsafe { c_class::class::<Chunk>(py, c"rkllm_rs.Chunk", 0, slots) }
}

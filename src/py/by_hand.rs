//! Classes that are made through CPython's stable ABI, where what PyO3 makes of one takes too long or has no
//! slot for it.

#![allow(unsafe_code, reason = "the classes and their slots are C's")]

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi::{self, PyType_Slot};
use pyo3::prelude::*;
use pyo3::types::PyType;

/// A slot of a class.
pub(super) fn slot(slot: c_int, pfunc: *mut c_void) -> PyType_Slot {
    PyType_Slot { slot, pfunc }
}

/// A method of a class.
pub(super) fn method(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: function,
        },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

/// A class that programs cannot instantiate or change; its instances are `T`.
///
/// # Safety
/// What each slot points to is what its number stands for, and lives as long as the class. `T` begins with a
/// `PyObject`.
pub(super) unsafe fn class<T>(
    py: Python<'_>,
    name: &'static CStr,
    flags: std::ffi::c_ulong,
    mut slots: Vec<PyType_Slot>,
) -> PyResult<Py<PyType>> {
    slots.push(PyType_Slot::default());
    let flags = flags
        | ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<T>() as c_int,
        itemsize: 0,
        flags: flags as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the spec is whole, with an end behind its slots, which are as the caller promises. Python copies it.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
    Ok(class.cast_into::<PyType>()?.unbind())
}

//! Classes that are made by hand, through CPython's stable ABI, where what PyO3 makes of one takes too long or has no
//! slot for it.

#![allow(unsafe_code, reason = "the classes and their slots are C's")]

use std::ffi::{CStr, c_int, c_void};

use pyo3::PyClass;
use pyo3::ffi::{self, PyType_Slot};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

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

/// A class below the one that PyO3 makes of `T`, with the same layout, and `slots` in the place of its own. What is
/// public stands in both, where `help()` and makers of documentation look. [`instance`] makes its instances.
///
/// # Safety
/// What each slot points to is what its number stands for, and lives as long as the class.
pub(super) unsafe fn below<T: PyClass>(
    py: Python<'_>,
    name: &'static CStr,
    mut slots: Vec<PyType_Slot>,
) -> PyResult<Py<PyType>> {
    let base = py.get_type::<T>();
    for number in [ffi::Py_tp_doc, ffi::Py_tp_dealloc] {
        // SAFETY: both are slots of a class that lives for ever, as all of PyO3's do.
        slots.push(slot(number, unsafe {
            ffi::PyType_GetSlot(base.as_type_ptr(), number)
        }));
    }
    slots.push(PyType_Slot::default());
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        // That of the base.
        basicsize: 0,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as _,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [&base])?;
    // SAFETY: as in `class`; the base allows classes below it, or Python raises.
    let class = unsafe {
        let class = ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr());
        Bound::from_owned_ptr_or_err(py, class)?
    };
    for item in base
        .getattr(intern!(py, "__dict__"))?
        .call_method0("items")?
        .try_iter()?
    {
        let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) = item?.extract()?;
        if !name.to_cow()?.starts_with('_') {
            class.setattr(name, value)?;
        }
    }
    Ok(class.cast_into::<PyType>()?.unbind())
}

/// `value` as an instance of a class that [`below`] has made. Python checks that both classes have one layout.
pub(super) fn instance<'py, T>(class: &Bound<'py, PyType>, value: T) -> PyResult<Bound<'py, T>>
where
    T: PyClass + Into<pyo3::PyClassInitializer<T>>,
{
    let object = Bound::new(class.py(), value)?;
    object
        .as_any()
        .setattr(intern!(class.py(), "__class__"), class)?;
    Ok(object)
}

/// A string; `None` if there is no memory for one.
#[inline]
pub(super) fn string<'py>(py: Python<'py>, text: &str) -> Option<Bound<'py, PyString>> {
    // SAFETY: the text is as long as it is. An error is not left behind, for whoever tries otherwise.
    unsafe {
        let made = ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as _);
        let made = Bound::from_owned_ptr_or_opt(py, made);
        if made.is_none() {
            ffi::PyErr_Clear();
        }
        Some(made?.cast_into_unchecked())
    }
}

//! DLPack, by which array libraries hand each other memory.
//!
//! The structs are those of DLPack 0.8 (`dlpack.h`); a capsule named `dltensor` carries one.

#![allow(unsafe_code, reason = "the structs and the capsule are C's")]

use std::ffi::{CStr, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::host::FloatBlock;

/// The capsule's name until somebody takes the tensor.
const NAME: &CStr = c"dltensor";
/// `kDLCPU`.
pub(crate) const CPU: i32 = 1;
/// `kDLFloat`.
const FLOAT: u8 = 2;

#[repr(C)]
struct DLTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct DLManagedTensor {
    dl_tensor: DLTensor,
    manager_ctx: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut DLManagedTensor)>,
}

/// What stays until the taker calls the deleter.
#[repr(C)]
struct Lent {
    // First, so that its address is that of the whole.
    tensor: DLManagedTensor,
    shape: Vec<i64>,
    _block: FloatBlock,
}

unsafe extern "C" fn delete(tensor: *mut DLManagedTensor) {
    // SAFETY: the address is that of the `Lent` that `capsule` leaked, and DLPack calls this once.
    drop(unsafe { Box::from_raw(tensor.cast::<Lent>()) });
}

unsafe extern "C" fn forget_capsule(capsule: *mut ffi::PyObject) {
    // SAFETY: Python calls this with the capsule that is going away. A taker has renamed it, and then
    // the tensor is his.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr()) == 1 {
            delete(ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()).cast());
        }
    }
}

/// A capsule with the floats of `block` from the `first` on, in the given shape.
pub(crate) fn capsule<'py>(
    py: Python<'py>,
    block: &FloatBlock,
    first: usize,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let data = block.address() + first * size_of::<f32>();
    let mut lent = Box::new(Lent {
        tensor: DLManagedTensor {
            dl_tensor: DLTensor {
                data: std::ptr::with_exposed_provenance_mut(data),
                device_type: CPU,
                device_id: 0,
                ndim: shape.len() as i32,
                code: FLOAT,
                bits: 32,
                lanes: 1,
                shape: std::ptr::null_mut(),
                // Row by row.
                strides: std::ptr::null_mut(),
                byte_offset: 0,
            },
            manager_ctx: std::ptr::null_mut(),
            deleter: Some(delete),
        },
        shape: shape.iter().map(|n| *n as i64).collect(),
        _block: block.clone(),
    });
    lent.tensor.dl_tensor.shape = lent.shape.as_mut_ptr();
    let lent = Box::into_raw(lent);
    // SAFETY: the pointer is not NULL, the name lives for ever, and the destructor frees what nobody
    // has taken; `from_owned_ptr_or_err` takes the new reference or the error.
    unsafe {
        let made = ffi::PyCapsule_New(lent.cast(), NAME.as_ptr(), Some(forget_capsule));
        if made.is_null() {
            delete(lent.cast());
        }
        Bound::from_owned_ptr_or_err(py, made)
    }
}

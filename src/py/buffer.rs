//! Reads arrays of other libraries, by the buffer protocol or NumPy's array interface.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyString};

use super::array::FloatArray;
use super::convert::wrong_type;
use super::errors::{InvalidType, raise};
use crate::protocol::error::Failure;

/// A copy of somebody's float32 array, row by row.
pub(super) struct Floats {
    pub(super) values: Vec<f32>,
    pub(super) shape: Vec<usize>,
}

pub(super) const WANTED: &str = "a C-contiguous float32 array";

/// Copies `value`, whatever library it is of.
pub(super) fn floats(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Floats> {
    if let Ok(array) = value.cast::<FloatArray>() {
        let array = array.get();
        return Ok(Floats {
            values: array.with(<[f32]>::to_vec),
            shape: array.dimensions(),
        });
    }
    if value.is_instance_of::<PyString>() {
        return Err(wrong_type(name, WANTED, value));
    }
    match PyMemoryView::from(value) {
        Ok(view) => from_view(name, &view),
        Err(_) => from_interface(name, value),
    }
}

fn from_view(name: &str, view: &Bound<'_, PyMemoryView>) -> PyResult<Floats> {
    let format: String = view.getattr("format")?.extract()?;
    if !is_float32(&format) {
        return Err(wrong_dtype(view.py(), name, dtype(&format)));
    }
    if !view.getattr("c_contiguous")?.extract::<bool>()? {
        return Err(not_contiguous(view.py(), name));
    }
    let bytes = view.call_method0("tobytes")?;
    Ok(Floats {
        values: decode(bytes.cast::<PyBytes>()?.as_bytes()),
        shape: view.getattr("shape")?.extract()?,
    })
}

/// For what has NumPy's interface and no buffer: `ctypes` reads the memory.
fn from_interface(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Floats> {
    let py = value.py();
    let Some(interface) = value.getattr_opt(pyo3::intern!(py, "__array_interface__"))? else {
        return Err(wrong_type(name, WANTED, value));
    };
    let interface = interface
        .cast_into::<PyDict>()
        .map_err(|_| wrong_type(name, WANTED, value))?;
    let item = |key: &str| {
        let missing = || wrong_type(name, WANTED, value);
        interface.get_item(key)?.ok_or_else(missing)
    };
    let unusable = |_| wrong_type(name, WANTED, value);
    let kind: String = item("typestr")?.extract().map_err(unusable)?;
    let little = cfg!(target_endian = "little");
    if kind != if little { "<f4" } else { ">f4" } && kind != "=f4" {
        return Err(wrong_dtype(py, name, &kind));
    }
    let shape: Vec<usize> = item("shape")?.extract().map_err(unusable)?;
    let strides = interface.get_item("strides")?.filter(|s| !s.is_none());
    if let Some(strides) = strides {
        let strides: Vec<isize> = strides.extract().map_err(unusable)?;
        let mut expected = size_of::<f32>();
        for (stride, length) in strides.iter().zip(&shape).rev() {
            if *length > 1 && usize::try_from(*stride) != Ok(expected) {
                return Err(not_contiguous(py, name));
            }
            expected = expected.saturating_mul(*length);
        }
    }
    let data = item("data")?;
    if data.is_none() {
        return Err(wrong_type(name, WANTED, value));
    }
    let (address, _): (usize, bool) = data.extract().map_err(unusable)?;
    let length = shape
        .iter()
        .try_fold(size_of::<f32>(), |all, length| all.checked_mul(*length))
        .filter(|length| isize::try_from(*length).is_ok())
        .ok_or_else(|| wrong_type(name, WANTED, value))?;
    let bytes = py
        .import("ctypes")?
        .call_method1("string_at", (address, length))?;
    Ok(Floats {
        values: decode(bytes.cast::<PyBytes>()?.as_bytes()),
        shape,
    })
}

fn decode(bytes: &[u8]) -> Vec<f32> {
    let four = |chunk: &[u8]| [chunk[0], chunk[1], chunk[2], chunk[3]];
    let floats = bytes.chunks_exact(4);
    floats
        .map(|chunk| f32::from_ne_bytes(four(chunk)))
        .collect()
}

fn is_float32(format: &str) -> bool {
    let native = if cfg!(target_endian = "little") {
        "<f"
    } else {
        ">f"
    };
    matches!(format, "f" | "@f" | "=f") || format == native
}

/// NumPy's word for a format of the buffer protocol.
fn dtype(format: &str) -> &str {
    match format.trim_start_matches(['@', '=', '<', '>']) {
        "d" => "float64",
        "e" => "float16",
        "f" => "float32 in the other byte order",
        "b" => "int8",
        "B" => "bytes (uint8)",
        "h" => "int16",
        "i" => "int32",
        // C's long is of the machine's width.
        "l" if size_of::<std::ffi::c_long>() == 4 => "int32",
        "l" | "q" => "int64",
        other => other,
    }
}

fn wrong_dtype(py: Python<'_>, name: &str, got: &str) -> PyErr {
    InvalidType::new_err(
        py,
        &format!("{name} must be float32, got {got}"),
        "Convert the array: array.astype(numpy.float32).".to_owned(),
    )
}

fn not_contiguous(py: Python<'_>, name: &str) -> PyErr {
    raise(
        py,
        &Failure::invalid_with_hint(
            name,
            "must be C-contiguous",
            "Pass numpy.ascontiguousarray(array).",
        ),
    )
}

/// Demands one of several shapes; `wanted` says which.
pub(super) fn wrong_shape(py: Python<'_>, name: &str, wanted: &str, got: &[usize]) -> PyErr {
    raise(
        py,
        &Failure::invalid_with_hint(
            name,
            format!("must have the shape {wanted}, got {got:?}"),
            "Reshape the array.",
        ),
    )
}

/// A float32 array of exactly these many dimensions.
pub(super) fn shaped<const N: usize>(
    name: &str,
    wanted: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<(Vec<f32>, [usize; N])> {
    let floats = floats(name, value)?;
    let shape = <[usize; N]>::try_from(floats.shape.as_slice())
        .map_err(|_| wrong_shape(value.py(), name, wanted, &floats.shape))?;
    Ok((floats.values, shape))
}

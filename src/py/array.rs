//! `FloatArray`: rows of floats, for NumPy and without it.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyBufferError, PyImportError, PyIndexError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::{dlpack, options};
use crate::host::FloatBlock;

/// float32 numbers in rows: logits, hidden states or embeddings.
///
/// The numbers were copied once from the library's memory. `numpy.asarray(array)`, `to_numpy()` and
/// `torch.from_dlpack(array)` share this memory without another copy and keep it alive. Indexing gives rows
/// that are `FloatArray` objects too and share the memory.
///
/// Any number of threads and tasks may read it at the same time. A program that changes it through NumPy
/// must synchronise its own threads.
///
/// Example:
///     >>> logits = llm.logits("Hello")  # doctest: +SKIP
///     >>> logits.shape  # doctest: +SKIP
///     (9, 49152)
#[pyclass(module = "rkllm_rs", frozen, sequence)]
#[derive(Clone)]
pub(super) struct FloatArray {
    block: FloatBlock,
    first: usize,
    /// One number for a vector, two for rows.
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    Vector(usize),
    Rows(usize, usize),
}

impl Shape {
    fn numbers(self) -> Vec<usize> {
        match self {
            Self::Vector(length) => vec![length],
            Self::Rows(rows, width) => vec![rows, width],
        }
    }

    fn size(self) -> usize {
        self.numbers().iter().product()
    }
}

impl FloatArray {
    pub(super) fn rows(block: FloatBlock) -> Self {
        let shape = Shape::Rows(block.rows(), block.width());
        Self {
            block,
            first: 0,
            shape,
        }
    }

    /// The only row of `block`.
    pub(super) fn vector(block: FloatBlock) -> Self {
        let shape = Shape::Vector(block.width());
        Self {
            block,
            first: 0,
            shape,
        }
    }

    /// The memory, all of it.
    pub(super) fn block(&self) -> FloatBlock {
        self.block.clone()
    }

    pub(super) fn dimensions(&self) -> Vec<usize> {
        self.shape.numbers()
    }

    /// Looks at the floats.
    pub(super) fn with<T>(&self, look: impl FnOnce(&[f32]) -> T) -> T {
        let size = self.shape.size();
        self.block
            .with(|values| look(&values[self.first..self.first + size]))
    }

    fn address(&self) -> usize {
        self.block.address() + self.first * size_of::<f32>()
    }
}

#[pymethods]
impl FloatArray {
    /// Shape of the array: `(rows, width)`, or `(length,)`.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.shape.numbers())
    }

    /// Number of dimensions: 1 or 2.
    #[getter]
    fn ndim(&self) -> usize {
        self.shape.numbers().len()
    }

    /// Number of floats in the array.
    #[getter]
    fn size(&self) -> usize {
        self.shape.size()
    }

    /// Size of the array in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.shape.size() * size_of::<f32>()
    }

    fn __len__(&self) -> usize {
        match self.shape {
            Shape::Vector(length) => length,
            Shape::Rows(rows, _) => rows,
        }
    }

    fn __iter__(slf: Py<Self>) -> FloatArrayIterator {
        FloatArrayIterator {
            array: slf,
            next: AtomicUsize::new(0),
        }
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let length = self.__len__();
        // Subscripts come as they are written, negative ones too.
        let at = if index < 0 {
            length.checked_sub(index.unsigned_abs())
        } else {
            Some(index.unsigned_abs()).filter(|at| *at < length)
        };
        let at = at.ok_or_else(|| PyIndexError::new_err("index out of range"))?;
        match self.shape {
            Shape::Vector(_) => {
                let value = self.with(|values| values[at]);
                Ok(f64::from(value).into_pyobject(py)?.into_any())
            }
            Shape::Rows(_, width) => {
                let row = Self {
                    block: self.block.clone(),
                    first: self.first + at * width,
                    shape: Shape::Vector(width),
                };
                Ok(Bound::new(py, row)?.into_any())
            }
        }
    }

    /// Returns all floats, in one list or in one list per row.
    #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
    fn tolist<'py>(
        &self,
        py: Python<'py>,
        surplus: &Bound<'_, pyo3::types::PyTuple>,
        unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        options::refuse(py, "FloatArray.tolist", &[], surplus, unknown)?;
        self.with(|values| match self.shape {
            Shape::Rows(_, width) if width > 0 => {
                let rows = values.chunks_exact(width).map(|row| PyList::new(py, row));
                PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
            }
            _ => PyList::new(py, values),
        })
    }

    /// Returns all floats as bytes, row by row, in native byte order.
    #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
    fn tobytes<'py>(
        &self,
        py: Python<'py>,
        surplus: &Bound<'_, pyo3::types::PyTuple>,
        unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        options::refuse(py, "FloatArray.tobytes", &[], surplus, unknown)?;
        let bytes: Vec<u8> = self.with(|values| {
            values
                .iter()
                .flat_map(|value| value.to_ne_bytes())
                .collect()
        });
        Ok(PyBytes::new(py, &bytes))
    }

    /// Returns a NumPy array that shares this memory.
    ///
    /// Raises:
    ///     ImportError: NumPy is not installed (`pip install 'rkllm_rs[numpy]'`).
    #[pyo3(signature = (*surplus, **unknown), text_signature = "($self, /)")]
    fn to_numpy<'py>(
        slf: &Bound<'py, Self>,
        surplus: &Bound<'_, pyo3::types::PyTuple>,
        unknown: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        options::refuse(slf.py(), "FloatArray.to_numpy", &[], surplus, unknown)?;
        let py = slf.py();
        let numpy = py.import("numpy").map_err(|error| {
            let text = "to_numpy() requires NumPy: pip install 'rkllm_rs[numpy]'; tolist() and tobytes() work without it";
            let raised = PyImportError::new_err(text);
            raised.set_cause(py, Some(error));
            raised
        })?;
        numpy.call_method1("asarray", (slf,))
    }

    /// NumPy's array interface, version 3.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("version", 3)?;
        dict.set_item("shape", self.shape(py)?)?;
        dict.set_item("typestr", TYPE)?;
        dict.set_item("data", (self.address(), false))?;
        Ok(dict)
    }

    /// Returns a DLPack capsule that shares this memory, on the CPU.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'_, PyAny>>,
        max_version: Option<&Bound<'_, PyAny>>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = max_version;
        if stream.is_some() {
            return Err(PyBufferError::new_err("stream must be None for CPU memory"));
        }
        if dl_device.is_some_and(|device| device != self.__dlpack_device__()) {
            return Err(PyBufferError::new_err("the array is in CPU memory"));
        }
        if copy == Some(true) {
            return Err(PyBufferError::new_err(
                "the array cannot be exported without sharing its memory",
            ));
        }
        dlpack::capsule(py, &self.block, self.first, &self.shape.numbers())
    }

    /// Returns the DLPack device: `(1, 0)`, the CPU.
    #[allow(clippy::unused_self, reason = "a method by DLPack's protocol")]
    fn __dlpack_device__(&self) -> (i32, i32) {
        (dlpack::CPU, 0)
    }

    fn __repr__(&self) -> String {
        let shape: Vec<String> = self.dimensions().iter().map(usize::to_string).collect();
        format!("<rkllm_rs.FloatArray {} float32>", shape.join(" x "))
    }
}

/// The rows of a `FloatArray`, or its numbers.
#[pyclass(module = "rkllm_rs._native", frozen)]
pub(super) struct FloatArrayIterator {
    array: Py<FloatArray>,
    next: AtomicUsize,
}

#[pymethods]
impl FloatArrayIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let array = self.array.get();
        match isize::try_from(at) {
            Ok(index) if at < array.__len__() => array.__getitem__(py, index).map(Some),
            _ => Ok(None),
        }
    }
}

/// NumPy's name of our floats.
const TYPE: &str = if cfg!(target_endian = "little") {
    "<f4"
} else {
    ">f4"
};

//! `ModelInfo` and `LoraAdapter`.

use std::ffi::OsString;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::options;
use crate::model;
use crate::protocol::info::{self, Source};

/// What is known about an open model, and where it comes from; `RKLLM.info` returns it.
///
/// The C API has no function that reports this. With the vendor's library, the facts come from the lines that
/// it prints while it loads the model, and from results. With the CPU runtime, they come from the model.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct ModelInfo(pub(super) info::ModelInfo);

impl ModelInfo {
    fn sources_of(&self) -> [(&'static str, Option<Source>); 9] {
        let all = &self.0;
        [
            ("context_limit", all.context_limit.map(|known| known.1)),
            ("vocab_size", all.vocab_size.map(|known| known.1)),
            ("hidden_size", all.hidden_size.map(|known| known.1)),
            ("platform", all.platform.as_ref().map(|known| known.1)),
            ("npu_cores", all.npu_cores.map(|known| known.1)),
            (
                "toolkit_version",
                all.toolkit_version.as_ref().map(|known| known.1),
            ),
            ("dtype", all.dtype.as_ref().map(|known| known.1)),
            (
                "driver_version",
                all.driver_version.as_ref().map(|known| known.1),
            ),
            (
                "template_problem",
                all.template_problem.as_ref().map(|known| known.1),
            ),
        ]
    }
}

#[pymethods]
impl ModelInfo {
    /// Longest context that the model supports, in tokens. `None` if unknown.
    #[getter]
    fn context_limit(&self) -> Option<usize> {
        self.0.context_limit.map(|known| known.0)
    }
    /// Number of tokens in the vocabulary. `None` if unknown.
    #[getter]
    fn vocab_size(&self) -> Option<usize> {
        self.0.vocab_size.map(|known| known.0)
    }
    /// Number of floats in an embedding or hidden state. `None` if unknown.
    #[getter]
    fn hidden_size(&self) -> Option<usize> {
        self.0.hidden_size.map(|known| known.0)
    }
    /// Chip that the model was converted for, such as `"RK3588"`. `None` if unknown.
    #[getter]
    fn platform(&self) -> Option<&str> {
        self.0.platform.as_ref().map(|known| known.0.as_str())
    }
    /// Number of NPU cores that the model was converted for. `None` if unknown.
    #[getter]
    fn npu_cores(&self) -> Option<usize> {
        self.0.npu_cores.map(|known| known.0)
    }
    /// Version of the toolkit that converted the model. `None` if unknown.
    #[getter]
    fn toolkit_version(&self) -> Option<&str> {
        self.0
            .toolkit_version
            .as_ref()
            .map(|known| known.0.as_str())
    }
    /// Quantisation of the weights, such as `"W8A8"`. `None` if unknown.
    #[getter]
    fn dtype(&self) -> Option<&str> {
        self.0.dtype.as_ref().map(|known| known.0.as_str())
    }
    /// Version of the NPU kernel driver that the library found. `None` if unknown.
    #[getter]
    fn driver_version(&self) -> Option<&str> {
        self.0.driver_version.as_ref().map(|known| known.0.as_str())
    }
    /// Why the model's own chat template is not used. `None` if there is no problem.
    #[getter]
    fn template_problem(&self) -> Option<&str> {
        self.0
            .template_problem
            .as_ref()
            .map(|known| known.0.as_str())
    }
    /// Values that this package chose for settings that you did not pass, by name.
    ///
    /// Has `max_context_len` if the model's limit is known, and `base_domain_id` if the model lies in another
    /// domain than 0; otherwise the library's defaults apply.
    #[getter]
    fn chosen(&self) -> std::collections::BTreeMap<String, i32> {
        self.0.chosen.clone()
    }
    /// The source of each known fact: `"log"`, `"cpu runtime"` or `"results"`.
    #[getter]
    fn sources<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, source) in self.sources_of() {
            if let Some(source) = source {
                dict.set_item(name, source.as_str())?;
            }
        }
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        let text =
            |value: Option<&str>| value.map_or("None".to_owned(), |text| format!("{text:?}"));
        let number = |value: Option<usize>| value.map_or("None".to_owned(), |n| n.to_string());
        format!(
            "ModelInfo(context_limit={}, vocab_size={}, hidden_size={}, platform={}, npu_cores={}, toolkit_version={}, dtype={}, driver_version={})",
            number(self.context_limit()),
            number(self.vocab_size()),
            number(self.hidden_size()),
            text(self.platform()),
            number(self.npu_cores()),
            text(self.toolkit_version()),
            text(self.dtype()),
            text(self.driver_version()),
        )
    }
}

/// A loaded LoRA adapter (`RKLLMLoraAdapter`); `RKLLM.loras` lists them.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, eq)]
#[derive(PartialEq)]
pub(super) struct LoraAdapter(pub(super) model::LoraAdapter);

#[pymethods]
impl LoraAdapter {
    #[new]
    #[pyo3(signature = (*_given, **_named), text_signature = None)]
    fn not_made(
        py: Python<'_>,
        _given: &Bound<'_, PyTuple>,
        _named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Err(options::not_made(py, "LoraAdapter"))
    }

    /// The name that selects the adapter in a call (`lora=`).
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }
    /// Path of the adapter's file.
    #[getter]
    fn path(&self) -> OsString {
        self.0.path.clone().into_os_string()
    }
    /// Strength of the adapter; 1 is what it was trained with.
    #[getter]
    fn scale(&self) -> f32 {
        self.0.scale
    }
    fn __repr__(&self) -> String {
        format!(
            "LoraAdapter(name={:?}, path=\"{}\", scale={})",
            self.0.name,
            self.0.path.display(),
            self.0.scale
        )
    }
}

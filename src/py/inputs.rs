//! `Embeddings`, `CrossAttention`, and what a call takes as input.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::buffer::{floats, shaped, wrong_shape};
use super::errors::raise;
use super::multimodal::Multimodal;
use super::options::{self, Argument};
use super::params::Tokens;
use super::{convert, params};
use crate::protocol::error::Failure;
use crate::protocol::input::{self, Input};

/// Embeddings as input (`RKLLM_INPUT_EMBED`): no chat template and no tokenizer is applied.
///
/// Immutable; any number of threads and tasks may use it at the same time.
///
/// Args:
///     data: C-contiguous float32 array of shape (n, width): a NumPy array, a `FloatArray`, or anything with
///         the buffer protocol or `__array_interface__`. The data is copied.
///     width: Number of floats per embedding, for a flat buffer such as `array.array("f")`.
///
/// Raises:
///     InvalidArgumentError: The array is not contiguous, is empty, or has the wrong shape.
///     InvalidTypeError: Not an array, or its type is not float32.
///
/// Example:
///     >>> from array import array
///     >>> from rkllm_rs import Embeddings
///     >>> Embeddings(array("f", [0.5, 1, 0, 0.25, 2, 3]), width=3).shape
///     (2, 3)
#[pyclass(module = "rkllm_rs", frozen, eq)]
#[derive(Clone, PartialEq)]
pub(super) struct Embeddings(pub(super) input::Embeddings);

#[pymethods]
impl Embeddings {
    #[new]
    #[pyo3(signature = (data=Argument::default(), *surplus, width=None, **unknown), text_signature = "(data, *, width=None)")]
    fn new(
        py: Python<'_>,
        data: Argument<'_>,
        surplus: &Bound<'_, PyTuple>,
        width: Option<&Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        options::refuse(py, "Embeddings", &["data"], surplus, unknown)?;
        let array = floats("data", &data.of(py, "Embeddings", "data")?)?;
        let given = convert::optional_size("width", width)?;
        let width = match (array.shape.as_slice(), given) {
            (&[_, width], None) => width,
            (&[_, width], Some(given)) if given == width => width,
            (&[_], Some(given)) => given,
            (shape, None) => return Err(wrong_shape(py, "data", "(n, width)", shape)),
            (shape, Some(given)) => {
                let wanted = format!("(n, {given})");
                return Err(wrong_shape(py, "data", &wanted, shape));
            }
        };
        let made = input::Embeddings::new(array.values, width);
        made.map(Self)
            .map_err(|error| raise(py, &error.about("data".to_owned())))
    }

    /// Shape of the array: `(n, width)`.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.0.rows(), self.0.width())
    }

    fn __len__(&self) -> usize {
        self.0.rows()
    }

    fn __repr__(&self) -> String {
        format!(
            "<rkllm_rs.Embeddings {} x {} float32>",
            self.0.rows(),
            self.0.width()
        )
    }
}

/// Encoder output for models with cross attention (`RKLLMCrossAttnParam`).
///
/// The memory order of the K cache differs from that of the V cache.
///
/// Immutable; any number of threads and tasks may use it at the same time.
///
/// Args:
///     k_cache: float32 array of shape (layers, tokens, kv heads, head width) (`encoder_k_cache`).
///     v_cache: float32 array of shape (layers, kv heads, head width, tokens) (`encoder_v_cache`).
///     mask: float32 array of shape (tokens,) (`encoder_mask`).
///     positions: One `int` per token (`encoder_pos`).
///
/// Raises:
///     InvalidArgumentError: Shapes do not match each other, or an array is not contiguous.
///     InvalidTypeError: Not an array, or its type is wrong.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct CrossAttention(pub(super) input::CrossAttention);

#[pymethods]
impl CrossAttention {
    #[new]
    #[pyo3(signature = (k_cache=Argument::default(), v_cache=Argument::default(), mask=Argument::default(), positions=Argument::default(), *surplus, **unknown), text_signature = "(k_cache, v_cache, mask, positions)")]
    fn new(
        py: Python<'_>,
        k_cache: Argument<'_>,
        v_cache: Argument<'_>,
        mask: Argument<'_>,
        positions: Argument<'_>,
        surplus: &Bound<'_, PyTuple>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        const CLASS: &str = "CrossAttention";
        const NAMES: [&str; 4] = ["k_cache", "v_cache", "mask", "positions"];
        options::refuse(py, CLASS, &NAMES, surplus, unknown)?;
        let k_cache = k_cache.of(py, CLASS, NAMES[0])?;
        let v_cache = v_cache.of(py, CLASS, NAMES[1])?;
        let mask = mask.of(py, CLASS, NAMES[2])?;
        let positions = positions.of(py, CLASS, NAMES[3])?;
        let k = shaped("k_cache", "(layers, tokens, heads, head width)", &k_cache)?;
        let v = shaped("v_cache", "(layers, heads, head width, tokens)", &v_cache)?;
        let (mask, [_]) = shaped("mask", "(tokens,)", &mask)?;
        let positions = convert::integers("positions", &positions)?;
        let made = input::CrossAttention::new(k, v, mask, positions);
        made.map(Self).map_err(|error| raise(py, &error))
    }

    /// Number of tokens in the encoder's output (`num_tokens`).
    #[getter]
    fn num_tokens(&self) -> usize {
        self.0.num_tokens()
    }

    fn __repr__(&self) -> String {
        format!("<rkllm_rs.CrossAttention of {} tokens>", self.num_tokens())
    }
}

pub(super) const KINDS: &str = "a str, Tokens, Embeddings or Multimodal";
pub(super) const LIST: &str = "a list of str, Tokens, Embeddings or Multimodal";

/// Checks the inputs of a list and names the first that is not valid; one alone is the argument itself.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 makes the list")]
pub(super) fn check_inputs(
    name: &str,
    values: Vec<Bound<'_, PyAny>>,
    single: bool,
) -> PyResult<()> {
    for (index, value) in values.iter().enumerate() {
        let name = if single {
            name.to_owned()
        } else {
            format!("{name}[{index}]")
        };
        if value.is_instance_of::<PyString>() {
            let text = convert::text(&name, value)?;
            if let Err(error) = Input::prompt(&text) {
                return Err(raise(value.py(), &error.about(name)));
            }
        } else if !(value.is_instance_of::<Tokens>()
            || value.is_instance_of::<Embeddings>()
            || value.is_instance_of::<Multimodal>())
        {
            return Err(convert::wrong_type(&name, KINDS, value));
        }
    }
    Ok(())
}

/// The input of a call.
pub(super) fn input(value: &Bound<'_, PyAny>) -> PyResult<Input> {
    named_input("input", value)
}

/// The input of a call, which is an argument of that name.
fn named_input(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Input> {
    let py = value.py();
    if value.is_instance_of::<PyString>() {
        let text = convert::text(name, value)?;
        let named = |error: Failure| raise(py, &error.about(name.to_owned()));
        return Input::prompt(&text).map_err(named);
    }
    if let Ok(tokens) = value.cast::<Tokens>() {
        return Ok(Input::Tokens(tokens.get().0.clone()));
    }
    if let Ok(embeddings) = value.cast::<Embeddings>() {
        return Ok(Input::Embeddings(embeddings.get().0.clone()));
    }
    if let Ok(multimodal) = value.cast::<Multimodal>() {
        return Ok(Input::Multimodal(Box::new(multimodal.get().0.clone())));
    }
    Err(convert::wrong_type(name, KINDS, value))
}

/// The inputs of a call: of several, or of one that gives rows, which is its only one.
pub(super) fn inputs(called: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<Input>> {
    if !called.ends_with("_batch") {
        return value.try_iter()?.map(|item| input(&item?)).collect();
    }
    if value.cast::<params::Tokens>().is_ok() {
        return Err(convert::wrong_type("inputs", LIST, value));
    }
    convert::items("inputs", LIST, value, named_input)
}

/// Three strings of a chat template; `"raw"` is three empty ones, `"model"` none.
pub(super) fn template(value: &Bound<'_, PyAny>) -> PyResult<Option<[std::ffi::CString; 3]>> {
    let py = value.py();
    let wanted = "\"model\", \"raw\" or (system, prefix, postfix)";
    if value.is_instance_of::<PyString>() {
        return match convert::text("template", value)?.as_str() {
            "model" => Ok(None),
            "raw" => Ok(Some(Default::default())),
            other => Err(raise(
                py,
                &Failure::choice("template", wanted, format_args!("{other:?}")),
            )),
        };
    }
    let Ok(strings) = value.cast::<PyTuple>() else {
        return Err(convert::wrong_type("template", wanted, value));
    };
    if strings.len() != 3 {
        let reason = format!(
            "must have 3 texts (system, prefix, postfix), got {}",
            strings.len()
        );
        let hint = "Pass \"\" for a text that is to be empty.";
        return Err(raise(
            py,
            &Failure::invalid_with_hint("template", reason, hint),
        ));
    }
    let mut all = <[std::ffi::CString; 3]>::default();
    for (at, text) in strings.iter().enumerate() {
        all[at] = convert::c_text(&format!("template[{at}]"), Some(&text))?.unwrap_or_default();
    }
    Ok(Some(all))
}

//! Scores and pooling: what is made of logits and hidden states.

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::array::FloatArray;
use super::convert;
use super::errors::raise;
use crate::model::score::{self, Pooling};

/// Makes one vector of each array of hidden states; the result has one row per array.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 makes the list")]
pub(super) fn pool(
    py: Python<'_>,
    arrays: Vec<Py<FloatArray>>,
    pooling: &Bound<'_, PyAny>,
    normalize: &Bound<'_, PyAny>,
    single: bool,
) -> PyResult<FloatArray> {
    let name = convert::choice("pooling", Pooling::CHOICES, pooling)?;
    let normalize = convert::boolean("normalize", normalize)?;
    let blocks: Vec<_> = arrays.iter().map(|array| array.get().block()).collect();
    let pooled = super::detach(py, || {
        Pooling::named(&name).and_then(|pooling| score::pool(&blocks, pooling, normalize))
    });
    let pooled = pooled.map_err(|error| raise(py, &error))?;
    Ok(if single {
        FloatArray::vector(pooled)
    } else {
        FloatArray::rows(pooled)
    })
}

/// Checks the settings of `pool` before anything is run.
#[pyfunction]
pub(super) fn check_pooling(
    py: Python<'_>,
    pooling: &Bound<'_, PyAny>,
    normalize: &Bound<'_, PyAny>,
) -> PyResult<()> {
    convert::boolean("normalize", normalize)?;
    let name = convert::choice("pooling", Pooling::CHOICES, pooling)?;
    Pooling::named(&name)
        .map(drop)
        .map_err(|error| raise(py, &error))
}

/// Log probabilities of the last tokens of a text, computed from logits as they come.
#[pyclass(module = "rkllm_rs._native", frozen)]
pub(super) struct Scorer {
    scorer: Mutex<score::Scorer>,
}

#[pymethods]
impl Scorer {
    #[new]
    fn new(py: Python<'_>, ids: Vec<i32>, continuation: usize) -> PyResult<Self> {
        let scorer = score::Scorer::new(ids, continuation).map_err(|error| raise(py, &error))?;
        Ok(Self {
            scorer: Mutex::new(scorer),
        })
    }

    /// Takes the next rows of logits. Computes without holding the interpreter.
    fn add(&self, py: Python<'_>, logits: &FloatArray) -> PyResult<()> {
        let block = logits.block();
        let added = super::detach(py, || self.scorer.lock().add(&block));
        added.map_err(|error| raise(py, &error))
    }

    /// Returns the natural logarithm of each token's probability, one per token of the continuation.
    fn logprobs(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        let score = self.scorer.lock().finish();
        Ok(score.map_err(|error| raise(py, &error))?.logprobs)
    }
}

//! `Chunk`, `Generation`, `PerfStats`.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::output;

/// A piece of an answer.
#[pyclass(module = "rkllm_rs", frozen, freelist = 256)]
pub(super) struct Chunk {
    #[pyo3(get)]
    pub(super) text: Py<PyString>,
    #[pyo3(get)]
    pub(super) token_id: i32,
}

#[pymethods]
impl Chunk {
    fn __str__(&self, py: Python<'_>) -> Py<PyString> {
        self.text.clone_ref(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Chunk(text={}, token_id={})",
            self.text.bind(py).repr()?,
            self.token_id
        ))
    }
}

/// A whole answer.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct Generation {
    #[pyo3(get)]
    text: Py<PyString>,
    #[pyo3(get)]
    token_ids: Py<PyList>,
    reason: &'static str,
    #[pyo3(get)]
    perf: Py<PerfStats>,
}

impl Generation {
    pub(super) fn new(py: Python<'_>, generation: &output::Generation) -> PyResult<Self> {
        Self::of(
            py,
            &generation.text,
            &generation.token_ids,
            generation.finish_reason.as_str(),
            generation.perf,
        )
    }

    pub(super) fn of(
        py: Python<'_>,
        text: &str,
        ids: &[i32],
        reason: &'static str,
        perf: output::PerfStats,
    ) -> PyResult<Self> {
        Ok(Self {
            text: PyString::new(py, text).unbind(),
            token_ids: PyList::new(py, ids)?.unbind(),
            reason,
            perf: Py::new(py, PerfStats(perf))?,
        })
    }
}

#[pymethods]
impl Generation {
    #[getter]
    fn finish_reason<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        match self.reason {
            "stop" => pyo3::intern!(py, "stop"),
            "length" => pyo3::intern!(py, "length"),
            _ => pyo3::intern!(py, "cancelled"),
        }
    }

    fn __str__(&self, py: Python<'_>) -> Py<PyString> {
        self.text.clone_ref(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = self.text.bind(py).repr()?.to_string();
        let shown: String = text.chars().take(60).collect();
        let dots = if shown.len() < text.len() { "..." } else { "" };
        let tokens = self.token_ids.bind(py).len();
        Ok(format!(
            "Generation({shown}{dots}, {tokens} tokens, finish_reason={:?})",
            self.reason
        ))
    }
}

/// Figures of a run.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct PerfStats(output::PerfStats);

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn per_second(tokens: i32, time_ms: f64) -> Option<f64> {
    (tokens > 0 && time_ms > 0.0).then(|| f64::from(tokens) * 1e3 / time_ms)
}

#[pymethods]
impl PerfStats {
    #[getter]
    fn source(&self) -> &'static str {
        if self.0.library.is_some() {
            "library"
        } else {
            "measured"
        }
    }
    #[getter]
    fn prefill_time_ms(&self) -> Option<f64> {
        match self.0.library {
            Some(library) => Some(f64::from(library.prefill_time_ms)),
            None => self.0.time_to_first_token.map(ms),
        }
    }
    #[getter]
    fn prefill_tokens(&self) -> Option<i32> {
        self.0.library.map(|library| library.prefill_tokens)
    }
    #[getter]
    fn generate_time_ms(&self) -> Option<f64> {
        match self.0.library {
            Some(library) => Some(f64::from(library.generate_time_ms)),
            None => self.0.generate_time.map(ms),
        }
    }
    #[getter]
    fn generate_tokens(&self) -> i32 {
        let counted = i32::try_from(self.0.tokens).unwrap_or(i32::MAX);
        self.0
            .library
            .map_or(counted, |library| library.generate_tokens)
    }
    #[getter]
    fn memory_usage_mb(&self) -> Option<f32> {
        self.0.library.map(|library| library.memory_usage_mb)
    }
    #[getter]
    fn generate_tokens_per_second(&self) -> Option<f64> {
        // Measured from the first token on, so that one does not count.
        let tokens = if self.0.library.is_some() {
            self.generate_tokens()
        } else {
            self.generate_tokens() - 1
        };
        per_second(tokens, self.generate_time_ms()?)
    }
    #[getter]
    fn prefill_tokens_per_second(&self) -> Option<f64> {
        per_second(self.prefill_tokens()?, self.prefill_time_ms()?)
    }
    #[getter]
    fn time_to_first_token_ms(&self) -> Option<f64> {
        self.0.time_to_first_token.map(ms)
    }
    #[getter]
    fn total_time_ms(&self) -> f64 {
        ms(self.0.total_time)
    }
    #[getter]
    fn queued_time_ms(&self) -> f64 {
        ms(self.0.queued_time)
    }

    fn __repr__(&self) -> String {
        let number =
            |value: Option<f64>| value.map_or_else(|| "None".to_owned(), |v| format!("{v:.1}"));
        format!(
            "PerfStats(source={:?}, prefill_tokens={}, prefill_time_ms={}, generate_tokens={}, \
             generate_time_ms={}, generate_tokens_per_second={}, time_to_first_token_ms={})",
            self.source(),
            self.prefill_tokens()
                .map_or_else(|| "None".to_owned(), |v| v.to_string()),
            number(self.prefill_time_ms()),
            self.generate_tokens(),
            number(self.generate_time_ms()),
            number(self.generate_tokens_per_second()),
            number(self.time_to_first_token_ms()),
        )
    }
}

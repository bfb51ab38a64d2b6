//! `PerfStats`, and how pickles make objects again.

use std::time::Duration;

use pyo3::prelude::*;

use super::options;
use crate::protocol::constraint::{Kept, Way};
use crate::protocol::output;

/// Performance statistics of a run, from the library (`RKLLMPerfStat`, since RKLLM 1.2.1) or measured.
///
/// Times are in milliseconds. The statistics of a cancelled run are always measured.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct PerfStats(pub(super) output::PerfStats);

impl PerfStats {
    pub(super) fn new(perf: output::PerfStats) -> Self {
        Self(perf)
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn per_second(tokens: i32, time_ms: f64) -> Option<f64> {
    (tokens > 0 && time_ms > 0.0).then(|| f64::from(tokens) * 1e3 / time_ms)
}

#[pymethods]
impl PerfStats {
    /// Supports `copy` and `pickle`.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, PerfParts)> {
        let kept = self.0.constraint;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let parts = (
            self.0.library.map(|library| {
                (
                    library.prefill_time_ms,
                    library.prefill_tokens,
                    library.generate_time_ms,
                    library.generate_tokens,
                    library.memory_usage_mb,
                )
            }),
            seconds(self.0.time_to_first_token),
            seconds(self.0.generate_time),
            self.0.total_time.as_secs_f64(),
            self.0.queued_time.as_secs_f64(),
            self.0.tokens,
            (
                self.0.prompt_tokens,
                self.0.cached_tokens,
                kept.map(|kept| {
                    (
                        kept.way.as_str().to_owned(),
                        (kept.replaced, kept.forced, kept.retries, kept.calls),
                        kept.complete,
                    )
                }),
            ),
        );
        Ok((rebuilder(py, "_perf_stats")?, parts))
    }

    /// Where the statistics come from: `"library"` (`RKLLMPerfStat`) or `"measured"`.
    #[getter]
    fn source(&self) -> &'static str {
        if self.0.library.is_some() {
            "library"
        } else {
            "measured"
        }
    }
    /// Prefill time in milliseconds. `None` if no token was generated.
    ///
    /// If measured, it is the time to the first token.
    #[getter]
    fn prefill_time_ms(&self) -> Option<f64> {
        match self.0.library {
            Some(library) => Some(f64::from(library.prefill_time_ms)),
            None => self.0.time_to_first_token.map(ms),
        }
    }
    /// Number of prompt tokens, including the conversation that it continues. `None` if unknown.
    ///
    /// The CPU runtime counts every prompt. The vendor's library does not report this: there it is known for
    /// `Tokens` and `Embeddings` without `keep_history`, for a chat if there is a tokenizer to count with,
    /// and for a chat on 1.3.x of which the library holds the beginning.
    #[getter]
    fn prompt_tokens(&self) -> Option<usize> {
        self.0.prompt_tokens
    }
    /// Number of prompt tokens that were reused from the KV cache. `None` if unknown.
    #[getter]
    fn cached_tokens(&self) -> Option<usize> {
        self.0.cached_tokens
    }
    /// Number of prompt tokens that were computed. `None` if unknown.
    #[getter]
    fn prefill_tokens(&self) -> Option<i32> {
        let counted = || {
            let computed = self.0.prompt_tokens?.checked_sub(self.0.cached_tokens?);
            i32::try_from(computed?).ok()
        };
        let library = self.0.library.map(|library| library.prefill_tokens);
        library.or_else(counted)
    }
    /// Decode time in milliseconds. `None` if no token was generated.
    ///
    /// If measured, it starts at the first token.
    #[getter]
    fn generate_time_ms(&self) -> Option<f64> {
        match self.0.library {
            Some(library) => Some(f64::from(library.generate_time_ms)),
            None => self.0.generate_time.map(ms),
        }
    }
    /// Number of generated tokens.
    #[getter]
    fn generate_tokens(&self) -> i32 {
        let counted = i32::try_from(self.0.tokens).unwrap_or(i32::MAX);
        self.0
            .library
            .map_or(counted, |library| library.generate_tokens)
    }
    /// Peak resident memory of the process in MB, as the library reports it. `None` if measured.
    #[getter]
    fn memory_usage_mb(&self) -> Option<f32> {
        self.0.library.map(|library| library.memory_usage_mb)
    }
    /// Generated tokens per second. `None` if no token was generated or the time is unknown.
    ///
    /// If measured, the time starts at the first token, and that token is not counted.
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
    /// Computed prompt tokens per second. `None` if unknown.
    #[getter]
    fn prefill_tokens_per_second(&self) -> Option<f64> {
        per_second(self.prefill_tokens()?, self.prefill_time_ms()?)
    }
    /// Measured time from the start of the run to its first token, in milliseconds, or `None`.
    #[getter]
    fn time_to_first_token_ms(&self) -> Option<f64> {
        self.0.time_to_first_token.map(ms)
    }
    /// Measured time from the start of the run to its end, in milliseconds.
    #[getter]
    fn total_time_ms(&self) -> f64 {
        ms(self.0.total_time)
    }
    /// Measured time in the queue, in milliseconds: the wait for earlier runs and for the NPU lock.
    #[getter]
    fn queued_time_ms(&self) -> f64 {
        ms(self.0.queued_time)
    }

    /// Tells what to use for a name of another package.
    fn __getattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_attribute(slf, name))
    }

    fn __repr__(&self) -> String {
        let number =
            |value: Option<f64>| value.map_or_else(|| "None".to_owned(), |v| format!("{v:.1}"));
        let count =
            |value: Option<usize>| value.map_or_else(|| "None".to_owned(), |v| v.to_string());
        format!(
            "PerfStats(source={:?}, prompt_tokens={}, cached_tokens={}, prefill_tokens={}, \
             prefill_time_ms={}, generate_tokens={}, generate_time_ms={}, \
             generate_tokens_per_second={}, time_to_first_token_ms={})",
            self.source(),
            count(self.prompt_tokens()),
            count(self.cached_tokens()),
            count(self.prefill_tokens().and_then(|v| usize::try_from(v).ok())),
            number(self.prefill_time_ms()),
            self.generate_tokens(),
            number(self.generate_time_ms()),
            number(self.generate_tokens_per_second()),
            number(self.time_to_first_token_ms()),
        )
    }
}

type LibraryParts = (f32, i32, f32, i32, f32);
type PerfParts = (
    Option<LibraryParts>,
    Option<f64>,
    Option<f64>,
    f64,
    f64,
    usize,
    RestParts,
);
type KeptParts = (String, (usize, usize, usize, usize), bool);
type RestParts = (Option<usize>, Option<usize>, Option<KeptParts>);

/// The function of this module that makes an object again from its parts; pickles name it.
pub(super) fn rebuilder<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("rkllm_rs._native")?.getattr(name)
}

/// Puts the functions that pickles name into the module, where `__all__` does not have them.
pub(super) fn add_rebuilders(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let chunk = wrap_pyfunction!(super::chunk::_chunk, module)?;
    module.setattr("_chunk", chunk)?;
    module.setattr(
        "_generation",
        wrap_pyfunction!(super::generation::_generation, module)?,
    )?;
    module.setattr("_perf_stats", wrap_pyfunction!(_perf_stats, module)?)
}

/// A `PerfStats` from its parts; for `pickle`. Those of earlier versions have no counts of the prompt.
#[pyfunction]
#[pyo3(signature = (library, time_to_first_token, generate_time, total_time, queued_time, tokens, rest=(None, None, None)))]
fn _perf_stats(
    library: Option<LibraryParts>,
    time_to_first_token: Option<f64>,
    generate_time: Option<f64>,
    total_time: f64,
    queued_time: f64,
    tokens: usize,
    rest: RestParts,
) -> PerfStats {
    let (prompt_tokens, cached_tokens, kept) = rest;
    let duration = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let library = library.map(
        |(prefill_time_ms, prefill_tokens, generate_time_ms, generate_tokens, memory_usage_mb)| {
            output::LibraryPerf {
                prefill_time_ms,
                prefill_tokens,
                generate_time_ms,
                generate_tokens,
                memory_usage_mb,
            }
        },
    );
    PerfStats(output::PerfStats {
        library,
        time_to_first_token: time_to_first_token.map(duration),
        generate_time: generate_time.map(duration),
        total_time: duration(total_time),
        queued_time: duration(queued_time),
        tokens,
        prompt_tokens,
        cached_tokens,
        constraint: kept.map(|(way, (replaced, forced, retries, calls), complete)| Kept {
            way: Way::named(&way).unwrap_or(Way::Mask),
            replaced,
            forced,
            retries,
            calls,
            complete,
        }),
    })
}

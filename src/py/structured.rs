//! Structured output: the arguments that say what an answer may be, and how an answer was kept to it.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use rkllm_text::constraint::{LONGEST, Refusal};

use super::convert;
use super::errors::raise;
use crate::protocol::constraint::{self, Grammar, Way};
use crate::protocol::error::Failure;

/// What `value` says as the argument `name`, and what makes `parsed` of an answer, if anything does.
pub(super) fn grammar(
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<Option<(Grammar, Option<Py<PyAny>>)>> {
    static SCHEMA: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if value.is_none() {
        return Ok(None);
    }
    let py = value.py();
    Ok(Some(match name {
        "json_schema" => {
            let helper = SCHEMA.import(py, "rkllm_rs.chat.structured", "wanted")?;
            let (text, parse): (String, Py<PyAny>) = helper.call1((value,))?.extract()?;
            (Grammar::JsonSchema(text), Some(parse))
        }
        "regex" => (Grammar::Regex(convert::text(name, value)?), None),
        "choices" => {
            // Each has a byte at least. What is far too much is not copied first.
            if let Some(count) = value.len().ok().filter(|count| *count > LONGEST) {
                let refusal = Refusal::too_long(LONGEST, "", format_args!("{count} texts"));
                let failure = constraint::Constraint::refused_as("choices", &refusal);
                return Err(raise(py, &failure));
            }
            let all = convert::items(name, "a list of str", value, convert::text)?;
            (Grammar::Choices(all), None)
        }
        _ => (Grammar::Lark(convert::text(name, value)?), None),
    }))
}

/// What `constraint` says: `None` is `"auto"`.
pub(super) fn way(value: &Bound<'_, PyAny>) -> PyResult<Option<Way>> {
    let wanted = "\"auto\", \"mask\", \"guided\" or \"retry\"";
    let name = convert::choice("constraint", wanted, value)?;
    match (name.as_str(), Way::named(&name)) {
        ("auto", _) => Ok(None),
        (_, Some(way)) => Ok(Some(way)),
        _ => {
            let got = format!("{name:?}");
            let failure = Failure::choice("constraint", wanted, got);
            Err(raise(value.py(), &failure))
        }
    }
}

/// What `response_format` says, as `json_schema` would say it.
pub(super) fn response_format<'py>(
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    static HELPER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let helper = HELPER.import(value.py(), "rkllm_rs.chat.structured", "response_format")?;
    Ok(Some(helper.call1((value,))?).filter(|schema| !schema.is_none()))
}

/// The value of an answer that was kept to a JSON schema; `None` for any other, and for one that was cut.
pub(super) fn parsed(
    py: Python<'_>,
    parse: Option<&Py<PyAny>>,
    kept: Option<constraint::Kept>,
    ended: bool,
    text: &str,
) -> PyResult<Py<PyAny>> {
    match parse {
        Some(parse) if ended && kept.is_some_and(|kept| kept.complete) => parse.call1(py, (text,)),
        _ => Ok(py.None()),
    }
}

/// Refuses a second argument that says what the answer may be.
pub(super) fn two(py: Python<'_>, name: &str, other: &constraint::Constraint) -> PyErr {
    let reason = format!("cannot be combined with {}", other.grammar.argument());
    let hint = "Pass only one of json_schema, regex, choices and grammar.";
    raise(py, &Failure::invalid_with_hint(name, reason, hint))
}

/// How an answer was kept to its ``json_schema``, ``regex``, ``choices`` or ``grammar``.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, eq, hash)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Constraint(pub(super) constraint::Kept);

#[pymethods]
impl Constraint {
    /// How it was done: `"mask"`, `"guided"` or `"retry"`.
    ///
    /// `"mask"`: tokens that did not fit could not be chosen. `"guided"`: the library was paused at such tokens,
    /// and given others. `"retry"`: the answer was checked, and asked for again if it did not fit.
    #[getter]
    fn way(&self) -> &'static str {
        self.0.way.as_str()
    }
    /// Number of the model's tokens that were replaced.
    #[getter]
    fn replaced(&self) -> usize {
        self.0.replaced
    }
    /// Number of texts that had to come next, for which the library was paused.
    #[getter]
    fn forced(&self) -> usize {
        self.0.forced
    }
    /// Number of calls of the library.
    ///
    /// At most one more than `replaced`, `forced` and `retries` together.
    #[getter]
    fn calls(&self) -> usize {
        self.0.calls
    }
    /// Number of times that the model was asked again.
    #[getter]
    fn retries(&self) -> usize {
        self.0.retries
    }
    /// Whether the answer is complete: `False` if it was cut off, by `max_new_tokens` for example.
    #[getter]
    fn complete(&self) -> bool {
        self.0.complete
    }

    fn __repr__(&self) -> String {
        format!(
            "Constraint(way={:?}, replaced={}, retries={}, complete={})",
            self.way(),
            self.0.replaced,
            self.0.retries,
            if self.0.complete { "True" } else { "False" },
        )
    }
}

//! `ChatAnswer`, `ChatDelta` and what they hold.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::logprobs;
use super::options;
use super::outputs::PerfStats;
use super::structured::{self, Constraint};
use super::values;
use crate::chat;
use crate::protocol::output::{FinishReason, TokenLogprob};
use crate::text::answer::CallProblem;

/// A new part of a tool call, as a stream yields it.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, get_all)]
pub(super) struct ToolCallDelta {
    /// The position of the call among the calls of the answer, from 0.
    index: usize,
    /// The call's id in its first part; `None` in later parts.
    id: Option<Py<PyString>>,
    /// The tool's name in the call's first part; `None` in later parts.
    name: Option<Py<PyString>>,
    /// The next part of the arguments' JSON text.
    arguments: Py<PyString>,
}

#[pymethods]
impl ToolCallDelta {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let shown = |text: &Option<Py<PyString>>| match text {
            Some(text) => Ok::<_, PyErr>(text.bind(py).repr()?.to_string()),
            None => Ok("None".to_owned()),
        };
        Ok(format!(
            "ToolCallDelta(index={}, id={}, name={}, arguments={})",
            self.index,
            shown(&self.id)?,
            shown(&self.name)?,
            self.arguments.bind(py).repr()?
        ))
    }
}

/// A new part of an answer, as `ChatStream` yields it.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, freelist = 256, mapping)]
pub(super) struct ChatDelta {
    /// The next part of the content; empty if there is none.
    #[pyo3(get)]
    pub(super) content: Py<PyString>,
    /// The next part of the model's thinking; empty if there is none.
    #[pyo3(get)]
    reasoning: Py<PyString>,
    calls: Option<Py<PyTuple>>,
    /// How likely the tokens were that came since the last delta; `None` without `logprobs`.
    #[pyo3(get)]
    logprobs: Option<Py<PyList>>,
}

impl ChatDelta {
    pub(super) fn new(
        py: Python<'_>,
        delta: chat::ChatDelta,
        likely: Option<&[TokenLogprob]>,
    ) -> PyResult<Self> {
        let text = |text: &str| PyString::new(py, text).unbind();
        let call = |call: chat::ToolCallDelta| {
            let delta = ToolCallDelta {
                index: call.index,
                id: call.id.as_deref().map(text),
                name: call.name.as_deref().map(text),
                arguments: text(&call.arguments),
            };
            Py::new(py, delta)
        };
        let calls = delta.tool_calls;
        let calls = if calls.is_empty() {
            None
        } else {
            let all = calls.into_iter().map(call).collect::<PyResult<Vec<_>>>()?;
            Some(PyTuple::new(py, all)?.unbind())
        };
        Ok(Self {
            content: text(&delta.content),
            reasoning: text(&delta.reasoning),
            calls,
            logprobs: logprobs::list(py, likely)?,
        })
    }
}

#[pymethods]
impl ChatDelta {
    /// New parts of tool calls; empty if there are none.
    #[getter]
    fn tool_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match &self.calls {
            Some(calls) => PyList::new(py, calls.bind(py)),
            None => Ok(PyList::empty(py)),
        }
    }

    fn __str__(&self, py: Python<'_>) -> Py<PyString> {
        self.content.clone_ref(py)
    }

    /// Always an `AttributeError`, which says to use `content`.
    #[getter]
    fn choices(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        // A way to answer every such name would make each reading of an attribute several times as slow.
        let name = PyString::intern(slf.py(), "choices");
        Err(options::no_attribute(slf, &name))
    }

    /// Tells which attribute to use: this is not a dict.
    fn __getitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_item(slf, key))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "ChatDelta(content={}, reasoning={}, tool_calls={})",
            self.content.bind(py).repr()?,
            self.reasoning.bind(py).repr()?,
            self.tool_calls(py)?.repr()?
        ))
    }
}

/// A tool call of a model.
///
/// Immutable; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, mapping)]
pub(super) struct ToolCall {
    /// Calls can be large, so they stay in their answer.
    answer: Arc<chat::ChatAnswer>,
    index: usize,
}

impl ToolCall {
    fn call(&self) -> &chat::ToolCall {
        &self.answer.tool_calls[self.index]
    }
}

#[pymethods]
impl ToolCall {
    /// The call's id. The message with the result names it.
    #[getter]
    fn id(&self) -> &str {
        &self.call().id
    }
    /// The tool's name.
    #[getter]
    fn name(&self) -> &str {
        &self.call().name
    }
    /// The arguments' JSON text, as the model wrote it.
    #[getter]
    fn arguments_json(&self) -> &str {
        &self.call().arguments_json
    }
    /// The arguments as a dict, or `None` if they cannot be read.
    ///
    /// If `error` is not `None`, the JSON was wrong, and these may be the result of a second, lenient reading.
    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let arguments = self.call().arguments();
        arguments.map(|all| values::dict(py, &all)).transpose()
    }
    /// Why the call must not be made, in words for the model; `None` if it can be made.
    #[getter]
    fn error(&self) -> Option<&str> {
        self.call().error.as_deref()
    }

    /// Whether the call is written as it should be, and only values do not fit, which may be converted.
    #[getter]
    fn _is_misfit(&self) -> bool {
        self.call().problem == Some(CallProblem::DoesNotFit)
    }

    /// Tells what to use for a name of another package.
    fn __getattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_attribute(slf, name))
    }

    /// Tells which attribute to use: this is not a dict.
    fn __getitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_item(slf, key))
    }

    fn __repr__(&self) -> String {
        let call = self.call();
        let error = call.error.as_ref();
        let error = error.map_or_else(String::new, |error| format!(", error={error:?}"));
        format!(
            "ToolCall(id={:?}, name={:?}, arguments_json={:?}{error})",
            call.id, call.name, call.arguments_json
        )
    }
}

/// The answer of `chat()`. `str(answer)` is its content.
///
/// Read-only; any number of threads and tasks may use it at the same time.
#[pyclass(module = "rkllm_rs", frozen, mapping)]
pub(super) struct ChatAnswer {
    answer: Arc<chat::ChatAnswer>,
    /// Performance statistics of all runs of the answer together.
    #[pyo3(get)]
    perf: Py<PerfStats>,
    /// How likely each token was, best alternatives first; `None` without `logprobs`.
    #[pyo3(get)]
    logprobs: Option<Py<PyList>>,
    /// Makes the value.
    parse: Option<Py<PyAny>>,
}

/// The answer of a chat that was cancelled before it could begin.
#[pyfunction]
pub(super) fn no_answer(py: Python<'_>) -> PyResult<ChatAnswer> {
    ChatAnswer::new(py, chat::ChatAnswer::none(), None)
}

impl ChatAnswer {
    pub(super) fn new(
        py: Python<'_>,
        answer: chat::ChatAnswer,
        parse: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let perf = Py::new(py, PerfStats::new(answer.perf))?;
        Ok(Self {
            logprobs: logprobs::list(py, answer.logprobs.as_deref())?,
            answer: Arc::new(answer),
            perf,
            parse,
        })
    }
}

#[pymethods]
impl ChatAnswer {
    #[new]
    #[pyo3(signature = (*_given, **_named), text_signature = None)]
    fn not_made(
        py: Python<'_>,
        _given: &Bound<'_, PyTuple>,
        _named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Err(options::not_made(py, "ChatAnswer"))
    }

    /// The answer's text, without thinking and tool calls.
    #[getter]
    fn content(&self) -> &str {
        &self.answer.content
    }
    /// The value of an answer in JSON, or an instance of the given type.
    ///
    /// `None` without `json_schema` or `response_format`, and if the answer was cut off.
    ///
    /// Raises:
    ///     Exception: What the given type raises for values that fit the schema but not the type.
    #[getter]
    fn parsed(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ended = self.answer.finish_reason == FinishReason::Stop;
        let kept = self.answer.perf.constraint;
        structured::parsed(py, self.parse.as_ref(), kept, ended, &self.answer.content)
    }
    /// How the answer was kept to its form; `None` if it has none.
    #[getter]
    fn constraint(&self) -> Option<Constraint> {
        self.answer.perf.constraint.map(Constraint)
    }
    /// The model's thinking, or `None`.
    #[getter]
    fn reasoning(&self) -> Option<&str> {
        self.answer.reasoning.as_deref()
    }
    /// The tool calls, in the order in which the model wrote them.
    #[getter]
    fn tool_calls(&self) -> Vec<ToolCall> {
        let all = 0..self.answer.tool_calls.len();
        let call = |index| ToolCall {
            answer: Arc::clone(&self.answer),
            index,
        };
        all.map(call).collect()
    }
    /// Why the answer ended: `"stop"`, `"length"`, `"cancelled"` or `"tool_calls"`.
    ///
    /// `"tool_calls"`: at least one tool call can be made. `"length"`: `max_new_tokens` was reached.
    /// `"cancelled"`: the stream was cancelled.
    #[getter]
    fn finish_reason(&self) -> &'static str {
        self.answer.finish_reason.as_str()
    }
    /// The message to append to the conversation, a dict in the OpenAI format.
    #[getter]
    fn message<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python(py, &self.answer.message())
    }
    /// Notes for people: how the conversation was adapted, and what was unusual about the answer.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.answer.notes.clone()
    }
    /// The answer as the model wrote it, with its markers.
    #[getter]
    fn text(&self) -> &str {
        &self.answer.text
    }
    /// One id per generated token.
    #[getter]
    fn token_ids(&self) -> Vec<i32> {
        self.answer.token_ids.clone()
    }

    fn __str__(&self) -> &str {
        &self.answer.content
    }

    /// Tells what to use for a name of another package.
    fn __getattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_attribute(slf, name))
    }

    /// Tells which attribute to use: this is not a dict.
    fn __getitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(options::no_item(slf, key))
    }

    fn __repr__(&self) -> String {
        let shown: String = self.answer.content.chars().take(60).collect();
        let dots = if shown.len() < self.answer.content.len() {
            "..."
        } else {
            ""
        };
        format!(
            "ChatAnswer({shown:?}{dots}, {} tool calls, finish_reason={:?})",
            self.answer.tool_calls.len(),
            self.answer.finish_reason.as_str()
        )
    }
}

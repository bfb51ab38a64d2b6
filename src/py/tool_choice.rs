//! The argument `tool_choice`, in OpenAI's shapes.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use rkllm_text::jinja::Value;

use super::convert;
use super::errors::raise;
use crate::chat::{ChatOptions, ToolChoice};
use crate::protocol::error::Failure;

const NAME: &str = "tool_choice";
const CHOICES: &str = r#""auto", "none", "required" or a dict that names a tool"#;

/// Which tools may be called.
pub(super) struct Choice {
    choice: ToolChoice,
    /// These alone.
    allowed: Option<Vec<String>>,
}

impl Choice {
    pub(super) fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Ok(dict) = value.cast::<PyDict>() else {
            let choice = plain(value)?;
            return Ok(Self {
                choice,
                allowed: None,
            });
        };
        let kind = text_of(dict, "type")?;
        match kind.as_deref() {
            Some("function") => Ok(Self {
                choice: ToolChoice::Named(function(value)?),
                allowed: None,
            }),
            Some("allowed_tools") => allowed(dict),
            _ => Err(wrong(value)),
        }
    }

    /// Sets the options of a call, whose tools are known.
    pub(super) fn apply(self, py: Python<'_>, options: &mut ChatOptions) -> PyResult<()> {
        options.tool_choice = self.choice;
        let Some(allowed) = self.allowed else {
            return Ok(());
        };
        let all: Vec<Value> = match &options.tools {
            Some(tools) => tools
                .try_iter()
                .map_or_else(|_| Vec::new(), Iterator::collect),
            None => Vec::new(),
        };
        let named = |name: &String| all.iter().find(|tool| name_of(tool).as_ref() == Some(name));
        let mut kept = Vec::new();
        for name in &allowed {
            let Some(tool) = named(name) else {
                let known: Vec<String> = all.iter().filter_map(name_of).collect();
                let reason = format!("must name tools of the call, got {name:?}");
                let hint = format!("The tools are: {}.", known.join(", "));
                let failure = Failure::invalid_with_hint(NAME, reason, hint);
                return Err(raise(py, &failure));
            };
            kept.push(tool.clone());
        }
        options.tools = Some(Value::from(kept));
        Ok(())
    }
}

fn plain(value: &Bound<'_, PyAny>) -> PyResult<ToolChoice> {
    match convert::choice(NAME, CHOICES, value)?.as_str() {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        other => {
            let failure = Failure::choice(NAME, CHOICES, format_args!("{other:?}"));
            Err(raise(value.py(), &failure))
        }
    }
}

/// `{"type": "allowed_tools", "allowed_tools": {"mode": …, "tools": […]}}`, or the same without the inner dict.
fn allowed(dict: &Bound<'_, PyDict>) -> PyResult<Choice> {
    let inner = dict.get_item("allowed_tools")?;
    let inner = match &inner {
        Some(inner) => inner.cast::<PyDict>().map_err(|_| wrong(dict))?,
        None => dict,
    };
    let choice = match text_of(inner, "mode")?.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("required") => ToolChoice::Required,
        _ => return Err(wrong(dict)),
    };
    let tools = inner.get_item("tools")?;
    let tools = tools.as_ref().and_then(|tools| tools.cast::<PyList>().ok());
    let Some(tools) = tools.filter(|tools| !tools.is_empty()) else {
        return Err(wrong(dict));
    };
    let names = tools.iter().map(|tool| function(&tool));
    Ok(Choice {
        choice,
        allowed: Some(names.collect::<PyResult<_>>()?),
    })
}

/// The name in `{"type": "function", "function": {"name": …}}`.
fn function(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let found = || {
        let dict = value.cast::<PyDict>().ok()?;
        let function = dict.get_item("function").ok()??;
        let name = function.cast::<PyDict>().ok()?.get_item("name").ok()??;
        name.is_instance_of::<PyString>().then_some(name)
    };
    match found() {
        Some(name) => convert::text(NAME, &name),
        None => Err(wrong(value)),
    }
}

fn text_of(dict: &Bound<'_, PyDict>, key: &str) -> PyResult<Option<String>> {
    let text = dict.get_item(key)?.and_then(|value| value.extract().ok());
    Ok(text)
}

fn name_of(tool: &Value) -> Option<String> {
    let function = tool
        .get_attr("function")
        .ok()
        .filter(|one| !one.is_undefined());
    let name = function.as_ref().unwrap_or(tool).get_attr("name").ok()?;
    name.as_str().map(str::to_owned)
}

#[cold]
fn wrong(value: &Bound<'_, PyAny>) -> PyErr {
    let got = value
        .repr()
        .map_or_else(|_| "a dict".to_owned(), |text| text.to_string());
    let got: String = got.chars().take(120).collect();
    let hint = "To have a tool called, pass {\"type\": \"function\", \"function\": {\"name\": \"its name\"}}.";
    let failure = Failure::invalid_with_hint(NAME, format!("must be {CHOICES}, got {got}"), hint);
    raise(value.py(), &failure)
}

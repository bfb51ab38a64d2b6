//! `Chat`: a model's chat template and family, for the calls of conversations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use rkllm_text::jinja::Value;

use super::chat::ChatStream;
use super::errors::raise;
use super::model::{Model, noted};
use super::options::{self, Kind, unexpected};
use super::tool_choice::Choice;
use super::{convert, structured, values};
use crate::chat::{self, ChatOptions, Tokenizer};
use crate::protocol::PromptStore;
use crate::protocol::error::Failure;

/// How a model is talked to; programs use `RKLLM.chat`.
///
/// Immutable; any number of threads may use it at the same time.
#[pyclass(module = "rkllm_rs._native", frozen)]
pub(super) struct Chat {
    plain: chat::Chat,
    /// For conversations with tools, where the model has a template for those.
    with_tools: Option<chat::Chat>,
}

impl Chat {
    fn for_tools(&self, tools: bool) -> &chat::Chat {
        let own = self.with_tools.as_ref().filter(|_| tools);
        own.unwrap_or(&self.plain)
    }
}

/// What `overflow` can be.
const OVERFLOW: &str = r#""error" or "drop_oldest""#;

/// The keywords of a chat; what is left are those of a run.
fn chat_options<'py>(
    py: Python<'py>,
    called: &str,
    keywords: &Bound<'py, PyDict>,
) -> PyResult<(ChatOptions, Bound<'py, PyDict>)> {
    let mut options = ChatOptions::default();
    let rest = PyDict::new(py);
    let (mut folder, mut max_bytes) = (None, None);
    let (mut format, mut choice) = (None, None);
    for (key, value) in keywords {
        let key = key.cast_into::<PyString>()?;
        let name = key.to_str()?;
        let value = &value;
        match name {
            "role" | "keep_history" => return Err(unexpected(py, called, name)),
            _ if value.is_none() => {}
            "tools" => {
                let tools = values::value(name, value)?;
                // An empty list is no tools, and templates take it for some.
                options.tools = Some(tools).filter(|tools| tools.len() != Some(0));
            }
            "tool_choice" => choice = Some(Choice::of(value)?),
            "parallel_tool_calls" => options.one_call = !convert::boolean(name, value)?,
            "thinking" => options.thinking = Some(convert::boolean(name, value)?),
            "template_kwargs" => options.template_kwargs = values::named(name, value)?,
            "max_reasoning_tokens" => {
                let most: i32 = convert::integer(name, value, 0..=i32::MAX)?;
                options.max_reasoning_tokens = Some(usize::try_from(most).map_err(|_| {
                    let reason = format!("must be 0 or more, got {most}");
                    let hint = "Pass thinking=False for no thinking at all.";
                    raise(py, &Failure::invalid_with_hint(name, reason, hint))
                })?);
            }
            // Private: what a conversation keeps, so that its system text does not change with the clock.
            "now" => {
                let seconds = Duration::try_from_secs_f64(value.extract()?);
                options.now = seconds.ok().and_then(|past| UNIX_EPOCH.checked_add(past));
            }
            "prompt_cache_dir" => folder = Some(convert::path(name, value)?),
            "prompt_cache_bytes" => {
                let most: i64 = convert::integer(name, value, 1..=i64::MAX)?;
                let most = u64::try_from(most).ok().filter(|most| *most > 0);
                let wrong = || {
                    let reason = format!("must be greater than 0, got {value}");
                    raise(py, &Failure::invalid(name, reason))
                };
                max_bytes = Some(most.ok_or_else(wrong)?);
            }
            "continue_final_message" => {
                options.continue_final_message = convert::boolean(name, value)?;
            }
            "schema_in_prompt" => options.hides_schema = !convert::boolean(name, value)?,
            "response_format" => {
                if let Some(schema) = structured::response_format(value)? {
                    format = Some(schema);
                }
            }
            "overflow" => match convert::choice(name, OVERFLOW, value)?.as_str() {
                "error" => {}
                "drop_oldest" => options.drops_oldest = true,
                other => {
                    let failure = Failure::choice(name, OVERFLOW, format_args!("{other:?}"));
                    return Err(raise(py, &failure));
                }
            },
            _ => rest.set_item(key, value)?,
        }
    }
    if let Some(choice) = choice {
        choice.apply(py, &mut options)?;
    }
    options.prompt_store = prompt_store(py, folder, max_bytes)?;
    if let Some(schema) = format {
        if rest.contains("json_schema")? {
            let hint = "Pass only one of response_format and json_schema.";
            let reason = "cannot be combined with json_schema";
            let failure = Failure::invalid_with_hint("response_format", reason, hint);
            return Err(raise(py, &failure));
        }
        rest.set_item("json_schema", schema)?;
    }
    Ok((options, rest))
}

/// Most bytes of a folder of prompt caches: 1 GiB.
const PROMPT_CACHE_BYTES: u64 = 1 << 30;

fn prompt_store(
    py: Python<'_>,
    folder: Option<PathBuf>,
    max_bytes: Option<u64>,
) -> PyResult<Option<PromptStore>> {
    match (folder, max_bytes) {
        (Some(folder), max_bytes) => Ok(Some(PromptStore {
            // Where the process is may change before the run begins.
            folder: std::path::absolute(&folder).unwrap_or(folder),
            max_bytes: max_bytes.unwrap_or(PROMPT_CACHE_BYTES),
        })),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let reason = "has no effect without prompt_cache_dir";
            let hint = "Pass prompt_cache_dir=, too.";
            let failure = Failure::invalid_with_hint("prompt_cache_bytes", reason, hint);
            Err(raise(py, &failure))
        }
    }
}

/// The text of a template, or the path of its file.
fn template(object: &Bound<'_, PyAny>) -> PyResult<String> {
    if object.is_instance_of::<PyString>() {
        return convert::text("chat_template", object);
    }
    let path = convert::path("chat_template", object)?;
    Ok(path.to_string_lossy().into_owned())
}

/// Checks the keywords of a chat, as far as no model and no message is needed for that.
#[pyfunction]
pub(super) fn check_chat(
    py: Python<'_>,
    called: &str,
    keywords: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let (_, rest) = chat_options(py, called, keywords)?;
    let run = PyDict::new(py);
    for (name, value) in rest {
        match name.cast::<PyString>()?.to_str()? {
            "chat_template" => drop(template(&value)?),
            "family" => {
                let family = convert::text("family", &value)?;
                chat::check_family(&family).map_err(|error| raise(py, &error))?;
            }
            _ => run.set_item(name, value)?,
        }
    }
    let call = options::call(py, called, Kind::Generate, &run)?;
    // A grammar may take a while.
    super::detach(py, || call.options.check()).map_err(|error| raise(py, &error))
}

fn listed(object: &Bound<'_, PyAny>) -> PyResult<Vec<Value>> {
    let wrong = || convert::wrong_type("messages", "a list of dicts", object);
    if object.is_none()
        || object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyDict>()
    {
        return Err(wrong());
    }
    let all = values::value("messages", object)?;
    Ok(all.try_iter().map_err(|_| wrong())?.collect())
}

/// Where a model is, and what was given in place of what is found there.
fn place(
    model: &Bound<'_, PyAny>,
    chat_template: Option<&Bound<'_, PyAny>>,
    family: Option<&Bound<'_, PyAny>>,
) -> PyResult<(PathBuf, Option<String>, Option<String>)> {
    let path = convert::path("model", model)?;
    let family = family.map(|family| convert::text("family", family));
    let family = family.transpose()?;
    let template = chat_template.map(template).transpose()?;
    Ok((path, template, family))
}

/// What counts tokens by a function of Python, and what that raised.
fn tokenizer(function: Py<PyAny>) -> (Tokenizer, Arc<Mutex<Option<PyErr>>>) {
    let raised = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&raised);
    let tokenizer = Tokenizer::new(move |text| {
        Python::attach(|py| {
            let ids = function.bind(py).call1((text,));
            let ids = ids.and_then(|ids| convert::integers("tokenizer", &ids));
            ids.map_err(|error| {
                kept.lock().get_or_insert(error);
                Failure::invalid("tokenizer", "must return token ids")
            })
        })
    });
    (tokenizer, raised)
}

#[pymethods]
impl Chat {
    #[new]
    #[pyo3(signature = (model, *, chat_template=None, family=None))]
    fn new(
        py: Python<'_>,
        model: &Bound<'_, PyAny>,
        chat_template: Option<&Bound<'_, PyAny>>,
        family: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (path, template, family) = place(model, chat_template, family)?;
        let found = super::detach(py, || {
            chat::Chat::of_model(&path, template.as_deref(), family.as_deref())
        });
        let (plain, with_tools) = found.map_err(|error| raise(py, &error))?;
        Ok(Self { plain, with_tools })
    }

    /// The end marks of this model's answers, if markers of its family are special tokens.
    #[staticmethod]
    #[pyo3(signature = (model, *, chat_template=None, family=None))]
    fn end_marks(
        py: Python<'_>,
        model: &Bound<'_, PyAny>,
        chat_template: Option<&Bound<'_, PyAny>>,
        family: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<String>> {
        let (path, template, family) = place(model, chat_template, family)?;
        Ok(super::detach(py, || {
            chat::Chat::end_marks(&path, template.as_deref(), family.as_deref())
        }))
    }

    /// The name of the model's family.
    #[getter]
    fn family(&self) -> &str {
        self.plain.name()
    }

    /// Starts an answer and returns its stream; never blocks.
    ///
    /// ``counts`` gives the ids of a text, for a library that cannot.
    #[pyo3(signature = (model, messages, called, keywords, counts=None))]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        model: &Model,
        messages: &Bound<'_, PyAny>,
        called: &str,
        keywords: &Bound<'py, PyDict>,
        counts: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, ChatStream>> {
        let messages = listed(messages)?;
        let (mut options, rest) = chat_options(py, called, keywords)?;
        let mut call = model.call(py, called, Kind::Generate, &rest)?;
        let processor = model.register(&mut call);
        options.generate = call.options;
        let chat = self.for_tools(options.tools.is_some());
        let (tokenizer, raised) = counts.map(tokenizer).unzip();
        options.tokenizer = tokenizer;
        let begun = super::detach(py, || chat.stream(&model.model, &messages, &options));
        let raised = raised.and_then(|raised| raised.lock().take());
        let stream = begun.map_err(|error| raised.unwrap_or_else(|| raise(py, &error)))?;
        let answerer = model.answerer_of(py, processor);
        noted(
            py,
            ChatStream::new(stream, answerer, call.on_token, call.parse),
        )
    }

    /// Returns the text that the template gives.
    fn render(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        called: &str,
        add_generation_prompt: bool,
        keywords: &Bound<'_, PyDict>,
    ) -> PyResult<String> {
        let messages = listed(messages)?;
        let (options, _) = chat_options(py, called, keywords)?;
        let chat = self.for_tools(options.tools.is_some());
        super::detach(py, || {
            chat.render(&messages, &options, add_generation_prompt)
        })
        .map_err(|error| raise(py, &error))
    }

    /// Returns the text that a chat with these messages gives to the model.
    fn prompt(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        called: &str,
        keywords: &Bound<'_, PyDict>,
    ) -> PyResult<String> {
        let messages = listed(messages)?;
        let (options, _) = chat_options(py, called, keywords)?;
        let chat = self.for_tools(options.tools.is_some());
        super::detach(py, || chat.prompt(&messages, &options)).map_err(|error| raise(py, &error))
    }
}

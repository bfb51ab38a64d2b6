//! `ChatTemplate`: a template for those in this package that render one.

use std::time::{Duration, SystemTime};

use pyo3::prelude::*;
use rkllm_text::template::{self, Prompt};

use super::errors::raise;
use super::{convert, values};
use crate::protocol::error::Failure;

/// A compiled chat template.
///
/// Immutable; any number of threads may use it at the same time.
#[pyclass(module = "rkllm_rs._native", frozen)]
pub(super) struct ChatTemplate(template::ChatTemplate);

#[pymethods]
impl ChatTemplate {
    #[new]
    #[pyo3(signature = (source, *, tokens=None))]
    fn new(
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let source = convert::text("chat_template", source)?;
        let compiled = super::detach(py, || template::ChatTemplate::new(&source));
        let compiled = compiled.map_err(|trouble| raise(py, &Failure::template(&trouble, None)))?;
        let mut named = Vec::new();
        for (name, token) in
            tokens.map_or_else(|| Ok(Vec::new()), |all| values::named("tokens", all))?
        {
            named.push((name, token.to_string()));
        }
        Ok(Self(compiled.with_tokens(named)))
    }

    /// Returns the text that goes to the tokenizer. Renders without holding the interpreter.
    #[pyo3(signature = (
        messages, *, tools=None, documents=None, add_generation_prompt=false, template_kwargs=None, now=None
    ))]
    #[allow(
        clippy::too_many_arguments,
        reason = "what transformers gives to a template"
    )]
    fn render(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        tools: Option<&Bound<'_, PyAny>>,
        documents: Option<&Bound<'_, PyAny>>,
        add_generation_prompt: bool,
        template_kwargs: Option<&Bound<'_, PyAny>>,
        now: Option<f64>,
    ) -> PyResult<String> {
        let given = |name, object: Option<&Bound<'_, PyAny>>| {
            object.map(|object| values::value(name, object)).transpose()
        };
        let all = values::value("messages", messages)?;
        let items = all
            .try_iter()
            .map_err(|_| convert::wrong_type("messages", "a list of messages", messages))?;
        let named = |all| values::named("template_kwargs", all);
        let prompt = Prompt {
            messages: items.collect(),
            tools: given("tools", tools)?,
            documents: given("documents", documents)?,
            add_generation_prompt,
            variables: template_kwargs.map_or_else(|| Ok(Vec::new()), named)?,
            now: now
                .and_then(|now| Duration::try_from_secs_f64(now).ok())
                .map(|since| SystemTime::UNIX_EPOCH + since),
        };
        super::detach(py, || self.0.render(&prompt))
            .map_err(|trouble| raise(py, &Failure::template(&trouble, None)))
    }
}

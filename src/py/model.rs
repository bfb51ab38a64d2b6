//! `Model`, on which Python's `RKLLM` stands.
//!
//! Long because each call of a model has its method here.

use std::ffi::OsString;
use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyClass, PyClassInitializer};

use super::callables::{Answerer, Callables};
use super::convert;
use super::errors::{InvalidType, raise};
use super::info::{LoraAdapter, ModelInfo};
use super::inputs::{CrossAttention, input, inputs};
use super::iteration::Iterated as _;
use super::logits_processor::Registered;
use super::opening::Opening;
use super::options::{Call, Kind, call, config, missing};
use super::params::SamplingParams;
use super::pending::Pending;
use super::rows::ArrayStream;
use super::runtime::Runtime;
use super::source::note_reader;
use super::steps::{Steps, task_number};
use super::stream::TokenStream;
use crate::model::{self, Batch, Caller};
use crate::protocol::error::Failure;
use crate::protocol::input::Input;
use crate::protocol::output::RowsKind;

/// An open model (`LLMHandle`); programs use `rkllm_rs.RKLLM`.
#[pyclass(module = "rkllm_rs._native", frozen)]
#[allow(clippy::struct_field_names, reason = "it is the model")]
pub(super) struct Model {
    pub(super) model: Arc<model::Model>,
    pub(super) runtime: Py<Runtime>,
    pub(super) callables: Py<Callables>,
}

impl Model {
    pub(super) fn answerer(&self, py: Python<'_>) -> Answerer {
        self.answerer_of(py, None)
    }

    /// Who answers the questions of a call of this.
    pub(super) fn answerer_of(&self, py: Python<'_>, processor: Option<Registered>) -> Answerer {
        let callables = self.callables.clone_ref(py);
        Answerer::new(callables, self.model.desk(), processor)
    }

    /// Has the call's function that changes logits asked as long as what is returned lives.
    pub(super) fn register(&self, call: &mut Call) -> Option<Registered> {
        let processor = call.logits_processor.take()?;
        let registered = Registered::new(&self.callables.get().processors, processor);
        call.options.logits_processor = Some(registered.number);
        Some(registered)
    }

    fn pending(
        &self,
        py: Python<'_>,
        begun: Result<Option<model::Pending>, Failure>,
    ) -> PyResult<Pending> {
        let pending = begun.map_err(|error| raise(py, &error))?;
        Ok(Pending::new(pending, self.answerer(py)))
    }

    /// Refuses what would wait for the end of the calling task's own steps.
    fn refuse_in_steps(&self, py: Python<'_>) -> PyResult<()> {
        if !self.model.in_steps() {
            return Ok(());
        }
        let caller = task_number(py)?.map(Caller::task);
        let checked = self.model.check_steps(caller);
        checked.map_err(|error| raise(py, &error))
    }

    /// One input per prompt, with what the call says of each.
    fn batch(py: Python<'_>, inputs: Vec<Input>, call: &mut Call) -> PyResult<Batch> {
        let mut batch = Ok(Batch::new(inputs));
        if let Some(roles) = call.roles.take() {
            batch = batch.and_then(|batch| batch.with_roles(roles));
        }
        if let Some(thinking) = call.thinking.take() {
            batch = batch.and_then(|batch| batch.with_thinking(thinking));
        }
        batch.map_err(|error| raise(py, &error))
    }

    /// What the call of the name `called` was given, and who makes it.
    pub(super) fn call(
        &self,
        py: Python<'_>,
        called: &str,
        kind: Kind,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Call> {
        super::vendor_log::look(py);
        let mut call = call(py, called, kind, options)?;
        if self.model.in_steps() {
            call.options.caller = task_number(py)?.map(Caller::task);
        }
        Ok(call)
    }

    /// Begins a run. A grammar may take its time to be looked at, and does not keep other threads from running.
    fn begun<T: Send>(
        py: Python<'_>,
        options: &crate::model::GenerateOptions,
        begin: impl FnOnce() -> T + Send,
    ) -> T {
        if options.constraint.is_some() {
            super::detach(py, begin)
        } else {
            begin()
        }
    }

    /// Refuses lists where there is one input.
    fn single(call: &Call, py: Python<'_>) -> PyResult<()> {
        let name = match (&call.roles, &call.thinking) {
            (Some(_), _) => "role",
            (_, Some(_)) => "thinking",
            _ => return Ok(()),
        };
        let hint = "Pass one value; generate_batch() and stream_batch() take lists.";
        let message = format!("{name} must be one value for a single prompt, got a list");
        Err(InvalidType::new_err(py, &message, hint.to_owned()))
    }
}

/// Checks what a call is given, as far as no model is needed for that.
#[pyfunction]
pub(super) fn check_call(
    py: Python<'_>,
    called: &str,
    kind: &str,
    input: &Bound<'_, PyAny>,
    options: &Bound<'_, PyDict>,
) -> PyResult<()> {
    let kind = match kind {
        "rows" => Kind::Rows,
        "steps" => Kind::Steps,
        _ => Kind::Generate,
    };
    let mut call = call(py, called, kind, options)?;
    if called.ends_with("_batch") {
        Model::batch(py, inputs(called, input)?, &mut call)?;
    } else {
        needed(called, input)?;
        Model::single(&call, py)?;
    }
    // A grammar may take a while.
    super::detach(py, || call.options.check()).map_err(|error| raise(py, &error))
}

/// The object for a stream, which the running task reads, if there is one.
pub(super) fn noted<T>(py: Python<'_>, stream: T) -> PyResult<Bound<'_, T>>
where
    T: PyClass + Into<PyClassInitializer<T>>,
{
    read_here(Bound::new(py, stream)?)
}

/// Notes that the running task, if there is one, reads the stream.
fn read_here<T>(stream: Bound<'_, T>) -> PyResult<Bound<'_, T>> {
    note_reader(stream.as_any())?;
    Ok(stream)
}

/// The input of the call `called`, which Python leaves at `...` if there is none.
fn needed(called: &str, value: &Bound<'_, PyAny>) -> PyResult<Input> {
    let py = value.py();
    input(value).map_err(|error| {
        if value.is(py.Ellipsis()) {
            missing(py, called, "input")
        } else {
            error
        }
    })
}

#[pymethods]
impl Model {
    /// Begins to open a model (`rkllm_init`), in the worker that loaded the library, if one did.
    #[staticmethod]
    #[pyo3(signature = (runtime, path, **settings))]
    fn open(
        py: Python<'_>,
        runtime: Py<Runtime>,
        path: &Bound<'_, PyAny>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Opening> {
        let path = convert::path("model", path)?;
        let (config, callables) = config(py, settings)?;
        let library = Arc::clone(&runtime.get().library);
        let worker = runtime.get().worker.lock().take();
        let begun = super::detach(py, || match worker {
            Some(worker) => model::Model::begin_open_in(worker, &library, &path, config),
            None => model::Model::begin_open(&library, &path, config),
        });
        Ok(Opening {
            opening: begun.map_err(|error| raise(py, &error))?,
            runtime,
            callables: Py::new(py, callables)?,
        })
    }

    /// The library that runs it.
    #[getter]
    fn runtime(&self, py: Python<'_>) -> Py<Runtime> {
        self.runtime.clone_ref(py)
    }
    /// The model's file, as it was named.
    #[getter]
    fn path(&self) -> OsString {
        self.model.path().as_os_str().to_owned()
    }
    /// The same file, wherever the program goes meanwhile.
    #[getter]
    fn file(&self) -> OsString {
        self.model.file().as_os_str().to_owned()
    }
    /// The process that runs it, if that is a worker.
    #[getter]
    fn worker_pid(&self) -> Option<u32> {
        self.model.worker_pid()
    }
    /// Whether it is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.model.is_closed()
    }
    /// Context window in tokens, as opened.
    #[getter]
    fn max_context_len(&self) -> i32 {
        self.model.effective().max_context_len
    }
    /// Most tokens of an answer, as opened.
    #[getter]
    fn max_new_tokens(&self) -> i32 {
        self.model.effective().max_new_tokens
    }
    /// Prompts in one run, as opened.
    #[getter]
    fn n_batch(&self) -> u8 {
        self.model.effective().n_batch
    }
    /// Sampling as opened, every value known.
    #[getter]
    fn sampling(&self) -> SamplingParams {
        SamplingParams(self.model.sampling())
    }
    /// What is known of the model.
    #[getter]
    fn info(&self) -> ModelInfo {
        ModelInfo(self.model.info())
    }
    /// The loaded adapters.
    #[getter]
    fn loras(&self) -> Vec<LoraAdapter> {
        self.model.loras().into_iter().map(LoraAdapter).collect()
    }
    /// Whether somebody is in the middle of steps.
    #[getter]
    fn in_steps(&self) -> bool {
        self.model.in_steps()
    }

    /// Starts a run (`rkllm_run`) for the call of that name and returns its stream; never blocks.
    fn stream<'py>(
        &self,
        py: Python<'py>,
        input: &Bound<'py, PyAny>,
        called: &str,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, TokenStream>> {
        // A wrong keyword is told first: it may stand in the place of the input.
        let mut call = self.call(py, called, Kind::Generate, options)?;
        let input = needed(called, input)?;
        Self::single(&call, py)?;
        let processor = self.register(&mut call);
        let begin = || self.model.stream(input, &call.options);
        let stream = Self::begun(py, &call.options, begin).map_err(|error| raise(py, &error))?;
        let answerer = self.answerer_of(py, processor);
        read_here(TokenStream::new(stream, answerer, call.on_token, call.parse).object(py)?)
    }

    /// Starts a run of several inputs and returns a stream for each.
    fn stream_batch<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
        called: &str,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Vec<Bound<'py, TokenStream>>> {
        let mut call = self.call(py, called, Kind::Generate, options)?;
        let batch = Self::batch(py, self::inputs(called, inputs)?, &mut call)?;
        let processor = self.register(&mut call);
        let begin = || self.model.stream_batch(batch, &call.options);
        let streams = Self::begun(py, &call.options, begin).map_err(|error| raise(py, &error))?;
        let on_token = || call.on_token.as_ref().map(|one| one.clone_ref(py));
        let parse = || call.parse.as_ref().map(|one| one.clone_ref(py));
        let stream = |stream| {
            let processor = processor.as_ref().and_then(|one| one.again(py));
            let answerer = self.answerer_of(py, processor);
            read_here(TokenStream::new(stream, answerer, on_token(), parse()).object(py)?)
        };
        streams.into_iter().map(stream).collect()
    }

    /// Starts a run that gives logits, or hidden states; one stream for each input.
    fn stream_rows<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
        called: &str,
        logits: bool,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Vec<Bound<'py, ArrayStream>>> {
        let mut call = self.call(py, called, Kind::Rows, options)?;
        let batch = Self::batch(py, self::inputs(called, inputs)?, &mut call)?;
        let kind = if logits {
            RowsKind::Logits
        } else {
            RowsKind::HiddenStates
        };
        let streams = self
            .model
            .stream_rows(kind, batch, &call.options)
            .map_err(|error| raise(py, &error))?;
        let stream = |stream| noted(py, ArrayStream::new(stream, self.answerer(py)));
        streams.into_iter().map(stream).collect()
    }

    /// Starts a run that pauses after each token.
    fn steps<'py>(
        &self,
        py: Python<'py>,
        input: &Bound<'py, PyAny>,
        called: &str,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, Steps>> {
        let mut call = self.call(py, called, Kind::Steps, options)?;
        let input = self::input(input)?;
        Self::single(&call, py)?;
        let processor = self.register(&mut call);
        let steps = self
            .model
            .steps(input, &call.options)
            .map_err(|error| raise(py, &error))?;
        let answerer = self.answerer_of(py, processor);
        noted(py, Steps::new(steps, answerer, call.on_token))
    }

    /// Empties the KV cache, or removes a range of each prompt (`rkllm_clear_kv_cache`).
    #[pyo3(signature = (*, keep_system_prompt, ranges))]
    fn clear_kv_cache(
        &self,
        py: Python<'_>,
        keep_system_prompt: &Bound<'_, PyAny>,
        ranges: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Pending> {
        let keep = convert::boolean("keep_system_prompt", keep_system_prompt)?;
        let begun = match ranges {
            None => self.model.begin_clear_kv_cache(keep),
            Some(_) if keep => Err(Failure::invalid_with_hint(
                "keep_system_prompt",
                "cannot be combined with ranges",
                "Pass only one of the two.",
            )),
            Some(ranges) => self
                .model
                .begin_clear_kv_ranges(convert::pairs("ranges", ranges)?),
        };
        self.pending(py, begun.map(Some))
    }

    /// Tokens in the KV cache, one number per prompt of a batch (`rkllm_get_kv_cache_size`).
    fn kv_cache_size(&self, py: Python<'_>) -> PyResult<Pending> {
        self.pending(py, self.model.begin_kv_cache_size().map(Some))
    }

    /// Loads an adapter (`rkllm_load_lora`).
    fn load_lora(
        &self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        name: Option<&Bound<'_, PyAny>>,
        scale: &Bound<'_, PyAny>,
    ) -> PyResult<Pending> {
        self.refuse_in_steps(py)?;
        let path = convert::path("path", path)?;
        let name = match name {
            Some(name) => convert::text("name", name)?,
            None => path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let scale = convert::float("scale", scale)?;
        let adapter = model::LoraAdapter { name, path, scale };
        self.pending(py, self.model.begin_load_lora(adapter).map(Some))
    }

    /// Loads a prompt cache (`rkllm_load_prompt_cache`).
    fn load_prompt_cache(
        &self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        verify: &Bound<'_, PyAny>,
    ) -> PyResult<Pending> {
        self.refuse_in_steps(py)?;
        let path = convert::path("path", path)?;
        let verify = convert::boolean("verify", verify)?;
        let begun = super::detach(py, || self.model.begin_load_prompt_cache(&path, verify));
        self.pending(py, begun.map(Some))
    }

    /// Lets go of the loaded prompt cache (`rkllm_release_prompt_cache`).
    fn release_prompt_cache(&self, py: Python<'_>) -> PyResult<Pending> {
        self.refuse_in_steps(py)?;
        self.pending(py, self.model.begin_release_prompt_cache().map(Some))
    }

    /// Replaces the chat template (`rkllm_set_chat_template`).
    fn set_chat_template(
        &self,
        py: Python<'_>,
        system_prompt: &Bound<'_, PyAny>,
        prompt_prefix: &Bound<'_, PyAny>,
        prompt_postfix: &Bound<'_, PyAny>,
    ) -> PyResult<Pending> {
        self.refuse_in_steps(py)?;
        let system = convert::text("system_prompt", system_prompt)?;
        let prefix = convert::text("prompt_prefix", prompt_prefix)?;
        let postfix = convert::text("prompt_postfix", prompt_postfix)?;
        let begun = self
            .model
            .begin_set_chat_template(&system, &prefix, &postfix);
        self.pending(py, begun)
    }

    /// Tells which functions the model may call (`rkllm_set_function_tools`).
    fn set_function_tools(
        &self,
        py: Python<'_>,
        tools: &Bound<'_, PyAny>,
        system_prompt: &Bound<'_, PyAny>,
        tool_response_str: &Bound<'_, PyAny>,
    ) -> PyResult<Pending> {
        self.refuse_in_steps(py)?;
        let tools = convert::text("tools", tools)?;
        let system = convert::text("system_prompt", system_prompt)?;
        let tag = convert::text("tool_response_str", tool_response_str)?;
        let begun = self.model.begin_set_function_tools(&system, &tools, &tag);
        self.pending(py, begun.map(Some))
    }

    /// Hands over an encoder's output (`rkllm_set_cross_attn_params`).
    fn set_cross_attention(&self, py: Python<'_>, encoder: &Bound<'_, PyAny>) -> PyResult<Pending> {
        self.refuse_in_steps(py)?;
        let wrong = |_| convert::wrong_type("encoder", "CrossAttention", encoder);
        let encoder = encoder.cast::<CrossAttention>().map_err(wrong)?;
        let begun = self
            .model
            .begin_set_cross_attention(encoder.get().0.clone());
        self.pending(py, begun.map(Some))
    }

    /// Whether the program gave a tokenizer.
    #[getter]
    fn has_tokenizer(&self) -> bool {
        self.callables.get().has_tokenizer()
    }

    /// Token ids of a text by the program's tokenizer, if it gave one.
    fn own_tokens(&self, py: Python<'_>, text: &str) -> PyResult<Option<Vec<i32>>> {
        let desk = self.model.desk();
        desk.in_callback(|| self.callables.get().tokenize(py, text))
    }

    /// Token ids of a text by the library; the CPU runtime only.
    fn tokenize(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        leading: bool,
    ) -> PyResult<Pending> {
        let text = convert::text("text", text)?;
        self.pending(py, self.model.begin_tokenize(&text, leading).map(Some))
    }

    /// Text of token ids by the library; the CPU runtime only.
    fn detokenize(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        skip_special: &Bound<'_, PyAny>,
    ) -> PyResult<Pending> {
        let ids = convert::integers("ids", ids)?;
        let skip_special = convert::boolean("skip_special_tokens", skip_special)?;
        let begun = self.model.begin_detokenize(ids, skip_special);
        self.pending(py, begun.map(Some))
    }

    /// Ends all runs and gives the model back (`rkllm_destroy`).
    fn close(&self, py: Python<'_>) {
        super::detach(py, || self.model.close());
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callables)
    }
}

/// Closes all models; true when the library has let go of them.
#[pyfunction]
pub(super) fn shut_down(py: Python<'_>) -> bool {
    super::detach(py, crate::shut_down)
}

/// `shut_down` for the end of the interpreter, from which no other thread comes back.
#[pyfunction]
pub(super) fn at_exit(py: Python<'_>) {
    super::interpreter_ends();
    let _ = py.detach(crate::shut_down);
    super::vendor_log::pass_on(py);
}

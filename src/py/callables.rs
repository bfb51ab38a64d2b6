//! What the program answers: tokenizer, embedder and `on_token`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyBaseException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

use super::attached::Attached;
use super::buffer::floats;
use super::convert;
use super::logits_processor::{self, Processors, Registered};
use super::tasks::{running_task, this_thread};
use crate::client::Desk;
use crate::model::Handle;
use crate::protocol::question::{Asked, Question, Response};

/// The callables of one model (`RKLLMCallback.tokenizer_callback`, `embed_callback`).
///
/// An object of its own, which the model and the readers of its runs refer to, so that the collector
/// sees each reference once.
#[pyclass(module = "rkllm_rs._native", frozen)]
#[derive(Default)]
pub(super) struct Callables {
    given: Mutex<Given>,
    /// Those of single calls, which change logits.
    pub(super) processors: Arc<Processors>,
}

#[derive(Default)]
struct Given {
    tokenizer: Option<Py<PyAny>>,
    embedder: Option<Py<PyAny>>,
    /// What they raised, by the run that asked; for its reader.
    raised: HashMap<u64, Py<PyBaseException>>,
}

/// Takes callables only.
pub(super) fn callable(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if value.is_callable() {
        Ok(value.clone().unbind())
    } else {
        Err(convert::wrong_type(name, "a callable", value))
    }
}

impl Callables {
    pub(super) fn new(tokenizer: Option<Py<PyAny>>, embedder: Option<Py<PyAny>>) -> Self {
        Self {
            given: Mutex::new(Given {
                tokenizer,
                embedder,
                raised: HashMap::new(),
            }),
            processors: Arc::default(),
        }
    }

    fn tokenizer(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let given = self.given.lock();
        given.tokenizer.as_ref().map(|one| one.clone_ref(py))
    }

    fn embedder(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let given = self.given.lock();
        given.embedder.as_ref().map(|one| one.clone_ref(py))
    }

    /// Token ids of a text by the program's tokenizer, if it gave one.
    pub(super) fn tokenize(&self, py: Python<'_>, text: &str) -> PyResult<Option<Vec<i32>>> {
        let Some(tokenizer) = self.tokenizer(py) else {
            return Ok(None);
        };
        let ids = tokenizer.bind(py).call1((text,))?;
        convert::integers("tokenizer", &ids).map(Some)
    }

    /// Whether there is a tokenizer.
    pub(super) fn has_tokenizer(&self) -> bool {
        self.given.lock().tokenizer.is_some()
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        let given = self.given.lock();
        given.tokenizer.is_some() || given.embedder.is_some()
    }

    fn answer(&self, py: Python<'_>, question: &Question) -> PyResult<Response> {
        match question {
            Question::Tokenize { text, .. } => {
                let ids = self.tokenize(py, text)?;
                Ok(ids.map_or(Response::Failed, Response::Tokens))
            }
            Question::Embed { tokens, .. } => {
                let Some(embedder) = self.embedder(py) else {
                    return Ok(Response::Failed);
                };
                let rows = embedder.bind(py).call1((tokens.clone(),))?;
                floats("embedder", &rows).map(|array| Response::Embeddings(array.values))
            }
            Question::Logits {
                processor,
                token_ids,
                row,
            } => match self.processors.get(py, *processor) {
                Some(processor) => logits_processor::changed(processor.bind(py), token_ids, row)
                    .map(Response::Logits),
                None => Ok(Response::Failed),
            },
        }
    }

    /// Keeps what a callable raised for the reader of `run`.
    fn keep(&self, py: Python<'_>, run: u64, error: PyErr) {
        let error = error.into_value(py);
        // Dropped when the lock is free: that can run the program's code.
        let before = self.given.lock().raised.insert(run, error);
        drop(before);
    }

    fn take_raised(&self, run: u64) -> Option<Py<PyBaseException>> {
        self.given.lock().raised.remove(&run)
    }
}

#[pymethods]
impl Callables {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever holds the lock is in the middle of a look, and refers to us: nothing is to be
        // collected then.
        let Some(given) = self.given.try_lock() else {
            return Ok(());
        };
        visit.call(&given.tokenizer)?;
        visit.call(&given.embedder)?;
        given
            .raised
            .values()
            .try_for_each(|error| visit.call(error))
    }

    fn __clear__(&self) {
        let given = self
            .given
            .try_lock()
            .map(|mut given| std::mem::take(&mut *given));
        drop(given);
    }
}

/// The callable of one object; the collector may take it away.
pub(super) struct Slot {
    given: bool,
    callable: Mutex<Option<Py<PyAny>>>,
}

impl Slot {
    pub(super) fn new(callable: Option<Py<PyAny>>) -> Self {
        Self {
            given: callable.is_some(),
            callable: Mutex::new(callable),
        }
    }

    /// The callable, if one was given.
    #[inline]
    pub(super) fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        if !self.given {
            return None;
        }
        self.callable.lock().as_ref().map(|one| one.clone_ref(py))
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.callable.try_lock() {
            Some(callable) => visit.call(&*callable),
            // Whoever holds the lock refers to us: nothing is to be collected then.
            None => Ok(()),
        }
    }

    pub(super) fn clear(&self) {
        // Dropped when the lock is free: that can run the program's code.
        let callable = self.callable.try_lock().map(|mut callable| callable.take());
        drop(callable);
    }
}

/// One who waits for a model, and answers its library's questions meanwhile.
pub(super) struct Answerer {
    pub(super) callables: Py<Callables>,
    pub(super) desk: Desk,
    /// Whether the model has anything to answer with.
    any: bool,
    /// Of this call, registered until nobody reads it.
    processor: Option<Registered>,
    /// The task that reads, as a weak reference, and its thread; kept for `rkllm_rs._waiting`.
    reader: Attached<Option<(Py<PyAny>, usize)>>,
}

impl Answerer {
    pub(super) fn new(callables: Py<Callables>, desk: Desk, processor: Option<Registered>) -> Self {
        let any = callables.get().any();
        Self {
            callables,
            desk,
            any,
            processor,
            reader: Attached::new(None),
        }
    }

    pub(super) fn reader(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.reader.with(py, |reader| {
            reader.as_ref().map(|(reader, _)| reader.clone_ref(py))
        })
    }

    /// Notes the task that reads, which is one of this thread.
    pub(super) fn set_reader(&self, py: Python<'_>, reader: Py<PyAny>) {
        // The one before is dropped when nobody looks any more.
        let before = self
            .reader
            .with(py, |noted| noted.replace((reader, this_thread())));
        drop(before);
    }

    /// Whether a reader is noted that is a task of this thread, and `is` is true of its weak reference. Does not panic.
    #[inline]
    pub(super) fn is_reader(&self, py: Python<'_>, is: impl FnOnce(&Py<PyAny>) -> bool) -> bool {
        let found = self.reader.try_with(py, |reader| {
            reader
                .as_ref()
                .is_some_and(|(reader, thread)| is(reader) && *thread == this_thread())
        });
        found == Some(true)
    }

    /// Whether the task that is noted as the reader is the one that runs in this thread.
    pub(super) fn is_read_here(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(task) = running_task(py)? else {
            return Ok(false);
        };
        // A task has one weak reference, made once.
        let task = PyWeakrefReference::new(&task)?;
        Ok(self.is_reader(py, |reader| reader.is(&task)))
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callables)?;
        let mut processor = self.processor.iter();
        processor.try_for_each(|one| one.traverse(visit))
    }

    pub(super) fn clear(&self) {
        if let Some(processor) = &self.processor {
            processor.clear();
        }
    }

    /// Whether there is anything to answer with.
    pub(super) fn any(&self) -> bool {
        self.any || self.callables.get().processors.any()
    }

    /// Waits until `handle` has something to read. Meanwhile questions are answered, whichever run of the
    /// model they are of: a run that nobody reads must not hold up one that somebody waits for.
    /// A signal, and what a callable raises, cancels the run.
    pub(super) fn wait(&self, py: Python<'_>, handle: &Handle) -> PyResult<()> {
        loop {
            let ready = super::detach(py, || handle.wait(super::STEP));
            // While things keep coming, no step runs out: signals are looked for each time.
            py.check_signals().inspect_err(|_| handle.cancel())?;
            self.serve(py, Some(handle))?;
            if ready {
                return Ok(());
            }
        }
    }

    /// Answers a waiting question, if there is one, also of a run that `reading` is not of.
    ///
    /// # Errors
    /// What the program's callable raised for the run that is read, or while a model is opened: the
    /// library is told that there is no answer, and the run is cancelled. What it raised for another run
    /// is kept for that run's reader.
    pub(super) fn serve(&self, py: Python<'_>, reading: Option<&Handle>) -> PyResult<()> {
        if !self.any() {
            return Ok(());
        }
        let Some(asked) = self.desk.take() else {
            return Ok(());
        };
        let answer = self.desk.in_callback(|| {
            crate::link::npu::answering(|| self.callables.get().answer(py, &asked.question))
        });
        let (response, outcome) = match answer {
            Ok(response) => (response, Ok(())),
            Err(error) => (Response::Failed, self.blame(py, &asked, reading, error)),
        };
        self.desk.answer(asked.number, response);
        outcome
    }

    fn blame(
        &self,
        py: Python<'_>,
        asked: &Asked,
        reading: Option<&Handle>,
        error: PyErr,
    ) -> PyResult<()> {
        match (asked.run, reading) {
            (Some(run), Some(handle)) if handle.run() == run => {
                // First, so that the run ends by this and not by the library's complaint.
                handle.cancel();
                Err(error)
            }
            (None, _) => Err(error),
            (Some(run), _) => {
                if self.desk.is_wanted(asked.number) {
                    self.callables.get().keep(py, run, error);
                }
                Ok(())
            }
        }
    }

    /// What a callable raised for this run, when somebody else answered for it.
    pub(super) fn raised(&self, py: Python<'_>, handle: &Handle) -> Option<PyErr> {
        let raised = self
            .any()
            .then(|| self.callables.get().take_raised(handle.run()));
        Some(PyErr::from_value(raised??.into_bound(py).into_any()))
    }

    /// Nobody will ask any more for what a callable raised for this run, whose traceback may hold the
    /// model.
    pub(super) fn forget(&self, handle: &Handle) {
        if self.any() {
            drop(self.callables.get().take_raised(handle.run()));
        }
    }
}

//! What the program answers: tokenizer, embedder and `on_token`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::buffer::floats;
use super::convert;
use crate::desk::{Asked, DeskHandle, Question, Response};
use crate::stream::StreamHandle;

/// The callables of one model (`RKLLMCallback.tokenizer_callback`, `embed_callback`).
#[derive(Default)]
pub(super) struct Callables {
    pub(super) tokenizer: Option<Py<PyAny>>,
    pub(super) embedder: Option<Py<PyAny>>,
    /// What they raised, by the run that asked; for its reader.
    raised: Mutex<HashMap<u64, PyErr>>,
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
    /// Token ids of a text by the program's tokenizer, if it gave one.
    pub(super) fn tokenize(&self, py: Python<'_>, text: &str) -> PyResult<Option<Vec<i32>>> {
        let Some(tokenizer) = &self.tokenizer else {
            return Ok(None);
        };
        let ids = tokenizer.bind(py).call1((text,))?;
        convert::integers("tokenizer", &ids).map(Some)
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.tokenizer.is_some() || self.embedder.is_some()
    }

    fn answer(&self, py: Python<'_>, question: &Question) -> PyResult<Response> {
        match question {
            Question::Tokenize { text, .. } => {
                let ids = self.tokenize(py, text)?;
                Ok(ids.map_or(Response::Failed, Response::Tokens))
            }
            Question::Embed { tokens, .. } => {
                let Some(embedder) = &self.embedder else {
                    return Ok(Response::Failed);
                };
                let rows = embedder.bind(py).call1((tokens.clone(),))?;
                floats("embedder", &rows).map(|array| Response::Embeddings(array.values))
            }
        }
    }
}

/// One who waits for a model, and answers its library's questions meanwhile.
#[derive(Clone)]
pub(super) struct Answerer {
    pub(super) callables: Arc<Callables>,
    pub(super) desk: DeskHandle,
}

impl Answerer {
    /// Whether there is anything to answer with.
    pub(super) fn any(&self) -> bool {
        self.callables.any()
    }

    /// Waits until `handle` has something to read. Meanwhile questions are answered, whichever run of the
    /// model they are of: a run that nobody reads must not hold up one that somebody waits for.
    /// A signal, and what a callable raises, cancels the run.
    pub(super) fn wait(&self, py: Python<'_>, handle: &StreamHandle) -> PyResult<()> {
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
    pub(super) fn serve(&self, py: Python<'_>, reading: Option<&StreamHandle>) -> PyResult<()> {
        if !self.any() {
            return Ok(());
        }
        let Some(asked) = self.desk.take() else {
            return Ok(());
        };
        let answer = self
            .desk
            .in_callback(|| self.callables.answer(py, &asked.question));
        let (response, outcome) = match answer {
            Ok(response) => (response, Ok(())),
            Err(error) => (Response::Failed, self.blame(&asked, reading, error)),
        };
        self.desk.answer(asked.number, response);
        outcome
    }

    fn blame(&self, asked: &Asked, reading: Option<&StreamHandle>, error: PyErr) -> PyResult<()> {
        match (asked.run, reading) {
            (Some(run), Some(handle)) if handle.run() == run => {
                // First, so that the run ends by this and not by the library's complaint.
                handle.cancel();
                Err(error)
            }
            (None, _) => Err(error),
            (Some(run), _) => {
                if self.desk.is_wanted(asked.number) {
                    self.callables.raised.lock().insert(run, error);
                }
                Ok(())
            }
        }
    }

    /// What a callable raised for this run, when somebody else answered for it.
    pub(super) fn raised(&self, handle: &StreamHandle) -> Option<PyErr> {
        if !self.any() {
            return None;
        }
        self.callables.raised.lock().remove(&handle.run())
    }
}

//! `Pending`: what a model's thread will answer, to be waited for or awaited.

use std::os::fd::RawFd;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::callables::Answerer;
use super::errors::raise;
use super::source::{Awaited, source_class};
use crate::model;
use crate::model::Reply;
use crate::protocol::error::Failure;

/// An answer of the model's thread that can be waited for or awaited.
#[pyclass(module = "rkllm_rs._native", frozen)]
pub(super) struct Pending {
    /// None where the answer was there at once.
    pending: Option<model::Pending>,
    answerer: Answerer,
}

impl Pending {
    pub(super) fn new(pending: Option<model::Pending>, answerer: Answerer) -> Self {
        Self { pending, answerer }
    }

    fn finish(py: Python<'_>, answer: Result<Reply, Failure>) -> PyResult<Py<PyAny>> {
        super::vendor_log::pass_on(py);
        match answer.map_err(|error| raise(py, &error))? {
            Reply::Text(text) => Ok(text.into_pyobject(py)?.into_any().unbind()),
            reply => Self::numbers(py, reply.numbers()),
        }
    }

    fn numbers(py: Python<'_>, numbers: Vec<i32>) -> PyResult<Py<PyAny>> {
        Ok(numbers.into_pyobject(py)?.into_any().unbind())
    }
}

impl Awaited for Pending {
    fn asks(&self) -> bool {
        self.answerer.any()
    }
    fn arm(&self) -> std::io::Result<Option<RawFd>> {
        self.pending.as_ref().map_or(Ok(None), model::Pending::arm)
    }
    fn leave(&self) {
        if let Some(pending) = &self.pending {
            pending.leave();
        }
    }
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.answerer.traverse(visit)
    }
}

source_class! {
    Pending {
        /// Waits; text or numbers, or an empty list where there are none to give.
        fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
            let Some(pending) = &self.pending else {
                return Self::numbers(py, Vec::new());
            };
            loop {
                self.answerer.serve(py, None)?;
                if let Some(answer) = super::detach(py, || pending.wait(super::STEP)) {
                    return Self::finish(py, answer);
                }
                py.check_signals()?;
            }
        }

        /// The answer in a tuple if it is there.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<(Py<PyAny>,)>> {
            let Some(pending) = &self.pending else {
                return Ok(Some((Self::numbers(py, Vec::new())?,)));
            };
            self.answerer.serve(py, None)?;
            match pending.wait(std::time::Duration::ZERO) {
                Some(answer) => Self::finish(py, answer).map(|reply| Some((reply,))),
                None => Ok(None),
            }
        }
    }
}

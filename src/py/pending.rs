//! `Pending`: what a model's thread will answer, to be waited for or awaited.

use std::os::fd::RawFd;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::callables::Answerer;
use super::errors::raise;
use super::source::{Awaited, source_class};
use crate::model;
use crate::protocol::error::Failure;

/// An answer that will come; `result()` waits for it, `await _aio.done(pending)` in an event loop.
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

    fn finish(py: Python<'_>, answer: Result<Vec<i32>, Failure>) -> PyResult<Vec<i32>> {
        super::vendor_log::pass_on(py);
        answer.map_err(|error| raise(py, &error))
    }
}

impl Awaited for Pending {
    fn asks(&self) -> bool {
        self.answerer.any()
    }
    fn arm(&self) -> std::io::Result<Option<RawFd>> {
        self.pending.as_ref().map_or(Ok(None), model::Pending::arm)
    }
    /// What was asked for is done all the same.
    fn leave(&self) {}
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.answerer.traverse(visit)
    }
}

source_class! {
    Pending {
        /// Waits; numbers, or an empty list where there are none to give.
        fn result(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
            let Some(pending) = &self.pending else {
                return Ok(Vec::new());
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
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<(Vec<i32>,)>> {
            let Some(pending) = &self.pending else {
                return Ok(Some((Vec::new(),)));
            };
            self.answerer.serve(py, None)?;
            match pending.wait(std::time::Duration::ZERO) {
                Some(answer) => Self::finish(py, answer).map(|numbers| Some((numbers,))),
                None => Ok(None),
            }
        }
    }
}

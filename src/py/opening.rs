//! `Opening`: a model that is being opened, to be waited for or awaited.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::callables::{Answerer, Callables};
use super::errors::raise;
use super::model::Model;
use super::runtime::Runtime;
use super::source::{Awaited, source_class};
use crate::model;
use crate::protocol::error::Failure;

/// A model that is being opened.
#[pyclass(module = "rkllm_rs._native", frozen)]
#[allow(clippy::struct_field_names, reason = "it is what the class waits for")]
pub(super) struct Opening {
    pub(super) opening: model::Opening,
    pub(super) runtime: Py<Runtime>,
    pub(super) callables: Py<Callables>,
}

impl Opening {
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        let desk = self.opening.desk();
        match desk {
            Some(desk) => Answerer::new(self.callables.clone_ref(py), desk, None).serve(py, None),
            None => Ok(()),
        }
    }

    fn wait(&self, py: Python<'_>) -> PyResult<Model> {
        loop {
            self.serve(py)?;
            if let Some(opened) = super::detach(py, || self.opening.wait(super::STEP)) {
                return self.opened(py, opened);
            }
            py.check_signals()?;
        }
    }

    fn opened(&self, py: Python<'_>, opened: Result<model::Model, Failure>) -> PyResult<Model> {
        super::vendor_log::pass_on(py);
        Ok(Model {
            model: Arc::new(opened.map_err(|error| raise(py, &error))?),
            runtime: self.runtime.clone_ref(py),
            callables: self.callables.clone_ref(py),
        })
    }
}

impl Awaited for Opening {
    fn asks(&self) -> bool {
        self.callables.get().any()
    }
    fn arm(&self) -> std::io::Result<Option<RawFd>> {
        self.opening.arm()
    }
    fn leave(&self) {
        self.opening.give_up();
    }
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callables)
    }
}

source_class! {
    Opening {
        /// Waits in steps, so that a signal gives up and raises at once.
        fn result(&self, py: Python<'_>) -> PyResult<Model> {
            // Whoever keeps the exception keeps us.
            self.wait(py).inspect_err(|_| self.opening.give_up())
        }

        /// The model in a tuple if it is open; for the event loop.
        fn _poll(&self, py: Python<'_>) -> PyResult<Option<(Model,)>> {
            self.serve(py)?;
            let opened = self.opening.wait(std::time::Duration::ZERO);
            opened
                .map(|opened| Ok((self.opened(py, opened)?,)))
                .transpose()
        }
    }
}

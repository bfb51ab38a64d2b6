//! The errors of the floors, under one roof.

use std::sync::Arc;

pub use crate::protocol::error::{BusyWith, ErrorKind, Failure, Fields};
pub use crate::runtime::Error as RuntimeError;

/// An error of this crate: for programs that load, open and run in one function.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no library, or no model, to work with.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A call, a run or a model failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<Arc<Failure>> for Error {
    fn from(failure: Arc<Failure>) -> Self {
        Self::Failure(Arc::unwrap_or_clone(failure))
    }
}

impl Error {
    /// The class of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Runtime(error) => error.kind(),
            Self::Failure(failure) => failure.kind,
        }
    }

    /// What to try, where we know something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Runtime(error) => error.hint(),
            Self::Failure(failure) => failure.hint.clone(),
        }
    }
}

//! What the library holds of earlier runs.

use super::{Model, Pending, Reply};
use crate::protocol::error::Failure;
use crate::protocol::message::Request;

impl Model {
    /// The tokens that the library is known to hold, after all runs before this call: those that a run was
    /// given and has made, but for the one chosen last. None where it cannot be known: after text, images,
    /// batches, steps and runs with `keep_history`, after a run that was cut off or failed, and after all
    /// that changes the cache from outside.
    ///
    /// # Errors
    /// `ErrorKind::Closed`, `ErrorKind::ForkedProcess`, `ErrorKind::Busy` from inside a callback.
    pub fn held_tokens(&self) -> Result<Vec<i32>, Failure> {
        self.begin_held_tokens()?
            .wait_for_ever()
            .map(Reply::numbers)
    }

    /// [`Model::held_tokens`], to be waited for in steps.
    ///
    /// # Errors
    /// As there.
    pub fn begin_held_tokens(&self) -> Result<Pending, Failure> {
        self.ask(Request::HeldTokens)
    }
}

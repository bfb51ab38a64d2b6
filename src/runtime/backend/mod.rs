//! Which backend runs a model, and where the model's file is.

pub(crate) mod device;
mod folder;
mod resolve;
mod status;

pub use resolve::{BackendNote, Resolved, resolve, resolve_in};
pub use status::{BackendStatus, backends, backends_in};

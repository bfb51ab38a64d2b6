//! Which backend runs a model, and where the model's file is.

mod device;
mod resolve;
mod status;

pub use resolve::{BackendNote, Resolved, resolve, resolve_in};
pub use status::{BackendStatus, backends, backends_in};

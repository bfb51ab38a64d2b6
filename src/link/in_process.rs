//! An engine in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Link;
use super::npu::{Place, RunGate};
use crate::engine::{self, Engine, Gate, Outbox};
use crate::files::BackendKind;
use crate::host::wake::Side;
use crate::protocol::config::ModelConfig;
use crate::protocol::error::Failure;
use crate::protocol::message::Command;
use crate::runtime::Runtime;

impl Link for Engine {
    fn send(
        &self,
        command: Command,
        lanes: Vec<Arc<dyn Outbox>>,
        side: Side,
    ) -> Result<(), Failure> {
        self.take(command, lanes, side)
    }

    fn is_closed(&self) -> bool {
        Engine::is_closed(self)
    }

    fn wait_until_gone(&self, limit: Duration) -> bool {
        Engine::wait_until_gone(self, limit)
    }
}

/// Begins to open a model; events that belong to no run come to `out`.
///
/// # Errors
/// As [`engine::start`].
pub(crate) fn open(
    runtime: Arc<Runtime>,
    path: PathBuf,
    config: ModelConfig,
    out: Arc<dyn Outbox>,
) -> Result<Arc<dyn Link>, Failure> {
    let shared = runtime.backend() == BackendKind::Npu;
    let gate = shared.then(|| Box::new(RunGate::new(Place::chosen())) as Box<dyn Gate>);
    Ok(engine::start(runtime, path, config, out, gate)?)
}

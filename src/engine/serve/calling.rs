//! Calls of the library for the lanes of a run.

use std::sync::Arc;

use super::Server;
use crate::engine::RunLanes;
use crate::native::{Lane as _, Lanes, RunEnd};
use crate::protocol::error::Failure;
use crate::protocol::message::RunSpec;

impl Server<'_> {
    /// `rkllm_run`, from an empty cache if it `clears`, for these lanes, which the watch can abort meanwhile. The
    /// readers of `asked` answer what the library asks.
    pub(super) fn call(
        &mut self,
        spec: &RunSpec,
        lanes: &RunLanes,
        asked: &RunLanes,
        clears: bool,
    ) -> Result<RunEnd, Failure> {
        self.call_heard(spec, lanes, asked, clears, &shared(lanes))
    }

    /// [`Self::call`] where others hear what the library says.
    pub(super) fn call_heard(
        &mut self,
        spec: &RunSpec,
        lanes: &RunLanes,
        asked: &RunLanes,
        clears: bool,
        heard: &Lanes,
    ) -> Result<RunEnd, Failure> {
        self.engine.watch.set_current(Some(Arc::clone(lanes)));
        if lanes.iter().any(|lane| lane.abort_wanted()) {
            // Asked for when the watch did not know the run yet.
            self.engine.watch.poke();
        }
        let readers = Some((asked[0].run(), shared(asked)));
        self.engine.desk.set_readers(readers);
        let cleared = if clears {
            self.model.clear_kv_cache(false)
        } else {
            Ok(())
        };
        let outcome = cleared.and_then(|()| self.model.run(lanes[0].run(), spec, heard));
        self.engine.desk.set_readers(None);
        self.engine.watch.set_current(None);
        outcome
    }
}

/// The lanes as the library's side knows them.
pub(super) fn shared(lanes: &RunLanes) -> Lanes {
    lanes.iter().map(|lane| Arc::clone(lane) as _).collect()
}

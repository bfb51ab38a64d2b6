//! Which IOMMU domains the models of this process take, so that each gets its own.

use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::Chosen;
use crate::client::Client;
use crate::files::BackendKind;
use crate::files::plan::{self, Range};
use crate::protocol::config::ModelConfig;
use crate::runtime::{Runtime, board_chip};

type Taken = Vec<(Weak<Client>, Range)>;

static TAKEN: Mutex<Taken> = Mutex::new(Vec::new());

/// Where a model is about to be put. No other one is placed meanwhile.
pub(super) struct Place(Option<(MutexGuard<'static, Taken>, Range)>);

impl Place {
    /// The model is there now, until its client is closed.
    pub(super) fn take(self, client: &Arc<Client>) {
        if let Some((mut taken, range)) = self.0 {
            taken.push((Arc::downgrade(client), range));
        }
    }
}

/// Chooses the domain in which a model begins, where the program leaves it open and the release has a choice.
pub(super) fn place(
    runtime: &Runtime,
    path: &Path,
    config: &mut ModelConfig,
    chosen: &mut Chosen,
) -> Place {
    if runtime.backend() != BackendKind::Npu || !runtime.capabilities().has_domains() {
        return Place(None);
    }
    let size = path.metadata().map_or(0, |data| data.len());
    let mut taken = TAKEN.lock();
    taken.retain(|(client, _)| client.upgrade().is_some_and(|client| !client.is_closed()));
    let range = if let Some(base) = config.base_domain_id {
        Some(Range::new(base.try_into().unwrap_or(0), size))
    } else {
        let others: Vec<Range> = taken.iter().map(|(_, range)| *range).collect();
        let keeps_to_0 = board_chip().is_some_and(|chip| plan::keeps_to_0(&chip));
        plan::place(size, &others, keeps_to_0)
    };
    if let (None, Some(Range { base: 1.., .. })) = (config.base_domain_id, range) {
        config.base_domain_id = range.and_then(|range| range.base.try_into().ok());
        let base = config
            .base_domain_id
            .map(|base| ("base_domain_id".to_owned(), base));
        chosen.extend(base);
    }
    Place(range.map(|range| (taken, range)))
}

//! Where an engine's events go.

use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::protocol::message::Event;

/// Takes events: a reader in this process, or a channel to another one. Never blocks the library.
pub(crate) trait Outbox: Send + Sync {
    /// Takes one event, on a thread of that side.
    fn put(&self, event: Event<'_>, side: Side);

    /// Puts rows where the reader finds them, and returns their number for [`Event::Rows`].
    fn lend(&self, block: FloatBlock) -> u64;
}

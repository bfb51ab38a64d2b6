//! Where an engine's events go.

use crate::host::FloatBlock;
use crate::host::wake::Side;
use crate::protocol::message::Event;

/// Takes events: a reader in this process, or a channel to another one. Never blocks the library.
pub(crate) trait Outbox: Send + Sync {
    /// Takes one event, on a thread of that side.
    fn put(&self, event: Event<'_>, side: Side);

    /// Puts rows where the reader finds them, under the number that [`Event::Rows`] will tell. In shared memory
    /// they may come only after this.
    fn lend(&self, number: u64, block: FloatBlock);
}

//! What the engine gives to be told of a run: traits, so that nothing here knows who listens.

use std::sync::Arc;
use std::time::Duration;

use super::kept;
use crate::host::FloatBlock;
use crate::protocol::output::{LibraryPerf, RowsKind};
use crate::protocol::question::{Question, Response};

/// What the library is told when its callback returns; the strongest of a batch's lanes counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Go on.
    Continue,
    /// What was shown is copied and may go (from 1.3.0).
    Release,
    /// Stop here and keep the KV cache (from 1.2.1).
    Pause,
}

/// How the library's last call of a run went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LastCall {
    Finish(Option<LibraryPerf>),
    Error,
}

/// How many tokens a prompt took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PromptTokens {
    /// Of the whole prompt, with what it goes on from, where they are counted here.
    pub(crate) all: Option<usize>,
    /// Those of them that were held, where that is known.
    pub(crate) cached: Option<usize>,
}

/// One prompt of a run, beside the library. Called on the library's threads, and never blocks them.
pub(crate) trait Lane: Send + Sync {
    /// What rows it wants instead of an answer.
    fn wants(&self) -> Option<RowsKind>;
    /// The run begins, or goes on after a pause.
    fn start(&self);
    /// How many tokens its prompt takes; of several such calls the first counts.
    fn prompt(&self, tokens: PromptTokens);
    /// A token call; a negative id is no token.
    fn token(&self, bytes: &[u8], id: i32) -> Verdict;
    /// Whether it wants to see the logits before each token is chosen.
    fn chooses(&self) -> bool;
    /// The logits of its next token, to be changed.
    fn choose(&self, logits: &mut [f32]);
    /// A call that brought nothing.
    fn called(&self);
    /// Rows are about to be copied; the block, if it can be lent before they are there.
    fn rows_come(&self, shared: Option<&FloatBlock>);
    /// Rows that were copied.
    fn rows(&self, block: FloatBlock);
    /// The library called with something that cannot be used.
    fn unusable(&self, reason: String);
    /// Our own code panicked inside the callback.
    fn panicked(&self);
    /// The last call of the run.
    fn last_call(&self, call: LastCall);
    /// Waits for it as long as calls keep coming; `quiet` without any is enough.
    fn wait_for_last_call(&self, quiet: Duration) -> Option<LastCall>;
    /// Whether its reader has been told an end.
    fn has_ended(&self) -> bool;
    /// Whether the library should be asked to stop.
    fn abort_wanted(&self) -> bool;
    /// Whether the library was told to pause in this run; and whether it has said since that the run is
    /// over.
    fn has_paused(&self) -> (bool, bool);
}

/// The lanes of one run: one, or as many as the model's batch has.
pub(crate) type Lanes = Arc<[Arc<dyn Lane>]>;

/// Who answers what the library asks; waits for the answer.
pub(crate) trait Asks: Send + Sync {
    /// The answer.
    fn ask(&self, question: Question) -> Response;
    /// Why the last answer was refused, once.
    fn problem(&self) -> Option<String>;
}

/// [`Asks`] as `userdata` of C callbacks: never freed, since a library may ask late.
pub(crate) struct Asker(pub(super) Box<dyn Asks>);

impl Asker {
    /// One for the library.
    pub(crate) fn new(asks: Box<dyn Asks>) -> &'static Self {
        kept::for_ever(Self(asks))
    }
}

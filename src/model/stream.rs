//! The tokens of a run, as they come.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Desk, Ending, Inbox, Taken, TextBatch};
use crate::host::FloatBlock;
use crate::host::fork;
use crate::host::wake::WakePair;
use crate::protocol::error::Failure;
use crate::protocol::output::{Chunk, FinishReason, Generation};

/// A batch of so many bytes is kept as it is; smaller ones are copied together.
const LARGE: usize = 64 * 1024;

/// The pieces of an answer; dropping it cancels the run. The model stays open for it until the run has
/// ended.
pub struct TokenStream {
    handle: StreamHandle,
    batch: TextBatch,
    /// The next piece of `batch`, and where it begins.
    next: usize,
    begin: usize,
    /// What was read before `batch`.
    read: Vec<TextBatch>,
    wake: Option<WakePair>,
}

/// A run, for waiting and cancelling from any thread.
#[derive(Clone)]
pub struct StreamHandle {
    inbox: Arc<Inbox>,
    forks: u64,
    desk: Desk,
}

/// What [`TokenStream::poll`] found.
#[derive(Debug)]
pub enum Poll<T, E = ()> {
    /// A piece.
    Ready(T),
    /// Nothing yet: wait with [`StreamHandle::wait`].
    Nothing,
    /// The end of the run, or why it failed.
    Ended(Result<E, Arc<Failure>>),
}

impl StreamHandle {
    /// Ends the run for its reader at once, and asks the library to stop (`rkllm_abort`).
    #[doc(alias = "rkllm_abort")]
    pub fn cancel(&self) {
        if self.forks == fork::depth() {
            self.inbox.cancel();
        }
    }

    /// Says that the reader was cancelled while it waited. Unless one reads or waits again within 100 ms,
    /// the run is cancelled.
    pub fn leave(&self) {
        if self.forks == fork::depth() {
            self.inbox.leave();
        }
    }

    /// Whether the run has ended for its reader; pieces may still be there to read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.inbox.has_ended()
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.forks != fork::depth()
    }

    /// The run's number, counted from 1 for each model.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.inbox.run()
    }

    /// Where the library's questions are answered: look there whenever [`StreamHandle::wait`] returns
    /// and there is nothing to read.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Answers questions with failure, for readers that serve none.
    pub(crate) fn refuse_questions(&self) {
        self.desk.refuse();
    }

    /// Sleeps until there is something to read or to answer; false when `limit` has passed first.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        self.forks != fork::depth() || self.inbox.wait(limit)
    }
}

impl TokenStream {
    pub(crate) fn new(inbox: Arc<Inbox>, forks: u64, desk: Desk) -> Self {
        Self {
            handle: StreamHandle { inbox, forks, desk },
            batch: TextBatch::default(),
            next: 0,
            begin: 0,
            read: Vec::new(),
            wake: None,
        }
    }

    /// For waiting and cancelling, also while another thread reads.
    #[must_use]
    pub fn handle(&self) -> &StreamHandle {
        &self.handle
    }

    /// The next piece that has come, as text and token, without waiting.
    #[inline]
    pub fn poll(&mut self) -> Poll<(&str, i32)> {
        self.next_piece(false)
    }

    /// As [`Self::poll`], tokens without text of their own included.
    pub(crate) fn poll_token(&mut self) -> Poll<(&str, i32)> {
        self.next_piece(true)
    }

    #[inline]
    fn next_piece(&mut self, empty: bool) -> Poll<(&str, i32)> {
        if self.handle.forks != fork::depth() {
            return Poll::Ended(Err(Arc::new(Failure::forked())));
        }
        let piece = loop {
            if let Some(piece) = self.batch.pieces.get(self.next) {
                self.next += 1;
                if piece.length() > 0 || empty {
                    break *piece;
                }
            } else if let Some(rest) = self
                .batch
                .rest
                .filter(|_| self.begin < self.batch.text.len())
            {
                break rest;
            } else if let Some(found) = self.refill() {
                return found;
            }
        };
        let end = self.begin + piece.length();
        let text = &self.batch.text[self.begin..end];
        self.begin = end;
        Poll::Ready((text, piece.id))
    }

    /// The next rows that have come; at the end, whether the run was cancelled.
    pub(crate) fn poll_rows(&mut self) -> Poll<FloatBlock, bool> {
        if self.handle.forks != fork::depth() {
            return Poll::Ended(Err(Arc::new(Failure::forked())));
        }
        match self.handle.inbox.take_rows() {
            None => Poll::Nothing,
            Some(Ok(block)) => Poll::Ready(block),
            Some(Err(ending)) => {
                let cancelled = |reason| reason == FinishReason::Cancelled;
                Poll::Ended(ending.outcome.map(cancelled))
            }
        }
    }

    /// Takes what has come; `None` when there is something now.
    fn refill(&mut self) -> Option<Poll<(&'static str, i32)>> {
        match self.take() {
            Taken::Nothing => Some(Poll::Nothing),
            Taken::Ended(ending) => Some(Poll::Ended(ending.outcome.map(drop))),
            Taken::Some => None,
        }
    }

    /// Puts the batch away and takes the next.
    fn take(&mut self) -> Taken {
        match self.read.last_mut() {
            _ if self.batch.is_empty() => {}
            // Its room is used again, so that a reader who keeps up works in warm memory.
            Some(read) if self.batch.size() < LARGE => read.append(&self.batch),
            _ => self.read.push(std::mem::take(&mut self.batch)),
        }
        self.next = 0;
        self.begin = 0;
        self.handle.inbox.take(&mut self.batch)
    }

    /// Whether something has come that was not handed out.
    pub(crate) fn has_unread(&self) -> bool {
        self.next < self.batch.pieces.len() || self.handle.inbox.has_pending()
    }

    /// Takes all that has come without handing it out: for [`TokenStream::generation`].
    fn drain(&mut self) -> Option<Ending> {
        loop {
            if self.handle.forks != fork::depth() {
                return None;
            }
            match self.take() {
                Taken::Nothing => return None,
                Taken::Ended(ending) => return Some(ending),
                Taken::Some => {}
            }
        }
    }

    /// The whole answer, if the run has ended: the pieces read before are in it. Pieces not read are
    /// taken away.
    pub fn generation(&mut self) -> Option<Result<Generation, Arc<Failure>>> {
        if self.handle.forks != fork::depth() {
            return Some(Err(Arc::new(Failure::forked())));
        }
        let ending = self.drain()?;
        Some(ending.outcome.map(|finish_reason| {
            let (text, token_ids) = self.so_far();
            Generation {
                text,
                token_ids,
                finish_reason,
                perf: ending.perf,
            }
        }))
    }

    /// What has come so far: text and token ids.
    #[must_use]
    pub fn so_far(&self) -> (String, Vec<i32>) {
        let batches = || self.read.iter().chain([&self.batch]);
        let pieces = batches().flat_map(|batch| &batch.pieces);
        (
            batches().map(|batch| batch.text.as_str()).collect(),
            // Text without a token bears a negative id.
            pieces.map(|piece| piece.id).filter(|id| *id >= 0).collect(),
        )
    }

    /// Waits for the end and gives the whole answer.
    ///
    /// # Errors
    /// `ErrorKind::Run`, `ErrorKind::Timeout`, `ErrorKind::ContextLength`, `ErrorKind::Closed`.
    pub fn into_generation(mut self) -> Result<Generation, Arc<Failure>> {
        loop {
            if let Some(generation) = self.generation() {
                return generation;
            }
            self.handle.refuse_questions();
            let _ = self.handle.wait(Duration::from_secs(3600));
        }
    }

    /// A descriptor that becomes readable once when something comes, for an event loop; `None` when
    /// something is there already.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&mut self) -> std::io::Result<Option<std::os::fd::RawFd>> {
        let wake = WakePair::kept_in(&mut self.wake)?;
        Ok(if self.handle.inbox.arm(wake) {
            None
        } else {
            Some(wake.host_fd())
        })
    }
}

/// Blocks for each piece; ends with the run.
impl Iterator for TokenStream {
    type Item = Result<Chunk, Arc<Failure>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.poll() {
                Poll::Ready((text, token_id)) => {
                    return Some(Ok(Chunk {
                        text: text.to_owned(),
                        token_id,
                    }));
                }
                Poll::Ended(Ok(())) => return None,
                Poll::Ended(Err(error)) => return Some(Err(error)),
                Poll::Nothing => {
                    self.handle.refuse_questions();
                    let _ = self.handle.wait(Duration::from_secs(3600));
                }
            }
        }
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.handle.cancel();
        if self.handle.forks == fork::depth() {
            if let Some(wake) = self.wake.take() {
                self.handle.inbox.disarm();
                wake.release();
            }
        }
    }
}

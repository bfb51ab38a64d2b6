//! The tokens of a run, as they come.

use std::sync::Arc;

use crate::client::{Desk, Ending, Handle, Inbox, Piece, Poll, Source, Taken, TextBatch};
use crate::host::FloatBlock;
use crate::protocol::error::Failure;
use crate::protocol::message::Settled;
use crate::protocol::output::{Chunk, FinishReason, Generation, TokenLogprob};

/// A batch of so many bytes is kept as it is; smaller ones are copied together.
const LARGE: usize = 64 * 1024;

/// The chunks of an answer as they come. Dropping it cancels the run. The model stays open until the run
/// has ended.
pub struct TokenStream {
    handle: Handle,
    batch: TextBatch,
    /// The next piece of `batch`, and where it begins.
    next: usize,
    begin: usize,
    /// What was read before `batch`.
    read: Vec<TextBatch>,
    likely: Likely,
}

/// How likely the tokens are that have come, where the run tells that.
#[derive(Default)]
struct Likely {
    wanted: bool,
    all: Vec<TokenLogprob>,
    /// Pieces of the batch that are counted.
    pieces: usize,
    /// Tokens that were handed out.
    tokens: usize,
    /// How many were told of.
    told: usize,
}

impl Likely {
    /// Counts the tokens among the first `to` pieces of the batch.
    fn count(&mut self, pieces: &[Piece], to: usize) {
        let new = pieces[self.pieces..to].iter();
        self.tokens += new.filter(|piece| piece.id >= 0).count();
        self.pieces = to;
    }
}

impl TokenStream {
    pub(crate) fn new(inbox: Arc<Inbox>, forks: u64, desk: Desk, logprobs: bool) -> Self {
        Self {
            handle: Handle::new(inbox, forks, desk),
            batch: TextBatch::default(),
            next: 0,
            begin: 0,
            read: Vec::new(),
            likely: Likely {
                wanted: logprobs,
                ..Likely::default()
            },
        }
    }

    /// How likely the tokens are that were handed out since the last call, if the run tells that.
    pub fn new_logprobs(&mut self) -> Option<&[TokenLogprob]> {
        let likely = &mut self.likely;
        if !likely.wanted {
            return None;
        }
        likely.count(&self.batch.pieces, self.next);
        let from = likely.told;
        likely.told = likely.tokens.min(likely.all.len());
        Some(&likely.all[from..likely.told])
    }

    /// How likely the tokens are that have come, if the run tells that.
    #[must_use]
    pub fn logprobs(&self) -> Option<&[TokenLogprob]> {
        self.likely.wanted.then_some(&self.likely.all)
    }

    /// Hands out the next piece, text and token, where it was taken from the inbox already; it stays where
    /// `hand_out` gives `None`. Does not panic unless that does.
    #[cfg(feature = "python")]
    #[inline]
    pub(crate) fn at_hand<R>(
        &mut self,
        hand_out: impl FnOnce(&str, i32) -> Option<R>,
    ) -> Option<R> {
        let piece = *self.batch.pieces.get(self.next)?;
        let end = self.begin.wrapping_add(piece.length());
        if end == self.begin || self.handle.is_forked() {
            return None;
        }
        let handed_out = hand_out(self.batch.text.get(self.begin..end)?, piece.id)?;
        self.next += 1;
        self.begin = end;
        Some(handed_out)
    }

    /// The next piece that has come, as text and token, without waiting.
    pub fn poll_piece(&mut self) -> Poll<(&str, i32)> {
        self.next_piece(false)
    }

    /// As [`Self::poll`], tokens without text of their own included.
    pub(crate) fn poll_token(&mut self) -> Poll<(&str, i32)> {
        self.next_piece(true)
    }

    fn next_piece(&mut self, empty: bool) -> Poll<(&str, i32)> {
        if self.handle.is_forked() {
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
        Poll::Ready(self.hand_out(piece))
    }

    #[inline]
    fn hand_out(&mut self, piece: Piece) -> (&str, i32) {
        let begin = self.begin;
        self.begin += piece.length();
        (&self.batch.text[begin..self.begin], piece.id)
    }

    /// The next rows that have come; at the end, whether the run was cancelled.
    pub(crate) fn poll_rows(&mut self) -> Poll<FloatBlock, bool> {
        if self.handle.is_forked() {
            return Poll::Ended(Err(Arc::new(Failure::forked())));
        }
        match self.handle.inbox().take_rows() {
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
        match self.refresh() {
            Taken::Nothing => Some(Poll::Nothing),
            Taken::Ended(ending) => Some(Poll::Ended(ending.outcome.map(drop))),
            Taken::Some => None,
        }
    }

    /// Puts the batch away and takes the next.
    fn refresh(&mut self) -> Taken {
        if self.likely.wanted {
            self.likely
                .count(&self.batch.pieces, self.batch.pieces.len());
            self.likely.pieces = 0;
        }
        match self.read.last_mut() {
            _ if self.batch.is_empty() => {}
            // Its room is used again, so that a reader who keeps up works in warm memory.
            Some(read) if self.batch.size() < LARGE => read.append(&self.batch),
            _ => self.read.push(std::mem::take(&mut self.batch)),
        }
        self.next = 0;
        self.begin = 0;
        let taken = self.handle.inbox().take(&mut self.batch);
        self.likely.all.append(&mut self.batch.likely);
        taken
    }

    /// What the engine has made of a rendered conversation; there before the first piece.
    pub(crate) fn settled(&self) -> Option<Settled> {
        if self.handle.is_forked() {
            return None;
        }
        self.handle.inbox().settled()
    }

    /// Whether something has come that was not handed out.
    pub(crate) fn has_unread(&self) -> bool {
        self.next < self.batch.pieces.len() || self.handle.inbox().has_pending()
    }

    /// Takes all that has come without handing it out: for [`TokenStream::generation`].
    fn drain(&mut self) -> Option<Ending> {
        loop {
            if self.handle.is_forked() {
                return None;
            }
            match self.refresh() {
                Taken::Nothing => return None,
                Taken::Ended(ending) => return Some(ending),
                Taken::Some => {}
            }
        }
    }

    /// The whole answer, if the run has ended: the pieces read before are in it. Pieces not read are
    /// taken away.
    pub fn generation(&mut self) -> Option<Result<Generation, Arc<Failure>>> {
        if self.handle.is_forked() {
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
                logprobs: self.logprobs().map(<[_]>::to_vec),
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

    /// Text and tokens that were handed out.
    pub(crate) fn handed_out(&self) -> (String, Vec<i32>) {
        let read = self.read.iter();
        let mut text: String = read.clone().map(|batch| batch.text.as_str()).collect();
        text.push_str(&self.batch.text[..self.begin]);
        let pieces = read.flat_map(|batch| &batch.pieces);
        let pieces = pieces.chain(&self.batch.pieces[..self.next]);
        (
            text,
            pieces.map(|piece| piece.id).filter(|id| *id >= 0).collect(),
        )
    }

    /// Waits for the end and gives the whole answer.
    ///
    /// # Errors
    /// `ErrorKind::Generation`, `ErrorKind::Timeout`, `ErrorKind::ContextLength`, `ErrorKind::Closed`.
    pub fn into_generation(mut self) -> Result<Generation, Arc<Failure>> {
        loop {
            if let Some(generation) = self.generation() {
                return generation;
            }
            self.handle.wait_refusing();
        }
    }
}

impl Source for TokenStream {
    type Item = Chunk;

    fn poll(&mut self) -> Poll<Chunk> {
        match self.next_piece(false) {
            Poll::Ready((text, token_id)) => Poll::Ready(Chunk {
                text: text.to_owned(),
                token_id,
            }),
            Poll::Nothing => Poll::Nothing,
            Poll::Ended(outcome) => Poll::Ended(outcome),
        }
    }

    fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Blocks for each piece; ends with the run.
impl Iterator for TokenStream {
    type Item = Result<Chunk, Arc<Failure>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wait_next().transpose()
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.handle.drop_reader();
    }
}

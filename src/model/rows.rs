//! Logits and hidden states, as they come.

use std::sync::Arc;

use crate::client::{Handle, Poll, Source};
use crate::host::FloatBlock;
use crate::model::stream::TokenStream;
use crate::protocol::error::Failure;
use crate::protocol::output::RowsKind;

/// The rows of a run, one block for each callback of the library; dropping it cancels the run.
pub struct RowStream {
    stream: TokenStream,
    kind: RowsKind,
    any: bool,
}

impl RowStream {
    pub(crate) fn new(stream: TokenStream, kind: RowsKind) -> Self {
        Self {
            stream,
            kind,
            any: false,
        }
    }

    /// What the rows are.
    #[must_use]
    pub fn kind(&self) -> RowsKind {
        self.kind
    }

    /// Whether any rows have come.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any
    }

    /// Waits for the end and gives all rows that were not read yet, in one block.
    ///
    /// # Errors
    /// As [`TokenStream::into_generation`], and `ErrorKind::Generation` if the library gave none.
    pub fn into_block(mut self) -> Result<FloatBlock, Arc<Failure>> {
        let mut blocks = Vec::new();
        while let Some(block) = self.wait_next()? {
            blocks.push(block);
        }
        join(blocks, self.kind, self.any)
    }
}

impl Source for RowStream {
    type Item = FloatBlock;

    fn poll(&mut self) -> Poll<FloatBlock> {
        match self.stream.poll_rows() {
            Poll::Ready(block) => {
                self.any = true;
                Poll::Ready(block)
            }
            Poll::Ended(Ok(cancelled)) => Poll::Ended(if self.any || cancelled {
                Ok(())
            } else {
                let reason = format!("the runtime returned no {}", self.kind.as_str());
                Err(Arc::new(Failure::of_run(&reason)))
            }),
            Poll::Ended(Err(error)) => Poll::Ended(Err(error)),
            Poll::Nothing => Poll::Nothing,
        }
    }

    fn handle(&self) -> &Handle {
        self.stream.handle()
    }
}

/// All blocks of a run in one; `any` tells whether there were others that have been read.
///
/// # Errors
/// `ErrorKind::Generation` if there are none, if they are of different widths, or if there is no memory.
pub fn join(
    blocks: Vec<FloatBlock>,
    kind: RowsKind,
    any: bool,
) -> Result<FloatBlock, Arc<Failure>> {
    let count = blocks.len();
    FloatBlock::join(blocks).ok_or_else(|| {
        Arc::new(Failure::of_run(&match count {
            0 if any => format!("all {} have already been read", kind.as_str()),
            0 => format!("the run ended before any {} arrived", kind.as_str()),
            _ => format!(
                "the {count} blocks of {} differ in width, or are too large to join",
                kind.as_str()
            ),
        }))
    })
}

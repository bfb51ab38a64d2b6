//! Logits and hidden states, as they come.

use std::sync::Arc;
use std::time::Duration;

use crate::host::FloatBlock;
use crate::model::stream::{Poll, StreamHandle, TokenStream};
use crate::protocol::error::{ErrorKind, Failure};
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

    /// For waiting and cancelling, also while another thread reads.
    #[must_use]
    pub fn handle(&self) -> &StreamHandle {
        self.stream.handle()
    }

    /// The next block that has come, without waiting.
    pub fn poll(&mut self) -> Poll<FloatBlock> {
        match self.stream.poll_rows() {
            Poll::Ready(block) => {
                self.any = true;
                Poll::Ready(block)
            }
            Poll::Ended(Ok(cancelled)) => Poll::Ended(if self.any || cancelled {
                Ok(())
            } else {
                let reason = format!("the library gave no {}", self.kind.as_str());
                Err(Arc::new(failed(&reason)))
            }),
            Poll::Ended(Err(error)) => Poll::Ended(Err(error)),
            Poll::Nothing => Poll::Nothing,
        }
    }

    /// A descriptor that becomes readable once when something comes; `None` when something is there.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&mut self) -> std::io::Result<Option<std::os::fd::RawFd>> {
        self.stream.arm()
    }

    /// Waits for the end and gives all rows that were not read yet, in one block.
    ///
    /// # Errors
    /// As [`TokenStream::into_generation`], and `ErrorKind::Run` if the library gave none.
    pub fn into_block(mut self) -> Result<FloatBlock, Arc<Failure>> {
        let mut blocks = Vec::new();
        loop {
            match self.poll() {
                Poll::Ready(block) => blocks.push(block),
                Poll::Ended(Ok(())) => return join(blocks, self.kind, self.any),
                Poll::Ended(Err(error)) => return Err(error),
                Poll::Nothing => {
                    self.stream.handle().refuse_questions();
                    let _ = self.handle().wait(Duration::from_secs(3600));
                }
            }
        }
    }
}

/// All blocks of a run in one; `any` tells whether there were others that have been read.
///
/// # Errors
/// `ErrorKind::Run` if there are none, if they are of different widths, or if there is no memory.
pub fn join(
    blocks: Vec<FloatBlock>,
    kind: RowsKind,
    any: bool,
) -> Result<FloatBlock, Arc<Failure>> {
    let count = blocks.len();
    FloatBlock::join(blocks).ok_or_else(|| {
        Arc::new(failed(&match count {
            0 if any => format!("all its {} have been read already", kind.as_str()),
            0 => format!("it was ended before any {} came", kind.as_str()),
            _ => format!("{count} blocks of {} cannot be joined", kind.as_str()),
        }))
    })
}

fn failed(reason: &str) -> Failure {
    Failure::of_call(ErrorKind::Generation, "rkllm_run", reason, Vec::new())
}

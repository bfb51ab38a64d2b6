//! A run, token by token: paused after each, to look and to intervene.

use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Caller, Shared};
use crate::callback::RunSpec;
use crate::delivery::Rows;
use crate::error::Error;
use crate::input::Input;
use crate::output::{Chunk, Generation};
use crate::stream::{Poll, StreamHandle, TokenStream};

/// A run that pauses after each token; dropping it ends it.
///
/// The library keeps the KV cache while it is paused, and what the next run brings takes the place of
/// the token that was given last: to go on as if nothing had happened is to send that token.
pub struct Steps {
    shared: Arc<Shared>,
    spec: RunSpec,
    rows: Rows,
    stream: TokenStream,
    caller: Caller,
    begun: bool,
    over: bool,
    /// Tokens given so far, and the last one.
    given: usize,
    last: Option<i32>,
    limit: usize,
}

impl Steps {
    pub(crate) fn new(
        shared: Arc<Shared>,
        spec: RunSpec,
        rows: Rows,
        stream: TokenStream,
        caller: Caller,
    ) -> Self {
        let limit = usize::try_from(spec.max_new_tokens).unwrap_or(0);
        Self {
            shared,
            spec,
            rows,
            stream,
            caller,
            begun: false,
            over: false,
            given: 0,
            last: None,
            limit,
        }
    }

    /// For waiting and cancelling, also while another thread reads.
    #[must_use]
    pub fn handle(&self) -> &StreamHandle {
        self.stream.handle()
    }

    /// Whether the model waits for [`Steps::advance`] before it computes the next token.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        !self.begun || self.rows[0].is_resting()
    }

    /// Lets the model compute one more token: from `input`, which takes the place of the token given
    /// last, or from that token.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the model is not paused, or `input` is given before the first
    /// token; [`Error::Closed`]; [`Error::UnsupportedFeature`] and others as [`crate::Model::stream`].
    pub fn advance(&mut self, input: Option<Input>) -> Result<(), Error> {
        if !self.begun {
            if input.is_some() {
                return Err(Error::invalid_with_hint(
                    "input",
                    "the first token has not been computed yet",
                    "Take a token first; then send what is to come in its place.",
                ));
            }
            self.shared.state.steps_begin(self.caller);
            let begun = self.shared.submit(self.spec.clone(), &self.rows);
            if begun.is_err() {
                self.shared.state.steps_end(self.caller);
            }
            self.begun = begun.is_ok();
            return begun;
        }
        if self.handle().has_ended() {
            return Ok(());
        }
        if !self.rows[0].is_resting() {
            let hint = "Wait for the token first.";
            return Err(Error::invalid_with_hint(
                "input",
                "the model is computing",
                hint,
            ));
        }
        let Some(input) = input.or(self.last.map(|id| Input::Tokens(vec![id]))) else {
            return Ok(());
        };
        let mut spec = self.spec.clone();
        spec.rows[0].input = input;
        // The prompt's cache was saved in the first run.
        spec.save_prompt_cache = None;
        if self.limit > 0 {
            // The library counts anew in each run.
            spec.max_new_tokens =
                i32::try_from(self.limit.saturating_sub(self.given).max(1)).unwrap_or(i32::MAX);
        }
        self.rows[0].leave_rest();
        self.shared.resume(spec, &self.rows)
    }

    /// The token that the model has computed, without waiting. Its text may be empty, where it
    /// completes no character.
    pub fn poll(&mut self) -> Poll<Chunk> {
        match self.stream.poll_token() {
            Poll::Ready((text, token_id)) => {
                let chunk = Chunk {
                    text: text.to_owned(),
                    token_id,
                };
                self.given += 1;
                self.last = Some(token_id);
                Poll::Ready(chunk)
            }
            Poll::Nothing => Poll::Nothing,
            Poll::Ended(outcome) => {
                self.end();
                Poll::Ended(outcome)
            }
        }
    }

    /// The next token, waited for; `input` as for [`Steps::advance`].
    ///
    /// # Errors
    /// As [`Steps::advance`], and as the run's.
    pub fn step(&mut self, input: Option<Input>) -> Result<Option<Chunk>, Arc<Error>> {
        self.advance(input).map_err(Arc::new)?;
        loop {
            match self.poll() {
                Poll::Ready(chunk) => {
                    // The library is still on its way out of the run; what follows needs it paused.
                    while !self.is_paused() && !self.handle().has_ended() {
                        let _ = self.handle().wait(Duration::from_secs(1));
                    }
                    return Ok(Some(chunk));
                }
                Poll::Ended(Ok(())) => return Ok(None),
                Poll::Ended(Err(error)) => return Err(error),
                Poll::Nothing => {
                    self.handle().refuse_questions();
                    let _ = self.handle().wait(Duration::from_secs(3600));
                }
            }
        }
    }

    /// A descriptor that becomes readable once when something comes; `None` when something is there.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn arm(&mut self) -> std::io::Result<Option<std::os::fd::RawFd>> {
        self.stream.arm()
    }

    /// The whole answer, if the steps have ended.
    pub fn generation(&mut self) -> Option<Result<Generation, Arc<Error>>> {
        self.stream.generation()
    }

    /// What has come so far: text and token ids.
    #[must_use]
    pub fn so_far(&self) -> (String, Vec<i32>) {
        self.stream.so_far()
    }

    /// Ends the steps; the model serves others again.
    pub fn close(&mut self) {
        self.handle().cancel();
        self.end();
    }

    fn end(&mut self) {
        if self.begun && !std::mem::replace(&mut self.over, true) {
            self.shared.state.steps_end(self.caller);
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.close();
    }
}

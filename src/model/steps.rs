//! A run, token by token: paused after each, to look and to intervene.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Rows;
use crate::engine::{Caller, Shared};
use crate::error::Error;
use crate::model::stream::{Poll, StreamHandle, TokenStream};
use crate::model::{Model, check_input};
use crate::native::RunSpec;
use crate::protocol::config::Effective;
use crate::protocol::input::Input;
use crate::protocol::output::{Chunk, Generation};
use crate::runtime::Runtime;

/// A run that pauses after each token; dropping it ends it.
///
/// The library keeps the KV cache while it is paused, and what the next run brings takes the place of
/// the token that was given last: to go on as if nothing had happened is to send that token.
pub struct Steps {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    effective: Effective,
    spec: RunSpec,
    rows: Rows,
    stream: TokenStream,
    /// Who takes the tokens, from the first one on.
    caller: Option<Caller>,
    begun: bool,
    over: bool,
    /// Tokens given so far, and the last one.
    given: usize,
    last: Option<i32>,
    limit: usize,
}

impl Steps {
    pub(crate) fn new(model: &Model, spec: RunSpec, rows: Rows, stream: TokenStream) -> Self {
        let limit = usize::try_from(spec.max_new_tokens).unwrap_or(0);
        Self {
            runtime: Arc::clone(&model.runtime),
            shared: Arc::clone(&model.shared),
            effective: model.effective,
            spec,
            rows,
            stream,
            caller: None,
            begun: false,
            over: false,
            given: 0,
            last: None,
            limit,
        }
    }

    /// Says who takes the tokens, where it is a task and not the thread that calls [`Steps::advance`]
    /// first: other runs of his would wait for these steps, and fail with [`Error::Busy`] instead.
    pub fn set_caller(&mut self, caller: Caller) {
        if !self.begun {
            self.caller = Some(caller);
        }
    }

    /// Whether it is known who takes the tokens.
    #[must_use]
    pub fn has_caller(&self) -> bool {
        self.caller.is_some()
    }

    /// Whether the first token has been asked for.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
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
        if self.handle().is_forked() {
            return Err(Error::Forked);
        }
        if !self.begun {
            if input.is_some() {
                return Err(Error::invalid_with_hint(
                    "input",
                    "the first token has not been computed yet",
                    "Take a token first; then send what is to come in its place.",
                ));
            }
            let caller = *self.caller.get_or_insert_with(Caller::thread);
            self.shared.state.check_steps(Some(caller))?;
            self.shared.state.steps_begin(caller, &self.rows[0]);
            let begun = self.shared.submit(self.spec.clone(), &self.rows);
            if begun.is_err() {
                self.shared.state.steps_end(&self.rows[0]);
            }
            self.begun = begun.is_ok();
            return begun;
        }
        if self.handle().has_ended() {
            return Ok(());
        }
        if self.rows[0].is_resting() && self.stream.has_unread() {
            // A reader that was cancelled has not taken it.
            return match input {
                None => Ok(()),
                Some(_) => Err(Error::invalid_with_hint(
                    "input",
                    "a token has been computed and not been taken yet",
                    "Take it first; then send what is to come in its place.",
                )),
            };
        }
        if !self.rows[0].is_resting() {
            let hint = "Wait for the token first.";
            return Err(Error::invalid_with_hint(
                "input",
                "the model is computing",
                hint,
            ));
        }
        self.shared.desk.check_callbacks()?;
        if let Some(input) = &input {
            check_input(&self.runtime, &self.shared, &self.effective, input)?;
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

    /// The token that the model has computed, without waiting: there when the library has paused, so
    /// that it can be asked and advanced at once. Its text may be empty, where it completes no character.
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
                Poll::Ready(chunk) => return Ok(Some(chunk)),
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
        if self.begun && !self.handle().is_forked() && !std::mem::replace(&mut self.over, true) {
            self.shared.state.steps_end(&self.rows[0]);
            self.shared.look();
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.close();
    }
}

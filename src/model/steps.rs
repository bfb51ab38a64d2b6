//! A run, token by token: paused after each, to look and to intervene.

use std::sync::Arc;

use super::state::{Caller, ModelState};
use crate::client::{Client, Inbox};
use crate::client::{Handle, Poll, Source};
use crate::model::stream::TokenStream;
use crate::model::{Model, check_input};
use crate::protocol::config::Effective;
use crate::protocol::error::Failure;
use crate::protocol::input::Input;
use crate::protocol::message::{Command, RunSpec, Terms};
use crate::protocol::output::{Chunk, Generation, TokenLogprob};
use crate::runtime::Runtime;

/// A run that pauses after each token; dropping it ends it.
///
/// The library keeps the KV cache while it is paused, and what the next run brings takes the place of
/// the token that was given last: to go on as if nothing had happened is to send that token.
pub struct Steps {
    runtime: Arc<Runtime>,
    client: Arc<Client>,
    state: Arc<ModelState>,
    effective: Effective,
    spec: (RunSpec, Terms),
    inbox: Arc<Inbox>,
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
    pub(crate) fn new(
        model: &Model,
        spec: RunSpec,
        terms: Terms,
        inbox: Arc<Inbox>,
        stream: TokenStream,
    ) -> Self {
        let limit = usize::try_from(spec.max_new_tokens).unwrap_or(0);
        Self {
            runtime: Arc::clone(&model.runtime),
            client: Arc::clone(&model.client),
            state: Arc::clone(&model.state),
            effective: model.effective,
            spec: (spec, terms),
            inbox,
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
    /// first: other runs of his would wait for these steps, and fail with `ErrorKind::Busy` instead.
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

    /// Whether the model waits for [`Steps::advance`] before it computes the next token.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        !self.begun || self.inbox.is_resting()
    }

    /// Lets the model compute one more token: from `input`, which takes the place of the token given
    /// last, or from that token.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if the model is not paused, or `input` is given before the first
    /// token; `ErrorKind::Closed`; `ErrorKind::UnsupportedFeature` and others as [`crate::Model::stream`].
    pub fn advance(&mut self, input: Option<Input>) -> Result<(), Failure> {
        if self.handle().is_forked() {
            return Err(Failure::forked());
        }
        if !self.begun {
            if input.is_some() {
                return Err(Failure::invalid_with_hint(
                    "input",
                    "cannot be sent before the first token",
                    "Read a token first, then send its replacement.",
                ));
            }
            if self.handle().has_ended() {
                // Closed before its first token.
                return Ok(());
            }
            let caller = *self.caller.get_or_insert_with(Caller::thread);
            self.state.check_steps(Some(caller))?;
            self.state.steps_begin(caller, &self.inbox);
            let (spec, terms) = self.spec.clone();
            let begun = self.client.begin(spec, terms, &[Arc::clone(&self.inbox)]);
            if begun.is_err() {
                self.state.steps_end(&self.inbox);
            }
            self.begun = begun.is_ok();
            return begun;
        }
        if self.handle().has_ended() {
            return Ok(());
        }
        if self.inbox.is_resting() && self.stream.has_unread() {
            // A reader that was cancelled has not taken it.
            return match input {
                None => Ok(()),
                Some(_) => Err(Failure::invalid_with_hint(
                    "input",
                    "cannot be sent before the computed token has been read",
                    "Read the token first, then send its replacement.",
                )),
            };
        }
        if !self.inbox.is_resting() {
            let hint = "Wait for the next token first.";
            return Err(Failure::invalid_with_hint(
                "input",
                "cannot be sent while the model is computing a token",
                hint,
            ));
        }
        self.client.check_callbacks()?;
        if let Some(input) = &input {
            check_input(&self.runtime, &self.client.info(), &self.effective, input)?;
        }
        let Some(input) = input.or(self.last.map(|id| Input::Tokens(vec![id]))) else {
            return Ok(());
        };
        let max_new_tokens = if self.limit > 0 {
            // The library counts anew in each run.
            i32::try_from(self.limit.saturating_sub(self.given).max(1)).unwrap_or(i32::MAX)
        } else {
            0
        };
        self.inbox.leave_rest();
        self.client.tell(Command::Resume {
            run: self.inbox.run(),
            input,
            max_new_tokens,
        })
    }

    /// The next token, waited for; `input` as for [`Steps::advance`].
    ///
    /// # Errors
    /// As [`Steps::advance`], and as the run's.
    pub fn step(&mut self, input: Option<Input>) -> Result<Option<Chunk>, Arc<Failure>> {
        self.advance(input).map_err(Arc::new)?;
        self.wait_next()
    }

    /// The whole answer, if the steps have ended.
    pub fn generation(&mut self) -> Option<Result<Generation, Arc<Failure>>> {
        self.stream.generation()
    }

    /// What has come so far: text and token ids.
    #[must_use]
    pub fn so_far(&self) -> (String, Vec<i32>) {
        self.stream.so_far()
    }

    /// As [`TokenStream::new_logprobs`].
    pub fn new_logprobs(&mut self) -> Option<&[TokenLogprob]> {
        self.stream.new_logprobs()
    }

    /// As [`TokenStream::logprobs`].
    #[must_use]
    pub fn logprobs(&self) -> Option<&[TokenLogprob]> {
        self.stream.logprobs()
    }

    /// Ends the steps; the model serves others again.
    pub fn close(&mut self) {
        self.handle().cancel();
        self.end();
    }

    fn end(&mut self) {
        if self.begun && !self.handle().is_forked() && !std::mem::replace(&mut self.over, true) {
            self.state.steps_end(&self.inbox);
            // A model that is closed has nothing left to see to.
            drop(self.client.tell(Command::Look));
        }
    }
}

impl Source for Steps {
    type Item = Chunk;

    /// The token that the model has computed, without waiting: there when the library has paused, so
    /// that it can be asked and advanced at once. Its text may be empty, where it completes no character.
    fn poll(&mut self) -> Poll<Chunk> {
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

    fn handle(&self) -> &Handle {
        self.stream.handle()
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.close();
    }
}

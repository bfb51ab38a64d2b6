//! From a request's input to what is computed first.

use super::{EMBEDDING, Reuse, Sequel, Session};
use crate::llama::Model;
use crate::request::{Content, Input, Request, Role};
use crate::template::{Place, Template, Turn};

/// What one lane has to compute before its first token.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    pub(super) tokens: Vec<i32>,
    /// After the tokens: rows of the model's width.
    pub(super) embeddings: Vec<f32>,
    /// Tokens at the start that the run before has left to compute; the input did not bring them.
    pub(super) carried: usize,
}

/// The tokens of a text that starts a context.
pub(crate) fn first_tokens(
    model: &Model,
    template: &Template,
    turn: Turn<'_>,
) -> Result<Vec<i32>, String> {
    let text = template.render(Place::First, turn)?;
    model
        .tokens(&text, true)
        .ok_or_else(|| "the prompt cannot be tokenized".into())
}

/// The tokens before the first turn.
pub(crate) fn system_tokens(model: &Model, template: &Template) -> Vec<i32> {
    model
        .tokens(&template.system_text(), true)
        .unwrap_or_default()
}

impl Session {
    /// Whether a request goes on from the cache.
    pub(super) fn continues(&self, request: &Request, reuse: Reuse) -> bool {
        match self.sequel {
            Sequel::Paused => true,
            Sequel::Conversation => request.keep_history && reuse != Reuse::None,
            Sequel::None => false,
        }
    }

    /// What each lane computes before its first token.
    pub(super) fn prompts(
        &self,
        request: &Request,
        template: &Template,
        continues: bool,
    ) -> Result<Vec<Prompt>, String> {
        (0..self.lanes.len())
            .map(|at| {
                let input = &request.inputs[at];
                let prompt = if continues {
                    self.follow_up(at, input, template)?
                } else {
                    self.opening(input, template)?
                };
                // Lanes of a paused batch that are to rest, for example since they have ended.
                let may_rest = self.sequel == Sequel::Paused && self.lanes.len() > 1;
                let rests = matches!(&input.content, Content::Tokens(given) if given.is_empty());
                if (prompt.is_empty() || rests) && !may_rest {
                    return Err("the input is empty".into());
                }
                Ok(prompt)
            })
            .collect::<Result<Vec<_>, String>>()
            .and_then(|prompts| {
                if prompts.iter().all(Prompt::is_empty) {
                    return Err("the input is empty".into());
                }
                Ok(prompts)
            })
    }

    fn opening(&self, input: &Input, template: &Template) -> Result<Prompt, String> {
        Ok(match &input.content {
            Content::Text(text) => {
                let turn = Turn {
                    role: input.role,
                    text,
                    thinking: input.thinking,
                };
                Prompt {
                    tokens: first_tokens(&self.model, template, turn)?,
                    ..Prompt::default()
                }
            }
            Content::Tokens(tokens) => Prompt {
                tokens: self.known(tokens)?,
                ..Prompt::default()
            },
            Content::Embeddings(values) => Prompt {
                embeddings: values.clone(),
                ..Prompt::default()
            },
        })
    }

    fn follow_up(&self, at: usize, input: &Input, template: &Template) -> Result<Prompt, String> {
        let paused = self.sequel == Sequel::Paused;
        let mut tokens = Vec::new();
        if let Some(pending) = self.lanes[at].pending {
            let text = matches!(input.content, Content::Text(_));
            if !pending.ends || (text && template.keeps_end_mark()) {
                tokens.push(pending.token);
            }
        }
        let carried = tokens.len();
        let mut embeddings = Vec::new();
        match &input.content {
            Content::Text(text) => {
                let turn = Turn {
                    role: input.role,
                    text,
                    thinking: input.thinking,
                };
                // A paused answer is not at its end: what the caller adds belongs into it, unless it
                // is the result of a tool, which is a turn of its own.
                let text = if paused && input.role == Role::User {
                    text.clone()
                } else {
                    template.render(Place::AfterAnswer, turn)?
                };
                tokens.extend(
                    self.model
                        .tokenize(&text)
                        .ok_or("the prompt cannot be tokenized")?,
                );
            }
            Content::Tokens(given) => tokens.extend(self.known(given)?),
            Content::Embeddings(values) => embeddings.clone_from(values),
        }
        Ok(Prompt {
            tokens,
            embeddings,
            carried,
        })
    }

    fn known(&self, tokens: &[i32]) -> Result<Vec<i32>, String> {
        match tokens.iter().find(|&&token| !self.model.knows(token)) {
            Some(token) => Err(format!(
                "token {token} is not in the vocabulary of {}",
                self.model.vocabulary_size()
            )),
            None => Ok(tokens.to_vec()),
        }
    }
}

impl Prompt {
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.embeddings.is_empty()
    }

    /// Positions that the prompt takes.
    pub(super) fn length(&self, width: usize) -> usize {
        self.tokens.len() + self.embeddings.len() / width
    }

    /// What [`super::Lane::cache`] holds for the embeddings.
    pub(super) fn placeholders(count: usize) -> Vec<i32> {
        vec![EMBEDDING; count]
    }
}

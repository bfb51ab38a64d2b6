//! Computes prompts, and makes room in the cache.

use super::blocks::{self, BLOCK};
use super::input::Prompt;
use super::{Following, Reuse, Session, common};
use crate::llama::{Decoded, Outputs};
use crate::request::{Mode, Request};

/// What a prompt that stands alone may take from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// What the prompt's own computing would give, bit for bit.
    Blocks,
    Held,
}

/// How a prompt's computing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefilled {
    Done,
    Aborted,
}

impl Session {
    /// Refuses prompts that can never fit, before any lane is touched.
    pub(super) fn check_lengths(&self, prompts: &[Prompt]) -> Result<(), String> {
        let lengths = prompts
            .iter()
            .map(|prompt| prompt.length(self.model.embedding_width()));
        match lengths.max() {
            Some(longest) if longest > self.options.max_context_len => Err(self.too_long(longest)),
            _ => Ok(()),
        }
    }

    fn too_long(&self, length: usize) -> String {
        let limit = self.options.max_context_len;
        format!("prompt is too long: {length} tokens exceed max_context_len {limit}")
    }

    /// What a run that stands alone may take from the cache.
    pub(super) fn takes(&self, request: &Request, following: Following) -> Takes {
        if request.mode != Mode::Generate {
            // The values of all positions are wanted.
            return Takes::Nothing;
        }
        let sampling = request.sampling.unwrap_or(self.options.sampling);
        match following.reuse {
            Reuse::None => Takes::Nothing,
            Reuse::Auto if following.seed.is_some() || sampling.is_greedy() => Takes::Blocks,
            Reuse::Auto | Reuse::Held => Takes::Held,
        }
    }

    /// Takes over what the cache has in common with a prompt that stands alone, or makes room behind
    /// a conversation. Returns how many of the prompt's tokens need no computing.
    pub(super) fn make_ready(
        &mut self,
        at: usize,
        prompt: &Prompt,
        takes: Takes,
        continues: bool,
        spared: usize,
    ) -> Result<usize, String> {
        let length = prompt.length(self.model.embedding_width());
        if continues {
            let room = self.options.max_context_len;
            let over = (self.lanes[at].cache.len() + length).saturating_sub(room);
            if over > 0 && !self.shift(at, over, spared) {
                return Err(self.too_long(length));
            }
            return Ok(0);
        }
        // The last token must be computed, since the cache holds no logits.
        let lane = &self.lanes[at];
        let most = prompt
            .tokens
            .len()
            .saturating_sub(usize::from(prompt.embeddings.is_empty()));
        let same = common(&lane.cache[..lane.sound], &prompt.tokens).min(most);
        let reused = match takes {
            Takes::Nothing => 0,
            Takes::Blocks => lane.exact(same),
            Takes::Held => same,
        };
        self.cut_back(at, reused);
        self.lanes[at].forget();
        // Some models cannot keep a part, and have dropped all.
        Ok(self.lanes[at].cache.len())
    }

    /// Drops at least `need` positions after the first `spared` ones; false if there are not as many
    /// or this kind of model cannot do that.
    pub(super) fn shift(&mut self, at: usize, need: usize, spared: usize) -> bool {
        let used = self.lanes[at].cache.len();
        let spared = self.options.n_keep.unwrap_or(spared).min(used);
        if used - spared < need || !self.context.can_shift() {
            return false;
        }
        // Half of what may go, so that a long answer does not shift at every token.
        let dropped = need.max((used - spared) / 2);
        if !self.context.cut(at as i32, spared, spared + dropped) {
            return false;
        }
        let lane = &mut self.lanes[at];
        lane.cache.drain(spared..spared + dropped);
        lane.sound_up_to(spared);
        true
    }

    /// Computes the part of a prompt from `from` on, collecting values where the mode wants them.
    pub(super) fn prefill(
        &mut self,
        at: usize,
        prompt: &Prompt,
        from: usize,
        mode: Mode,
        values: &mut Vec<f32>,
    ) -> Result<Prefilled, String> {
        let width = self.model.embedding_width();
        let mut pieces = Vec::new();
        let mut rest = &prompt.tokens[from..];
        while !rest.is_empty() {
            let whole = blocks::first(rest, |token| self.model.marks(token));
            let (piece, behind) = rest.split_at(whole.unwrap_or(rest.len()));
            pieces.push(Piece::Tokens(piece, whole.is_some()));
            rest = behind;
        }
        let embeddings = prompt.embeddings.chunks(BLOCK * width);
        pieces.extend(embeddings.map(Piece::Embeddings));
        let count = pieces.len();
        for (i, piece) in pieces.into_iter().enumerate() {
            if self.flag.stopping() {
                return Ok(Prefilled::Aborted);
            }
            let outputs = match mode {
                Mode::Generate if i + 1 == count => Outputs::Last,
                Mode::Generate => Outputs::None,
                Mode::HiddenStates | Mode::Logits => Outputs::All,
            };
            let start = self.lanes[at].cache.len();
            let (decoded, computed, whole) = match piece {
                Piece::Tokens(tokens, whole) => (
                    self.context.decode(at as i32, start, tokens, outputs),
                    tokens.to_vec(),
                    whole,
                ),
                Piece::Embeddings(values) => (
                    self.context
                        .decode_embeddings(at as i32, start, values, outputs),
                    Prompt::placeholders(values.len() / width),
                    false,
                ),
            };
            match decoded {
                Decoded::Done => self.lanes[at].push(&computed, whole),
                Decoded::Aborted => {
                    // What was finished before the abort stays in llama.cpp's cache.
                    let kept = self
                        .context
                        .used(at as i32)
                        .saturating_sub(start)
                        .min(computed.len());
                    self.lanes[at].push(&computed[..kept], false);
                    return Ok(Prefilled::Aborted);
                }
                Decoded::Full => return Err("the KV cache has no room".into()),
                Decoded::Failed(code) => {
                    return Err(format!("computing the prompt failed ({code})"));
                }
            }
            self.collect(mode, computed.len(), values)?;
        }
        Ok(Prefilled::Done)
    }

    fn collect(&mut self, mode: Mode, count: usize, values: &mut Vec<f32>) -> Result<(), String> {
        for i in 0..count as i32 {
            let lane: &[f32] = match mode {
                Mode::Generate => return Ok(()),
                Mode::HiddenStates => self.context.hidden_state(i).ok_or("no hidden states")?,
                Mode::Logits => self.context.logits(i).ok_or("no logits")?,
            };
            values.extend_from_slice(lane);
        }
        Ok(())
    }
}

enum Piece<'a> {
    /// With whether it is a whole block.
    Tokens(&'a [i32], bool),
    Embeddings(&'a [f32]),
}

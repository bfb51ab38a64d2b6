//! Computes prompts, and makes room in the cache.

use std::ops::Range;

use super::input::Prompt;
use super::{Session, common};
use crate::llama::{Decoded, Outputs};
use crate::request::Mode;

/// From so many positions on, llama.cpp's attention sums in another order, which shows in the last
/// digits and now and then in a word.
const WIDE: usize = 64;

/// The positions of each decode. A large vocabulary makes logits large, so that they are taken in
/// smaller pieces: such that each position is summed as in a whole chunk.
fn cut(length: usize, chunk: usize, mode: Mode) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < length {
        let chunk_end = length.min(start - start % chunk + chunk);
        let end = if mode == Mode::Logits && chunk_end - start >= 2 * WIDE {
            start + WIDE
        } else {
            chunk_end
        };
        pieces.push(start..end);
        start = end;
    }
    pieces
}

/// How a prompt's computing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefilled {
    Done,
    Aborted,
}

impl Session {
    /// Refuses prompts that can never fit, before any row is touched.
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

    /// Takes over what the cache has in common with a prompt that stands alone, or makes room behind
    /// a conversation. Returns how many of the prompt's tokens need no computing.
    pub(super) fn make_ready(
        &mut self,
        at: usize,
        prompt: &Prompt,
        mode: Mode,
        continues: bool,
        spared: usize,
    ) -> Result<usize, String> {
        let length = prompt.length(self.model.embedding_width());
        if continues {
            let room = self.options.max_context_len;
            let over = (self.rows[at].cache.len() + length).saturating_sub(room);
            if over > 0 && !self.shift(at, over, spared) {
                return Err(self.too_long(length));
            }
            return Ok(0);
        }
        // All positions' values are wanted in the other modes, so none may come from the cache; and
        // the last token must be computed, since the cache holds no logits.
        let row = &self.rows[at];
        let reused = if mode == Mode::Generate {
            let most = prompt.tokens.len()
                - if prompt.embeddings.is_empty() {
                    self.least_computed(length)
                } else {
                    0
                };
            common(&row.cache[..row.reusable], &prompt.tokens).min(most)
        } else {
            0
        };
        self.cut_back(at, reused);
        self.rows[at].forget();
        // Some models cannot keep a part, and have dropped all.
        Ok(self.rows[at].cache.len())
    }

    /// How many positions at the end of a prompt are computed even if the cache has them: so many that
    /// they are summed as in the first run, and a repeated prompt gives the same answer.
    fn least_computed(&self, length: usize) -> usize {
        let in_last_chunk = (length - 1) % self.context.chunk() + 1;
        if in_last_chunk >= WIDE { WIDE } else { 1 }
    }

    /// Drops at least `need` positions after the first `spared` ones; false if there are not as many
    /// or this kind of model cannot do that.
    pub(super) fn shift(&mut self, at: usize, need: usize, spared: usize) -> bool {
        let used = self.rows[at].cache.len();
        let spared = self.options.n_keep.unwrap_or(spared).min(used);
        if used - spared < need || !self.context.can_shift() {
            return false;
        }
        // Half of what may go, so that a long answer does not shift at every token.
        let dropped = need.max((used - spared) / 2);
        if !self.context.cut(at as i32, spared, spared + dropped) {
            return false;
        }
        let row = &mut self.rows[at];
        row.cache.drain(spared..spared + dropped);
        row.reusable = row.reusable.min(spared);
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
        let chunk = self.context.chunk();
        let tokens = &prompt.tokens[from..];
        let embeddings = &prompt.embeddings;
        let pieces: Vec<_> = cut(tokens.len(), chunk, mode)
            .into_iter()
            .map(|at| Piece::Tokens(&tokens[at]))
            .chain(
                cut(embeddings.len() / width, chunk, mode)
                    .into_iter()
                    .map(|at| Piece::Embeddings(&embeddings[at.start * width..at.end * width])),
            )
            .collect();
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
            let start = self.rows[at].cache.len();
            let (decoded, computed) = match piece {
                Piece::Tokens(tokens) => (
                    self.context.decode(at as i32, start, tokens, outputs),
                    tokens.to_vec(),
                ),
                Piece::Embeddings(values) => (
                    self.context
                        .decode_embeddings(at as i32, start, values, outputs),
                    Prompt::placeholders(values.len() / width),
                ),
            };
            match decoded {
                Decoded::Done => self.rows[at].push(&computed),
                Decoded::Aborted => {
                    // What was finished before the abort stays in llama.cpp's cache.
                    let kept = self
                        .context
                        .used(at as i32)
                        .saturating_sub(start)
                        .min(computed.len());
                    self.rows[at].push(&computed[..kept]);
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
            let row: &[f32] = match mode {
                Mode::Generate => return Ok(()),
                Mode::HiddenStates => self.context.hidden_state(i).ok_or("no hidden states")?,
                Mode::Logits => self.context.logits(i).ok_or("no logits")?,
            };
            values.extend_from_slice(row);
        }
        Ok(())
    }
}

enum Piece<'a> {
    Tokens(&'a [i32]),
    Embeddings(&'a [f32]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(length: usize, mode: Mode) -> Vec<usize> {
        cut(length, 512, mode)
            .into_iter()
            .map(|at| at.len())
            .collect()
    }

    #[test]
    fn logits_come_in_pieces_that_are_all_wide_or_all_narrow() {
        assert_eq!(lengths(0, Mode::Logits), [0; 0]);
        assert_eq!(lengths(63, Mode::Logits), [63]);
        assert_eq!(lengths(127, Mode::Logits), [127]);
        assert_eq!(lengths(128, Mode::Logits), [64, 64]);
        assert_eq!(lengths(300, Mode::Logits), [64, 64, 64, 108]);
        assert_eq!(lengths(520, Mode::Logits)[7..], [64, 8]);
        assert_eq!(lengths(520, Mode::Generate), [512, 8]);
        assert_eq!(lengths(1024, Mode::HiddenStates), [512, 512]);
        for length in [1, 64, 200, 511, 512, 513, 700, 1500] {
            let pieces = cut(length, 512, Mode::Logits);
            assert!(pieces.windows(2).all(|two| two[0].end == two[1].start));
            assert_eq!((pieces[0].start, pieces[pieces.len() - 1].end), (0, length));
        }
    }
}

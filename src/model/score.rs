//! What is computed from rows: probabilities of tokens, embeddings of texts.

use crate::host::FloatBlock;
use crate::protocol::error::Failure;
use crate::protocol::output::RowsKind;

/// How likely a model holds a continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Natural logarithm of each token's probability, given all before it.
    pub logprobs: Vec<f64>,
}

impl Score {
    /// Natural logarithm of the probability of the whole continuation.
    #[must_use]
    pub fn logprob(&self) -> f64 {
        self.logprobs.iter().sum()
    }

    /// e to the negative mean of the logarithms: 1 is certainty, the size of the vocabulary is chance.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        (-self.logprob() / self.logprobs.len() as f64).exp()
    }
}

/// The logarithm of the probability of `token` under a row of logits.
fn logprob(row: &[f32], token: usize) -> f64 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|logit| f64::from(logit - top).exp()).sum();
    f64::from(row[token] - top) - sum.ln()
}

/// Scores a continuation by the logits of a run, block by block as they come: no row is kept.
#[derive(Debug)]
pub struct Scorer {
    /// What was before it, and the continuation.
    ids: Vec<i32>,
    before: usize,
    /// How many rows have come.
    rows: usize,
    logprobs: Vec<f64>,
}

impl Scorer {
    /// For the last `continuation` of `ids`.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if there is no token before the continuation, or none in it.
    pub fn new(ids: Vec<i32>, continuation: usize) -> Result<Self, Failure> {
        let before = ids.len().saturating_sub(continuation);
        let empty = [("prompt", before), ("continuation", continuation)];
        if let Some((name, _)) = empty.into_iter().find(|(_, count)| *count == 0) {
            return Err(Failure::invalid_with_hint(
                name,
                "must have at least one token",
                "Pass texts that are not empty: a token's probability depends on the tokens before it.",
            ));
        }
        Ok(Self {
            ids,
            before,
            rows: 0,
            logprobs: Vec::with_capacity(continuation),
        })
    }

    /// Takes the next rows of logits.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for a token outside the vocabulary; `ErrorKind::Generation` if the library gave
    /// something else than logits, or of more positions than there are tokens.
    pub fn add(&mut self, logits: &FloatBlock) -> Result<(), Failure> {
        let first = self.rows;
        self.rows += logits.rows();
        if logits.kind != RowsKind::Logits || self.rows > self.ids.len() {
            return Err(self.unfit());
        }
        let width = logits.width();
        logits.with(|values| {
            for (at, row) in (first..).zip(values.chunks_exact(width)) {
                // The row of a position tells of the token behind it.
                let Some(id) = self.ids.get(at + 1).filter(|_| at + 1 >= self.before) else {
                    continue;
                };
                let token = usize::try_from(*id).ok().filter(|id| *id < width);
                let token = token.ok_or_else(|| {
                    Failure::invalid_with_hint(
                        "continuation",
                        format!("has the token id {id}, but the vocabulary size is {width}"),
                        "Use ids from the model's own tokenizer.",
                    )
                })?;
                self.logprobs.push(logprob(row, token));
            }
            Ok(())
        })
    }

    /// The score, when all rows have come.
    ///
    /// # Errors
    /// `ErrorKind::Generation` if the library gave fewer rows than tokens.
    pub fn finish(&self) -> Result<Score, Failure> {
        if self.rows != self.ids.len() {
            return Err(self.unfit());
        }
        Ok(Score {
            logprobs: self.logprobs.clone(),
        })
    }

    fn unfit(&self) -> Failure {
        let (rows, ids) = (self.rows, self.ids.len());
        let reason = format!("the runtime returned logits of {rows} positions for {ids} tokens");
        Failure::of_run(&reason)
    }
}

/// How the hidden states of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The state of the last position.
    Last,
    /// The mean of all positions.
    Mean,
}

impl Pooling {
    /// What an argument can be.
    pub const CHOICES: &str = r#""last" or "mean""#;

    /// By its name, "last" or "mean".
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` for any other.
    pub fn named(name: &str) -> Result<Self, Failure> {
        match name {
            "last" => Ok(Self::Last),
            "mean" => Ok(Self::Mean),
            _ => Err(Failure::choice(
                "pooling",
                Self::CHOICES,
                format_args!("{name:?}"),
            )),
        }
    }
}

/// One vector for each block of hidden states, one below the other; of length 1 if `normalize`.
///
/// # Errors
/// `ErrorKind::InvalidArgument` if there are none, or they differ in width.
pub fn pool(
    blocks: &[FloatBlock],
    pooling: Pooling,
    normalize: bool,
) -> Result<FloatBlock, Failure> {
    let width = blocks.first().map_or(0, FloatBlock::width);
    let unfit = |block: &FloatBlock| block.width() != width || block.rows() == 0;
    if width == 0 || blocks.iter().any(unfit) {
        return Err(Failure::invalid_with_hint(
            "texts",
            "must contain something to embed",
            "Pass at least one text that is not empty.",
        ));
    }
    let mut all = Vec::with_capacity(blocks.len() * width);
    for block in blocks {
        let mut vector = vec![0.0_f64; width];
        block.with(|values| {
            let first = match pooling {
                Pooling::Last => block.rows() - 1,
                Pooling::Mean => 0,
            };
            let rows = values.chunks_exact(width).skip(first);
            let count = (block.rows() - first) as f64;
            for row in rows {
                for (sum, value) in vector.iter_mut().zip(row) {
                    *sum += f64::from(*value) / count;
                }
            }
        });
        let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        let scale = if normalize && length > 0.0 {
            length
        } else {
            1.0
        };
        all.extend(vector.iter().map(|value| (value / scale) as f32));
    }
    Ok(FloatBlock::new(RowsKind::HiddenStates, all, blocks.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::ErrorKind;

    fn block(kind: RowsKind, rows: usize, values: &[f32]) -> FloatBlock {
        FloatBlock::new(kind, values.to_vec(), rows)
    }

    fn score(blocks: &[FloatBlock], ids: &[i32], continuation: usize) -> Result<Score, Failure> {
        let mut scorer = Scorer::new(ids.to_vec(), continuation)?;
        blocks.iter().try_for_each(|block| scorer.add(block))?;
        scorer.finish()
    }

    #[test]
    fn probabilities_follow_the_softmax() {
        // Equal logits: each of four tokens has a quarter, whatever their size.
        let row = |logit| block(RowsKind::Logits, 1, &[logit; 4]);
        let whole = block(
            RowsKind::Logits,
            2,
            &[1e30, 1e30, 1e30, 1e30, 0.0, 0.0, 0.0, 0.0],
        );
        for blocks in [vec![whole], vec![row(1e30), row(0.0)]] {
            let score = score(&blocks, &[0, 3], 1).unwrap();
            assert_eq!(score.logprobs.len(), 1);
            assert!((score.logprobs[0] - 0.25_f64.ln()).abs() < 1e-12);
            assert!((score.perplexity() - 4.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_cannot_be_scored_is_told() {
        let logits = block(RowsKind::Logits, 2, &[0.0; 8]);
        for (ids, continuation) in [(vec![0, 1], 2), (vec![0, 1], 0), (vec![0, 4], 1)] {
            let error = score(std::slice::from_ref(&logits), &ids, continuation).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument, "{error}");
        }
        for blocks in [vec![logits.clone()], vec![logits.clone(), logits.clone()]] {
            let error = score(&blocks, &[0, 1, 2], 1).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Generation, "{error}");
        }
    }

    #[test]
    fn vectors_are_pooled_and_normalised() {
        let states = block(RowsKind::HiddenStates, 2, &[1.0, 0.0, 3.0, 4.0]);
        let pooled = |pooling, normalize| {
            let one = pool(std::slice::from_ref(&states), pooling, normalize).unwrap();
            one.with(<[f32]>::to_vec)
        };
        assert_eq!(pooled(Pooling::Last, false), [3.0, 4.0]);
        assert_eq!(pooled(Pooling::Mean, false), [2.0, 2.0]);
        assert_eq!(pooled(Pooling::Last, true), [0.6, 0.8]);
        assert!(pool(&[], Pooling::Last, true).is_err());
    }
}

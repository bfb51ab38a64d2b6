//! Chooses the tokens of one lane beside the library, from the logits of each position, and tells how likely they
//! are.

use std::sync::Arc;

use rkllm_text::constraint::Vocabulary;
use rkllm_text::sampler::{Sampler, highest, likeliest, log_sum_exp};

use super::RunLanes;
use crate::native::{Lane as _, NativeModel};
use crate::protocol::error::Failure;
use crate::protocol::output::{TokenLogprob, TopLogprob};
use crate::protocol::question::Question;
use crate::protocol::sampling::{Choosing, unknown_token};

/// Gives each lane of a run its chooser, if it is to have one and has none yet. The library's tokens are asked for
/// where they are not known otherwise.
pub(super) fn give(
    model: &NativeModel,
    lanes: &RunLanes,
    known: Option<Arc<Vocabulary>>,
) -> Result<(), Failure> {
    let Some(choosing) = lanes[0].choosing() else {
        return Ok(());
    };
    let vocabulary = match (known, choosing.logprobs) {
        (Some(known), _) => Some(known),
        (None, Some(_)) => Some(model.vocabulary()?),
        (None, None) => None,
    };
    for lane in lanes.iter().filter(|lane| !lane.has_ended()) {
        let number = lane.number() as u64;
        lane.choose_by(|| Chooser::new(choosing, number, vocabulary.clone()));
    }
    Ok(())
}

/// How likely the tokens of a row are.
#[derive(Default)]
struct Row {
    logits: Vec<f32>,
    log_total: f64,
}

/// The chooser of one lane.
pub(super) struct Chooser {
    choosing: Choosing,
    sampler: Sampler,
    vocabulary: Option<Arc<Vocabulary>>,
    /// The tokens that the sampler knows of.
    made: Vec<i32>,
    /// What has come since the last row.
    came: Vec<i32>,
    /// The row as the model gave it, where its tokens are to be told.
    row: Option<Row>,
    /// The token that was chosen last.
    likely: Option<TokenLogprob>,
}

impl Chooser {
    fn new(choosing: &Choosing, lane: u64, vocabulary: Option<Arc<Vocabulary>>) -> Self {
        // As the CPU runtime does it: equal prompts must not all be answered alike.
        let seed = choosing.seed.map(|seed| seed.wrapping_add(lane));
        Self {
            sampler: Sampler::new(choosing.sampling, seed),
            choosing: choosing.clone(),
            vocabulary,
            made: Vec::new(),
            came: Vec::new(),
            row: None,
            likely: None,
        }
    }

    /// Takes the next row: from here on it may be changed.
    pub(super) fn begin(&mut self, logits: &mut [f32]) -> Result<(), Failure> {
        for token in self.came.drain(..) {
            self.sampler.accept(token);
            self.made.push(token);
        }
        if self.choosing.logprobs.is_some() {
            // Its memory is that of the row before.
            let mut row = self.row.take().unwrap_or_default();
            row.log_total = log_sum_exp(logits);
            row.logits.clear();
            row.logits.extend_from_slice(logits);
            self.row = Some(row);
        }
        let size = logits.len();
        for &(token, bias) in &self.choosing.bias {
            let at = usize::try_from(token).ok();
            let logit = at.and_then(|at| logits.get_mut(at));
            *logit.ok_or_else(|| unknown_token(token, size))? += bias;
        }
        Ok(())
    }

    /// What the program is asked about a row, if anything.
    pub(super) fn question(&self, logits: &[f32]) -> Option<Question> {
        let processor = self.choosing.processor?;
        Some(Question::Logits {
            processor,
            token_ids: self.made.clone(),
            row: logits.to_vec(),
        })
    }

    /// Chooses a token from a row that was changed.
    pub(super) fn choose(&mut self, logits: &mut [f32]) -> Result<i32, Failure> {
        let top = highest(logits);
        if top == f32::INFINITY {
            // These and no others.
            for logit in &mut *logits {
                *logit = if *logit >= top {
                    0.0
                } else {
                    f32::NEG_INFINITY
                };
            }
        } else if !top.is_finite() {
            return Err(
                Failure::of_run("no token is left to choose from").with_hint(
                    "Leave at least one token a logit that is a number above -inf: see logits_processor and logit_bias.",
                ),
            );
        }
        let token = self.sampler.sample(logits);
        if let Some(row) = self.row.take() {
            self.likely = Some(self.told(&row, token));
            self.row = Some(row);
        }
        Ok(token)
    }

    fn told(&self, row: &Row, token: i32) -> TokenLogprob {
        let one = |(token_id, logit): (i32, f32)| TopLogprob {
            token_id,
            logprob: (f64::from(logit) - row.log_total) as f32,
            bytes: self.text(token_id),
        };
        let logit = row.logits.get(token as usize).copied();
        let n = self.choosing.logprobs.unwrap_or(0);
        TokenLogprob {
            token: one((token, logit.unwrap_or(f32::NEG_INFINITY))),
            top: likeliest(&row.logits, n).into_iter().map(one).collect(),
        }
    }

    fn text(&self, token: i32) -> Vec<u8> {
        let known = self.vocabulary.as_ref();
        let bytes = known.and_then(|known| known.bytes(token));
        bytes.unwrap_or_default().to_vec()
    }

    /// A token has come: how likely it was, where that is told.
    pub(super) fn came(&mut self, token: i32) -> Option<TokenLogprob> {
        self.came.push(token);
        self.likely
            .take()
            .filter(|likely| likely.token.token_id == token)
    }

    /// These stand in the place of the token that came last.
    pub(super) fn replaced_by(&mut self, tokens: &[i32]) {
        self.came.clear();
        self.came.extend_from_slice(tokens);
    }
}

/// Leaves nothing but `token` to choose from.
pub(super) fn leave_only(logits: &mut [f32], token: i32) {
    logits.fill(f32::NEG_INFINITY);
    if let Some(logit) = usize::try_from(token)
        .ok()
        .and_then(|at| logits.get_mut(at))
    {
        *logit = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sampling::Sampling;
    use rkllm_text::constraint::Kind;

    const GREEDY: Sampling = Sampling {
        top_k: 1,
        top_p: 1.0,
        temperature: 0.0,
        repeat_penalty: 2.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        mirostat: 0,
        mirostat_tau: 5.0,
        mirostat_eta: 0.1,
        min_p: 0.0,
        typical_p: 1.0,
    };

    fn chooser(change: impl FnOnce(&mut Choosing)) -> Chooser {
        let mut choosing = Choosing {
            sampling: GREEDY,
            seed: None,
            bias: Vec::new(),
            logprobs: None,
            processor: None,
        };
        change(&mut choosing);
        let mut vocabulary = Vocabulary::default();
        for word in ["a", "b", "c"] {
            vocabulary.push(Kind::Text, word.as_bytes());
        }
        Chooser::new(&choosing, 0, Some(Arc::new(vocabulary)))
    }

    fn chosen(chooser: &mut Chooser, logits: [f32; 3]) -> Result<i32, Failure> {
        let mut logits = logits;
        chooser.begin(&mut logits)?;
        chooser.choose(&mut logits)
    }

    #[test]
    fn a_bias_changes_what_is_chosen_and_not_what_is_told() {
        let mut chooser = chooser(|choosing| {
            choosing.bias = vec![(2, f32::NEG_INFINITY), (0, 2.0)];
            choosing.logprobs = Some(2);
        });
        assert_eq!(chosen(&mut chooser, [0.0, 1.0, 2.0]).unwrap(), 0);
        let told = chooser.came(0).unwrap();
        let total = (1.0 + 1_f32.exp() + 2_f32.exp()).ln();
        let near = |one: f32, other: f32| (one - other).abs() < 1e-5;
        assert!(near(told.token.logprob, -total), "{told:?}");
        assert_eq!(told.token.bytes, b"a");
        let ids: Vec<i32> = told.top.iter().map(|one| one.token_id).collect();
        assert_eq!(ids, [2, 1]);
        assert!(near(told.top[0].logprob, 2.0 - total));
    }

    #[test]
    fn what_has_come_counts_for_the_penalties() {
        let mut chooser = chooser(|_| {});
        assert_eq!(chosen(&mut chooser, [3.0, 2.0, 1.0]).unwrap(), 0);
        assert!(chooser.came(0).is_none());
        assert_eq!(chosen(&mut chooser, [3.0, 2.0, 1.0]).unwrap(), 1);
        chooser.came(1);
        chooser.replaced_by(&[2]);
        // Halved: the first, and the last, which took the place of the second.
        assert_eq!(chosen(&mut chooser, [3.0, 2.0, 3.0]).unwrap(), 1);
    }

    #[test]
    fn a_row_in_which_nothing_is_left_is_refused() {
        let mut none = chooser(|_| {});
        assert!(chosen(&mut none, [f32::NEG_INFINITY; 3]).is_err());
        assert!(chosen(&mut none, [f32::NAN; 3]).is_err());
        assert_eq!(chosen(&mut none, [9.0, f32::INFINITY, 0.0]).unwrap(), 1);
    }

    #[test]
    fn a_bias_for_a_token_that_is_not_there_names_it() {
        let mut chooser = chooser(|choosing| choosing.bias = vec![(3, 1.0)]);
        let refused = chosen(&mut chooser, [0.0; 3]).unwrap_err();
        assert!(refused.text.contains("logit_bias") && refused.text.contains('3'));
    }

    #[test]
    fn only_one_is_left() {
        let mut logits = [1.0, 2.0];
        leave_only(&mut logits, 0);
        assert_eq!(logits.map(f32::is_finite), [true, false]);
    }
}

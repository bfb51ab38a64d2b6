//! Chooses the next token from a row of logits.
//!
//! Our own instead of llama.cpp's chain: that one copies the whole vocabulary into candidates and
//! looks each one up in a hash map for the penalties, which costs more than a small model's layer.

mod likely;
mod random;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use self::likely::{descending, keep_best};
pub use self::likely::{highest, likeliest, log_sum_exp};
use self::random::{Random, any_seed};

/// How many of the run's last tokens the penalties look at. The prompt is not among them: its words
/// are often the very ones to answer with.
const PENALTY_WINDOW: usize = 64;
/// Candidates of mirostat 1 that estimate the shape of the distribution.
const MIROSTAT_SAMPLES: usize = 100;

/// The sampling fields of `RKLLMParam` and `RKLLMSamplingParam`, and two more, every value known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Only so many likeliest tokens.
    pub top_k: i32,
    /// Only the likeliest tokens that make up this share together.
    pub top_p: f32,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Divides the logits of recent tokens.
    pub repeat_penalty: f32,
    /// Taken off a logit for each time its token has come.
    pub frequency_penalty: f32,
    /// Taken off the logit of a token that has come.
    pub presence_penalty: f32,
    /// 0 is off, 1 and 2 are the versions of the paper.
    pub mirostat: i32,
    /// The surprise that mirostat aims at.
    pub mirostat_tau: f32,
    /// How fast mirostat learns.
    pub mirostat_eta: f32,
    /// Only tokens of at least this share of the likeliest token's probability; 0 is off.
    pub min_p: f32,
    /// Only the tokens whose surprise is the nearest to the expected one, which make up this share together; 1 is
    /// off.
    pub typical_p: f32,
}

/// What the C API has no fields for, switched off.
pub const MIN_P_OFF: f32 = 0.0;
/// As [`MIN_P_OFF`].
pub const TYPICAL_P_OFF: f32 = 1.0;

impl Sampling {
    /// Whether it always takes the likeliest token.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0 || (self.mirostat == 0 && (self.top_k == 1 || self.top_p <= 0.0))
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    logit: f32,
    token: i32,
}

/// The sampling state of one row, from the start of a run to its end; a pause is not the end.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Sampling,
    random: Random,
    recent: VecDeque<i32>,
    candidates: Vec<Candidate>,
    weights: Vec<f32>,
    /// Mirostat's running limit of surprise.
    mu: f32,
}

impl Sampler {
    /// A sampler at the start of a run; without a seed a random one.
    #[must_use]
    pub fn new(settings: Sampling, seed: Option<u64>) -> Self {
        Self {
            settings,
            random: Random::new(seed.unwrap_or_else(any_seed)),
            recent: VecDeque::with_capacity(PENALTY_WINDOW),
            candidates: Vec::new(),
            weights: Vec::new(),
            mu: 2.0 * settings.mirostat_tau,
        }
    }

    /// Goes on with the settings of another run. Mirostat learns anew if they are not the same.
    pub fn go_on_with(&mut self, settings: Sampling) {
        if settings != self.settings {
            self.settings = settings;
            self.mu = 2.0 * settings.mirostat_tau;
        }
    }

    /// Makes `token` count for the penalties.
    pub fn accept(&mut self, token: i32) {
        if self.recent.len() == PENALTY_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// Chooses a token; `logits` is changed by the penalties.
    pub fn sample(&mut self, logits: &mut [f32]) -> i32 {
        self.penalise(logits);
        let s = self.settings;
        if s.is_greedy() {
            return best(logits);
        }
        match s.mirostat {
            1 => self.mirostat_1(logits),
            2 => self.mirostat_2(logits),
            _ => self.cut_and_draw(logits),
        }
    }

    fn penalise(&self, logits: &mut [f32]) {
        let s = self.settings;
        #[allow(
            clippy::float_cmp,
            reason = "the exact values that switch a penalty off"
        )]
        if s.repeat_penalty == 1.0 && s.frequency_penalty == 0.0 && s.presence_penalty == 0.0 {
            return;
        }
        let mut counts: Vec<(i32, f32)> = Vec::with_capacity(self.recent.len());
        for &token in &self.recent {
            match counts.iter_mut().find(|(seen, _)| *seen == token) {
                Some((_, count)) => *count += 1.0,
                None => counts.push((token, 1.0)),
            }
        }
        for (token, count) in counts {
            let Some(logit) = usize::try_from(token)
                .ok()
                .and_then(|at| logits.get_mut(at))
            else {
                continue;
            };
            // Dividing a negative logit would favour what is to be penalised.
            *logit = if *logit > 0.0 {
                *logit / s.repeat_penalty
            } else {
                *logit * s.repeat_penalty
            };
            *logit -= count * s.frequency_penalty + s.presence_penalty;
        }
    }

    /// Cuts as llama.cpp's chain does, in its order: top-k, typical-p, top-p, min-p, and softens what is left.
    fn cut_and_draw(&mut self, logits: &[f32]) -> i32 {
        let s = self.settings;
        let all = logits.len();
        let k = usize::try_from(s.top_k)
            .ok()
            .filter(|&k| k > 0)
            .map_or(all, |k| k.min(all));
        let kept = if s.typical_p < TYPICAL_P_OFF {
            self.keep_best(logits, k);
            self.keep_typical();
            let total = self.mass();
            self.nucleus(total).unwrap_or(self.candidates.len())
        } else {
            self.best_nucleus(logits, k)
        };
        self.candidates.truncate(kept);
        if s.min_p > MIN_P_OFF {
            let least = self.candidates[0].logit + s.min_p.ln();
            let kept = self.candidates.partition_point(|c| c.logit >= least);
            self.candidates.truncate(kept.max(1));
        }
        self.draw(s.temperature).token
    }

    /// Fills the candidates with the best, as far as top-k, top-p and min-p may want them, and tells how many
    /// of them the nucleus has.
    fn best_nucleus(&mut self, logits: &[f32], k: usize) -> usize {
        // Without a small k the nucleus is looked for among the first thousand, which nearly always
        // hold it: sorting a whole vocabulary costs milliseconds.
        let take = k.min(1024);
        self.keep_best(logits, take);
        if take < k {
            let top = self.candidates[0].logit;
            let total = logits.iter().map(|logit| (logit - top).exp()).sum();
            if let Some(kept) = self.nucleus(total) {
                return kept;
            }
            let least = top + self.settings.min_p.ln();
            if self.settings.top_p >= 1.0 && self.candidates[take - 1].logit < least {
                return take;
            }
            self.keep_best(logits, k);
        }
        let total = self.mass();
        self.nucleus(total).unwrap_or(k)
    }

    /// The candidates' weights together.
    fn mass(&self) -> f32 {
        let top = self.candidates[0].logit;
        self.candidates.iter().map(|c| (c.logit - top).exp()).sum()
    }

    /// How many of the candidates make up top-p of `total`; none if it is off, or they are too few.
    fn nucleus(&self, total: f32) -> Option<usize> {
        let top_p = self.settings.top_p;
        if top_p >= 1.0 {
            return None;
        }
        let top = self.candidates[0].logit;
        let mut mass = 0.0;
        let reaches = |c: &Candidate| {
            mass += (c.logit - top).exp() / total;
            mass >= top_p
        };
        self.candidates.iter().position(reaches).map(|at| at + 1)
    }

    /// Keeps the candidates whose surprise is the nearest to the expected one, best first as before.
    fn keep_typical(&mut self) {
        let top = self.candidates[0].logit;
        let log_total = self.mass().ln();
        let surprise = |c: &Candidate| log_total - (c.logit - top);
        let share = |c: &Candidate| (-surprise(c)).exp();
        let expected: f32 = self
            .candidates
            .iter()
            .map(|c| share(c) * if share(c) > 0.0 { surprise(c) } else { 0.0 })
            .sum();
        let oddness = |c: &Candidate| (surprise(c) - expected).abs();
        self.candidates
            .sort_by(|a, b| oddness(a).total_cmp(&oddness(b)));
        let mut mass = 0.0;
        let reaches = |c: &Candidate| {
            mass += share(c);
            mass > self.settings.typical_p
        };
        let last = self.candidates.iter().position(reaches);
        self.candidates
            .truncate(last.map_or(self.candidates.len(), |at| at + 1));
        self.candidates.sort_unstable_by(descending);
    }

    fn mirostat_1(&mut self, logits: &[f32]) -> i32 {
        let s = self.settings;
        self.keep_best(logits, logits.len());
        self.soften(s.temperature);
        let (mut above, mut below) = (0.0_f32, 0.0_f32);
        for i in 0..MIROSTAT_SAMPLES.min(self.weights.len().saturating_sub(1)) {
            let t = ((i + 2) as f32 / (i + 1) as f32).ln();
            let b = (self.weights[i] / self.weights[i + 1]).ln();
            if b.is_finite() {
                above += t * b;
                below += t * t;
            }
        }
        let shape = above / below;
        let epsilon = shape - 1.0;
        let n = logits.len() as f32;
        let k = ((epsilon * self.mu.exp2()) / (1.0 - n.powf(-epsilon))).powf(1.0 / shape);
        let keep = if k.is_finite() {
            (k.round().max(1.0) as usize).min(logits.len())
        } else {
            logits.len()
        };
        self.candidates.truncate(keep);
        self.draw_and_learn()
    }

    fn mirostat_2(&mut self, logits: &[f32]) -> i32 {
        let s = self.settings;
        let top = logits[best(logits) as usize];
        let total: f32 = logits
            .iter()
            .map(|logit| ((logit - top) / s.temperature).exp())
            .sum();
        // Surprise -log2(p) at most mu means p at least 2^-mu.
        let least = (-self.mu).exp2() * total;
        self.candidates.clear();
        for (token, &logit) in logits.iter().enumerate() {
            if ((logit - top) / s.temperature).exp() >= least {
                self.candidates.push(Candidate {
                    logit,
                    token: token as i32,
                });
            }
        }
        if self.candidates.is_empty() {
            self.candidates.push(Candidate {
                logit: top,
                token: best(logits),
            });
        }
        self.draw_and_learn()
    }

    fn draw_and_learn(&mut self) -> i32 {
        let s = self.settings;
        let drawn = self.draw(s.temperature);
        self.mu -= s.mirostat_eta * (-drawn.probability.log2() - s.mirostat_tau);
        drawn.token
    }

    /// Draws one of the candidates, softened by `temperature`.
    fn draw(&mut self, temperature: f32) -> Drawn {
        self.soften(temperature);
        let total: f32 = self.weights.iter().sum();
        let mut left = self.random.unit() * total;
        // Sums are rounded: what is left over goes to the last that may come at all.
        let last = self.weights.iter().rposition(|weight| *weight > 0.0);
        let mut at = last.unwrap_or(0);
        for (i, weight) in self.weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                at = i;
                break;
            }
        }
        Drawn {
            token: self.candidates[at].token,
            probability: self.weights[at] / total,
        }
    }

    fn soften(&mut self, temperature: f32) {
        let top = self
            .candidates
            .iter()
            .map(|c| c.logit)
            .fold(f32::NEG_INFINITY, f32::max);
        self.weights.clear();
        self.weights.extend(
            self.candidates
                .iter()
                .map(|c| ((c.logit - top) / temperature).exp()),
        );
    }

    /// Fills the candidates with the `k` best, best first.
    fn keep_best(&mut self, logits: &[f32], k: usize) {
        keep_best(&mut self.candidates, logits, k);
    }
}

struct Drawn {
    token: i32,
    probability: f32,
}

/// The index of the largest logit, the first of equals.
fn best(logits: &[f32]) -> i32 {
    let top = highest(logits);
    logits.iter().position(|&logit| logit >= top).unwrap_or(0) as i32
}

#[cfg(test)]
mod tests;

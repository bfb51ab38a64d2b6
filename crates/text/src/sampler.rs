//! Chooses the next token from a row of logits.
//!
//! Our own instead of llama.cpp's chain: that one copies the whole vocabulary into candidates and
//! looks each one up in a hash map for the penalties, which costs more than a small model's layer.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _};

use serde::{Deserialize, Serialize};

/// How many of the run's last tokens the penalties look at. The prompt is not among them: its words
/// are often the very ones to answer with.
const PENALTY_WINDOW: usize = 64;
/// Candidates of mirostat 1 that estimate the shape of the distribution.
const MIROSTAT_SAMPLES: usize = 100;

/// The sampling fields of `RKLLMParam` and `RKLLMSamplingParam`, every value known.
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
}

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
            _ => self.top_k_top_p(logits),
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

    fn top_k_top_p(&mut self, logits: &[f32]) -> i32 {
        let s = self.settings;
        let all = logits.len();
        let k = usize::try_from(s.top_k)
            .ok()
            .filter(|&k| k > 0)
            .map_or(all, |k| k.min(all));
        // Without a small k the nucleus is looked for among the first thousand, which nearly always
        // hold it: sorting a whole vocabulary costs milliseconds.
        let mut take = k.min(1024);
        loop {
            self.keep_best(logits, take);
            let top = self.candidates[0].logit;
            let total: f32 = if take == k {
                self.candidates.iter().map(|c| (c.logit - top).exp()).sum()
            } else {
                logits.iter().map(|logit| (logit - top).exp()).sum()
            };
            let mut mass = 0.0;
            let mut nucleus = None;
            if s.top_p < 1.0 {
                for (i, candidate) in self.candidates.iter().enumerate() {
                    mass += (candidate.logit - top).exp() / total;
                    if mass >= s.top_p {
                        nucleus = Some(i + 1);
                        break;
                    }
                }
            }
            if nucleus.is_none() && take < k {
                take = k;
                continue;
            }
            self.candidates.truncate(nucleus.unwrap_or(take));
            return self.draw(s.temperature).token;
        }
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
        let mut at = self.weights.len() - 1;
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
        let pool = &mut self.candidates;
        pool.clear();
        let descending =
            |a: &Candidate, b: &Candidate| b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token));
        let room = (2 * k).max(128).min(logits.len().max(1));
        let mut least = f32::NEG_INFINITY;
        for (token, &logit) in logits.iter().enumerate() {
            if logit > least || pool.len() < k {
                pool.push(Candidate {
                    logit,
                    token: token as i32,
                });
                if pool.len() >= room && room > k {
                    pool.select_nth_unstable_by(k - 1, descending);
                    pool.truncate(k);
                    least = pool[k - 1].logit;
                }
            }
        }
        pool.sort_unstable_by(descending);
        pool.truncate(k);
    }
}

struct Drawn {
    token: i32,
    probability: f32,
}

/// The index of the largest logit, the first of equals.
fn best(logits: &[f32]) -> i32 {
    // Lane by lane, so that the compiler can use the machine's vectors.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = logits.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    let top = lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit >= top).unwrap_or(0) as i32
}

/// A seed nobody can foresee, from the standard library's hash keys.
fn any_seed() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// The generator xoshiro256++.
#[derive(Debug, Clone)]
struct Random {
    state: [u64; 4],
}

impl Random {
    fn new(seed: u64) -> Self {
        // SplitMix64 spreads a small seed over the whole state.
        let mut z = seed;
        let state = std::array::from_fn(|_| {
            z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let x = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^ (x >> 31)
        });
        Self { state }
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// A number in [0, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests;

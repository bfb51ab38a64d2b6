//! How likely tokens are.

use super::Candidate;

/// So many are computed side by side: one after the other, each would wait for the one before.
const LANES: usize = 16;

/// The highest of all logits; below all numbers if there is none.
#[must_use]
pub fn highest(logits: &[f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    let all = logits.chunks_exact(LANES);
    let rest = all.remainder();
    for some in all {
        for (top, &logit) in tops.iter_mut().zip(some) {
            *top = if logit > *top { logit } else { *top };
        }
    }
    let tops = tops.into_iter().chain(rest.iter().copied());
    tops.fold(f32::NEG_INFINITY, f32::max)
}

/// The logarithm of the sum of the exponentials: what is taken off a logit to make a log-probability of it.
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = highest(logits);
    if !top.is_finite() {
        return f64::from(top);
    }
    let mut total = 0.0_f64;
    // Sums of single precision are exact enough for a while.
    for block in logits.chunks(1024) {
        let mut sums = [0.0_f32; LANES];
        let all = block.chunks_exact(LANES);
        let rest = all.remainder();
        for some in all {
            for (sum, &logit) in sums.iter_mut().zip(some) {
                *sum += share(logit - top);
            }
        }
        let rest = rest.iter().map(|logit| share(logit - top));
        total += f64::from(sums.into_iter().chain(rest).sum::<f32>());
    }
    f64::from(top) + total.ln()
}

/// The exponential of a number that is not above 0, to about the last bit: the library's is a call for each.
#[inline]
fn share(x: f32) -> f32 {
    /// ln 2 in two parts, of which the first is exact in so few bits.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    /// Added and taken off again, it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let is_some = x > -87.0;
    let x = if is_some { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = x - whole * LN_2.0 - whole * LN_2.1;
    // The series, whose rest is below the precision for |r| up to ln 2 / 2.
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if is_some { series * power } else { 0.0 }
}

/// The `n` likeliest tokens with their logits, best first.
#[must_use]
pub fn likeliest(logits: &[f32], n: usize) -> Vec<(i32, f32)> {
    if n == 0 || logits.is_empty() {
        return Vec::new();
    }
    let mut pool = Vec::new();
    keep_best(&mut pool, logits, n.min(logits.len()));
    pool.iter().map(|c| (c.token, c.logit)).collect()
}

/// Fills `pool` with the `k` best, best first.
pub(super) fn keep_best(pool: &mut Vec<Candidate>, logits: &[f32], k: usize) {
    pool.clear();
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as sorting calls it")]
pub(super) fn descending(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_as_exact_as_the_numbers() {
        for step in 0..87_000 {
            let x = -(step as f32) / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(share(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert_eq!(share(-88.0).to_bits(), 0);
        assert_eq!(share(f32::NEG_INFINITY).to_bits(), 0);
    }

    #[test]
    fn a_sum_is_that_of_all_logits() {
        for count in [1, 7, 8, 9, 1023, 1025, 5000] {
            let logits: Vec<f32> = (0..count)
                .map(|at| ((at * 37) % 101) as f32 / 7.0)
                .collect();
            let exact: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            assert!((log_sum_exp(&logits) - exact.ln()).abs() < 3e-6, "{count}");
            let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(highest(&logits).to_bits(), top.to_bits());
        }
    }

    #[test]
    fn what_is_no_number_is_not_the_highest() {
        let mut logits = [f32::NAN; 20];
        assert_eq!(highest(&logits).to_bits(), f32::NEG_INFINITY.to_bits());
        logits[13] = 2.0;
        assert_eq!(highest(&logits).to_bits(), 2.0_f32.to_bits());
    }
}

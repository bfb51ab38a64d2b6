//! How likely tokens are.

use super::Candidate;

/// The logarithm of the sum of the exponentials: what is taken off a logit to make a log-probability of it.
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !top.is_finite() {
        return f64::from(top);
    }
    let total: f64 = logits.iter().map(|l| f64::from((l - top).exp())).sum();
    f64::from(top) + total.ln()
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

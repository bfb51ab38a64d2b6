//! What an encoder hands to a decoder with cross attention.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::protocol::error::Failure;

/// Encoder output for cross attention (`RKLLMCrossAttnParam`).
///
/// K and V lie differently in memory: K is layer, token, head, width; V is layer, head, width, token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossAttention {
    k: Arc<[f32]>,
    v: Arc<[f32]>,
    mask: Arc<[f32]>,
    positions: Arc<[i32]>,
}

impl CrossAttention {
    /// Joins the encoder's output. `k_shape` is layers, tokens, heads and width of a head, `v_shape`
    /// layers, heads, width of a head and tokens.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` where two of them do not fit each other.
    pub fn new(
        (k, k_shape): (impl Into<Arc<[f32]>>, [usize; 4]),
        (v, v_shape): (impl Into<Arc<[f32]>>, [usize; 4]),
        mask: impl Into<Arc<[f32]>>,
        positions: impl Into<Arc<[i32]>>,
    ) -> Result<Self, Failure> {
        let (k, v, mask, positions) = (k.into(), v.into(), mask.into(), positions.into());
        let [layers, tokens, heads, width] = k_shape;
        let hint = "Pass k_cache as (layers, tokens, heads, head width), v_cache as (layers, heads, head width, tokens), and mask and positions as (tokens,).";
        let wrong = |name: &str, reason| Err(Failure::invalid_with_hint(name, reason, hint));
        if k.is_empty() {
            return wrong("k_cache", "must not be empty".to_owned());
        }
        if k_shape.iter().product::<usize>() != k.len() {
            return wrong(
                "k_cache",
                format!(
                    "has {} floats, which do not fit the shape {k_shape:?}",
                    k.len()
                ),
            );
        }
        if v_shape != [layers, heads, width, tokens] || v.len() != k.len() {
            return wrong(
                "v_cache",
                format!(
                    "must have the shape {:?} to match k_cache, got {v_shape:?}",
                    [layers, heads, width, tokens]
                ),
            );
        }
        for (name, length) in [("mask", mask.len()), ("positions", positions.len())] {
            if length != tokens {
                return wrong(
                    name,
                    format!(
                        "must have one value for each of the {tokens} encoder tokens, got {length}"
                    ),
                );
            }
        }
        if i32::try_from(tokens).is_err() {
            return wrong(
                "k_cache",
                format!("has too many tokens for a C int: {tokens}"),
            );
        }
        Ok(Self {
            k,
            v,
            mask,
            positions,
        })
    }

    /// K (`encoder_k_cache`).
    #[must_use]
    pub fn k(&self) -> &[f32] {
        &self.k
    }
    /// V (`encoder_v_cache`).
    #[must_use]
    pub fn v(&self) -> &[f32] {
        &self.v
    }
    /// The mask (`encoder_mask`).
    #[must_use]
    pub fn mask(&self) -> &[f32] {
        &self.mask
    }
    /// The positions (`encoder_pos`).
    #[must_use]
    pub fn positions(&self) -> &[i32] {
        &self.positions
    }
    /// Length of the encoder's output (`num_tokens`).
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.positions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error::ErrorKind;

    #[test]
    fn shapes_must_fit_each_other() {
        let floats = |n: usize| vec![0.0; n];
        let make = |k_shape, v_shape, mask, positions| {
            CrossAttention::new(
                (floats(2 * 3 * 4 * 5), k_shape),
                (floats(2 * 3 * 4 * 5), v_shape),
                floats(mask),
                vec![0; positions],
            )
        };
        assert_eq!(
            make([2, 3, 4, 5], [2, 4, 5, 3], 3, 3).unwrap().num_tokens(),
            3
        );
        // V in the order of K is what people try first.
        for bad in [
            make([2, 3, 4, 5], [2, 3, 4, 5], 3, 3),
            make([2, 3, 4, 6], [2, 4, 6, 3], 3, 3),
            make([2, 3, 4, 5], [2, 4, 5, 3], 4, 3),
            make([2, 3, 4, 5], [2, 4, 5, 3], 3, 2),
        ] {
            assert_eq!(bad.unwrap_err().kind, ErrorKind::InvalidArgument);
        }
    }
}

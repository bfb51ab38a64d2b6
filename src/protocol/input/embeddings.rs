//! Embeddings in place of tokens.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::protocol::error::Failure;

/// Embeddings as input (`RKLLMEmbedInput`): rows of the model's width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    values: Arc<[f32]>,
    width: usize,
}

impl Embeddings {
    /// Takes `values`, row by row.
    ///
    /// # Errors
    /// `ErrorKind::InvalidArgument` if there are none, or they are no whole number of rows.
    pub fn new(values: impl Into<Arc<[f32]>>, width: usize) -> Result<Self, Failure> {
        let values = values.into();
        if values.is_empty() || width == 0 {
            return Err(Failure::invalid_with_hint(
                "embeddings",
                "must not be empty",
                "Pass at least one row of the model's width.",
            ));
        }
        if values.len() % width != 0 {
            return Err(Failure::invalid_with_hint(
                "embeddings",
                format!(
                    "must be whole rows of {width} floats, got {} floats",
                    values.len()
                ),
                "Pass rows of the model's width, one after another.",
            ));
        }
        Ok(Self { values, width })
    }

    /// All rows, one behind the other.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Floats in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are: each takes the place of a token.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_must_be_whole() {
        let embeddings = Embeddings::new(vec![0.0; 6], 3).unwrap();
        assert_eq!((embeddings.rows(), embeddings.width()), (2, 3));
        for (values, width) in [(vec![0.0; 5], 3), (vec![], 3), (vec![0.0; 3], 0)] {
            assert!(Embeddings::new(values, width).is_err());
        }
    }
}

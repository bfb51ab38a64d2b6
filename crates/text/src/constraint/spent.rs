//! The time that a grammar takes, which no count of its parts bounds.

use std::time::{Duration, Instant};

use super::Refusal;

/// A grammar that takes longer for a token, on average, is given up after so long.
const TOKEN: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(3);

/// What an answer's tokens have taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    time: Duration,
    tokens: u32,
}

impl Spent {
    /// Time since then.
    pub(super) fn add(&mut self, began: Instant) {
        self.time += began.elapsed();
    }

    /// A token has been dealt with, since then.
    ///
    /// # Errors
    /// The grammar takes too long.
    pub(super) fn token(&mut self, began: Instant) -> Result<(), Refusal> {
        self.add(began);
        self.tokens += 1;
        if self.time > PATIENCE && self.time > TOKEN * self.tokens {
            let most = TOKEN.as_millis();
            return Err(Refusal::too_large(format!(
                "is too complex: a token takes more than {most} ms"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_given_up_and_what_takes_long_once_is_not() {
        let ago = |millis| {
            Instant::now()
                .checked_sub(Duration::from_millis(millis))
                .unwrap()
        };
        let mut spent = Spent::default();
        assert!((0..100).all(|_| spent.token(ago(40)).is_ok()));
        let mut spent = Spent::default();
        assert!(spent.token(ago(2000)).is_ok());
        assert!(spent.token(ago(2000)).unwrap_err().unsupported);
    }
}

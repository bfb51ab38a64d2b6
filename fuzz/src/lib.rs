//! What several targets do.

use std::sync::{Arc, LazyLock};

use rkllm_text::constraint::{Constraints, Follower, Grammar, Kind, Vocabulary};

static GRAMMARS: LazyLock<Constraints> = LazyLock::new(|| {
    let mut vocabulary = Vocabulary::default();
    for byte in 0..=255 {
        vocabulary.push(Kind::Text, &[byte]);
    }
    vocabulary.push(Kind::End, b"</s>");
    Constraints::new(Arc::new(vocabulary)).expect("a vocabulary")
});

/// Refused, or what it forces and allows can be followed.
pub fn follow(grammar: &Grammar) {
    if grammar.check().is_err() {
        return;
    }
    if let Ok(mut follower) = Follower::new(grammar) {
        let forced = follower.forced().to_vec();
        drop(follower.take(&forced));
        drop(follower.take(b"{\"a\": [1, \"x"));
        follower.may_end();
    }
    if let Ok(mut matcher) = GRAMMARS.matcher(grammar) {
        let mut logits = vec![0.0; 257];
        for _ in 0..8 {
            if matcher.mask(&mut logits).is_err() {
                return;
            }
            let Some(token) = logits.iter().position(|logit| logit.is_finite()) else {
                return;
            };
            if !matches!(matcher.push(token as i32), Ok(true)) {
                return;
            }
            logits.fill(0.0);
        }
    }
}

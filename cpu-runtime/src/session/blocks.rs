//! In what pieces a prompt is computed.
//!
//! What is computed for a position depends, in its last digits, on how many are computed with it: the
//! kernels of llama.cpp sum in another order for one position, a few, and 64 or more. So that a prompt
//! gives the same answer whatever ran before, where a piece ends depends on nothing but the tokens before
//! its end, and only whole pieces that were computed in this very way are taken from the cache.

/// The most positions that are computed at once. From 64 on attention is computed in tiles, without which
/// prompts take a quarter longer; more at once gains a few per cent and makes the cache coarser.
pub(super) const BLOCK: usize = 64;

/// A piece of so many positions ends behind a mark: the messages of a chat are what later prompts share.
/// Fewer would slow prompts of many short messages.
const LEAST: usize = 24;

/// The length of the whole block that `tokens` begin with; `None` for a rest that is not whole.
pub(super) fn first(tokens: &[i32], marks: impl Fn(i32) -> bool) -> Option<usize> {
    let most = tokens.len().min(BLOCK);
    let behind_mark = (LEAST..=most).find(|&length| marks(tokens[length - 1]));
    behind_mark.or((most == BLOCK).then_some(BLOCK))
}

/// Where the whole blocks of `tokens` end, in rising order.
pub(super) fn ends(tokens: &[i32], marks: impl Fn(i32) -> bool) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut end = 0;
    while let Some(length) = first(&tokens[end..], &marks) {
        end += length;
        ends.push(end);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: i32 = 1;

    fn text(marks: &[usize], length: usize) -> Vec<i32> {
        let token = |at| if marks.contains(&at) { MARK } else { 7 };
        (0..length).map(token).collect()
    }

    fn ends_of(tokens: &[i32]) -> Vec<usize> {
        ends(tokens, |token| token == MARK)
    }

    #[test]
    fn blocks_end_when_they_are_full_or_behind_a_mark() {
        assert_eq!(ends_of(&text(&[], 200)), [64, 128, 192]);
        assert_eq!(ends_of(&text(&[10, 40, 42], 200)), [41, 105, 169]);
        // The mark of a message that is short does not end a block; the next one does.
        assert_eq!(ends_of(&text(&[22, 23], 30)), [24]);
        assert_eq!(ends_of(&text(&[63, 64], 128)), [64, 128]);
        assert!(ends_of(&text(&[], 63)).is_empty());
    }

    #[test]
    fn the_blocks_of_a_start_are_those_of_the_whole() {
        let tokens = text(&[3, 30, 33, 90, 91, 100, 140, 199], 200);
        let all = ends_of(&tokens);
        for length in 0..tokens.len() {
            let start: Vec<_> = all.iter().copied().filter(|&end| end <= length).collect();
            assert_eq!(ends_of(&tokens[..length]), start, "{length}");
        }
    }
}

//! Keeps an answer to its grammar before a token is chosen: takes out of its logits what may not come.

use rkllm_text::constraint::{Matcher, Refusal, Vocabulary};

use super::keep_end;
use crate::protocol::constraint::{Constraint, Kept, Way};

/// Where an answer is.
enum Phase {
    /// Nothing has come: it may think first.
    Start,
    /// It thinks, which is free. The end of its text is kept, to find the tag in.
    Thinking(String),
    /// The thinking has ended, and the answer has not begun: a line break may come between.
    Gap,
    /// It is in the grammar.
    Answer,
    /// A token has left the grammar; what comes now is kept to nothing.
    Left,
}

/// A lane's answer on its way through a grammar.
pub(in crate::engine) struct Mask {
    matcher: Matcher,
    phase: Phase,
    /// The tag that ends the thinking, and both tags where they are tokens of their own.
    close: String,
    open_id: Option<i32>,
    close_id: Option<i32>,
    /// Line breaks, which may stand between thinking and answer.
    breaks: Vec<i32>,
    /// Tokens that end an answer.
    ends: Vec<i32>,
}

impl Mask {
    pub(super) fn new(constraint: &Constraint, matcher: Matcher, vocabulary: &Vocabulary) -> Self {
        let thinking = constraint.thinking.as_ref();
        let open = thinking.and_then(|thinking| thinking.open.as_deref());
        let phase = match (thinking, open) {
            (None, _) => Phase::Answer,
            (Some(_), None) => Phase::Thinking(String::new()),
            (Some(_), Some(_)) => Phase::Start,
        };
        let close = thinking.map_or("", |thinking| &thinking.close);
        Self {
            matcher,
            phase,
            open_id: open.and_then(|open| vocabulary.find(open)),
            close_id: vocabulary.find(close),
            close: close.to_owned(),
            breaks: ["\n\n", "\n"]
                .iter()
                .filter_map(|text| vocabulary.find(text))
                .collect(),
            ends: vocabulary.ends().collect(),
        }
    }

    /// Takes out of a row of logits what may not come.
    pub(in crate::engine) fn mask(&mut self, logits: &mut [f32]) -> Result<(), Refusal> {
        let besides: &[i32] = match &self.phase {
            Phase::Left => return Ok(()),
            Phase::Thinking(_) => {
                // An answer that ends in its thinking would be none.
                for at in places(&self.ends) {
                    if let Some(logit) = logits.get_mut(at) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
                return Ok(());
            }
            Phase::Start => self.open_id.as_slice(),
            Phase::Gap => &self.breaks,
            Phase::Answer => &[],
        };
        let free: Vec<(usize, f32)> = places(besides)
            .filter_map(|at| Some((at, *logits.get(at)?)))
            .collect();
        self.matcher.mask(logits)?;
        for (at, logit) in free {
            logits[at] = logit;
        }
        Ok(())
    }

    /// Goes on over a token that has come; false if the answer was over before it.
    pub(in crate::engine) fn push(&mut self, id: i32, text: &[u8]) -> Result<bool, Refusal> {
        if self.is_over() {
            return Ok(false);
        }
        match &mut self.phase {
            Phase::Left => return Ok(true),
            Phase::Thinking(tail) => {
                if self.close_id == Some(id) {
                    self.phase = Phase::Gap;
                    return Ok(true);
                }
                tail.push_str(&String::from_utf8_lossy(text));
                if let Some(at) = tail.find(&self.close) {
                    let rest = &tail[at + self.close.len()..];
                    self.phase = if rest.trim().is_empty() {
                        Phase::Gap
                    } else {
                        Phase::Left
                    };
                } else {
                    keep_end(tail, self.close.len());
                }
                return Ok(true);
            }
            Phase::Start if self.open_id == Some(id) => {
                self.phase = Phase::Thinking(String::new());
                return Ok(true);
            }
            Phase::Start | Phase::Gap | Phase::Answer => {}
        }
        if self.matcher.push(id)? {
            self.phase = Phase::Answer;
        } else if !(matches!(self.phase, Phase::Gap) && self.breaks.contains(&id)) {
            self.phase = Phase::Left;
        }
        Ok(true)
    }

    /// The answer is cut where it is.
    pub(super) fn cut(&mut self) {
        self.phase = Phase::Left;
    }

    /// Whether nothing more may come.
    pub(in crate::engine) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Answer) && self.matcher.is_over()
    }

    /// How the answer was kept to its grammar, if it ends here.
    pub(super) fn kept(&mut self) -> Kept {
        Kept {
            way: Way::Mask,
            replaced: 0,
            forced: 0,
            retries: 0,
            calls: 0,
            complete: matches!(self.phase, Phase::Answer) && self.matcher.may_end(),
        }
    }
}

fn places(ids: &[i32]) -> impl Iterator<Item = usize> {
    ids.iter().filter_map(|id| usize::try_from(*id).ok())
}

#[cfg(test)]
mod tests {
    use rkllm_text::constraint::{Constraints, Grammar, Kind};

    use super::*;
    use crate::protocol::constraint::Thinking;

    const WORDS: [&str; 8] = [
        "<think>", "</think>", "\n\n", "yes", "no", "hm", "</th", "ink>yes",
    ];
    const END: i32 = WORDS.len() as i32;

    fn id(word: &str) -> i32 {
        WORDS.iter().position(|one| *one == word).unwrap() as i32
    }

    fn guide(thinking: Option<(Option<&str>, &str)>) -> Mask {
        let mut vocabulary = Vocabulary::default();
        for word in WORDS {
            vocabulary.push(Kind::Text, word.as_bytes());
        }
        vocabulary.push(Kind::End, b"<|end|>");
        let constraint = Constraint {
            grammar: Grammar::Choices(vec!["yes".into(), "no".into()]),
            thinking: thinking.map(|(open, close)| Thinking {
                open: open.map(str::to_owned),
                close: close.to_owned(),
            }),
            way: None,
        };
        let constraints = Constraints::new(vocabulary).unwrap();
        let matcher = constraints.matcher(&constraint.grammar).unwrap();
        Mask::new(&constraint, matcher, constraints.vocabulary())
    }

    fn legal(guide: &mut Mask) -> Vec<i32> {
        let mut logits = vec![0.0; WORDS.len() + 1];
        guide.mask(&mut logits).unwrap();
        let ids = 0..=END;
        ids.zip(logits)
            .filter(|(_, logit)| *logit == 0.0)
            .map(|(id, _)| id)
            .collect()
    }

    fn push(guide: &mut Mask, word: &str) {
        guide.push(id(word), word.as_bytes()).unwrap();
    }

    #[test]
    fn an_answer_is_in_the_grammar_from_its_first_token() {
        let mut guide = guide(None);
        assert_eq!(legal(&mut guide), [id("yes"), id("no")]);
        assert!(!guide.kept().complete);
        push(&mut guide, "no");
        assert!(guide.is_over() && guide.kept().complete);
        assert_eq!(legal(&mut guide), [END]);
    }

    #[test]
    fn thinking_comes_first_where_the_model_begins_it() {
        let mut guide = guide(Some((Some("<think>"), "</think>")));
        assert_eq!(legal(&mut guide), [id("<think>"), id("yes"), id("no")]);
        push(&mut guide, "<think>");
        // It is free, but the answer cannot end in it.
        assert_eq!(legal(&mut guide), (0..END).collect::<Vec<_>>());
        push(&mut guide, "no");
        push(&mut guide, "</think>");
        assert_eq!(legal(&mut guide), [id("\n\n"), id("yes"), id("no")]);
        push(&mut guide, "\n\n");
        push(&mut guide, "yes");
        assert!(guide.kept().complete);
    }

    #[test]
    fn thinking_that_does_not_come_is_not_waited_for() {
        let mut guide = guide(Some((Some("<think>"), "</think>")));
        push(&mut guide, "yes");
        assert!(guide.is_over());
    }

    #[test]
    fn a_tag_that_ends_within_a_token_with_text_is_told() {
        let mut guide = guide(Some((None, "</think>")));
        for word in ["hm", "</th", "ink>yes"] {
            push(&mut guide, word);
        }
        assert!(!guide.kept().complete);
        assert_eq!(legal(&mut guide).len(), WORDS.len() + 1);
    }
}

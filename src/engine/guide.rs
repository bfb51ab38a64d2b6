//! Keeps the answer of one lane to a grammar: which tokens may come, from where on, and whether it is whole.

mod asked;
mod free;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use rkllm_text::constraint::{Constraints, Matcher, Refusal, Vocabulary};

pub(super) use self::free::{Free, Next, Seen};
pub(super) use self::tokens::Piece;
use self::tokens::Tokens;
use super::RunLanes;
use crate::native::{Lane as _, NativeModel};
use crate::protocol::constraint::{Constraint, Kept, Way};
use crate::protocol::error::Failure;

/// Has the program's tokenizer turn a text into tokens.
pub(super) type Tokenize<'a> = dyn FnMut(&str) -> Result<Vec<i32>, Failure> + 'a;

/// Makes the guides of a model's runs.
#[derive(Default)]
pub(super) struct Guides {
    /// The model's vocabulary, ready for grammars, once a run has had one.
    constraints: Option<Constraints>,
    /// The model's tokens, as far as they are known, once a run has needed them.
    tokens: Option<Arc<Tokens>>,
}

impl Guides {
    /// Gives each lane of a run its guide, if the run has a grammar.
    pub(super) fn give(
        &mut self,
        model: &NativeModel,
        path: &Path,
        lanes: &RunLanes,
        tokenize: Option<&mut Tokenize<'_>>,
    ) -> Result<(), Failure> {
        let Some(constraint) = lanes[0].constraint() else {
            return Ok(());
        };
        let refused = |refusal| constraint.refused(&refusal);
        if let Some(way @ (Way::Guided | Way::Retry)) = constraint.way {
            let tokens = self.tokens(model, path)?;
            if let (Way::Guided, Some(tokenize)) = (way, tokenize) {
                let tags = constraint.thinking.iter().flat_map(|thinking| {
                    let open = thinking.open.as_deref();
                    open.into_iter().chain([thinking.close.as_str()])
                });
                tokens.ask(tags.chain(constraint.grammar.texts()), tokenize)?;
            }
            let parts = model.ends_with_thinking();
            let free = Free::new(constraint, way, tokens, parts).map_err(refused)?;
            lanes[0].follow(Guide::Free(Box::new(free)));
            return Ok(());
        }
        let constraints = match self.constraints.take() {
            Some(constraints) => constraints,
            None => Constraints::new(model.vocabulary()?).map_err(refused)?,
        };
        let constraints = self.constraints.insert(constraints);
        for lane in lanes.iter().filter(|lane| !lane.has_ended()) {
            let matcher = constraints.matcher(&constraint.grammar).map_err(refused)?;
            let mask = Mask::new(constraint, matcher, constraints.vocabulary());
            lane.follow(Guide::Mask(Box::new(mask)));
        }
        Ok(())
    }

    fn tokens(&mut self, model: &NativeModel, path: &Path) -> Result<Arc<Tokens>, Failure> {
        Ok(match &self.tokens {
            Some(tokens) => Arc::clone(tokens),
            None => Arc::clone(self.tokens.insert(Arc::new(Tokens::of(model, path)?))),
        })
    }

    /// All tokens of the model, if they are known.
    pub(super) fn vocabulary(
        &mut self,
        model: &NativeModel,
        path: &Path,
    ) -> Result<Option<Arc<Vocabulary>>, Failure> {
        Ok(self.tokens(model, path)?.vocabulary().map(Arc::clone))
    }
}

/// Keeps a lane's answer to its grammar.
pub(super) enum Guide {
    /// By what may be chosen.
    Mask(Box<Mask>),
    /// By what was chosen.
    Free(Box<Free>),
}

impl Guide {
    /// The answer is cut where it is.
    pub(super) fn cut(&mut self) {
        match self {
            Self::Mask(mask) => mask.phase = Phase::Left,
            Self::Free(free) => free.cut(),
        }
    }

    /// How the answer was kept to its grammar, if it ends here. The run counts the calls of the library.
    pub(super) fn kept(&mut self) -> Kept {
        match self {
            Self::Mask(mask) => mask.kept(),
            Self::Free(free) => free.kept(),
        }
    }
}

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
pub(super) struct Mask {
    matcher: Matcher,
    phase: Phase,
    close: String,
    open_id: Option<i32>,
    close_id: Option<i32>,
    breaks: Vec<i32>,
    ends: Vec<i32>,
}

impl Mask {
    fn new(constraint: &Constraint, matcher: Matcher, vocabulary: &Vocabulary) -> Self {
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
    pub(super) fn mask(&mut self, logits: &mut [f32]) -> Result<(), Refusal> {
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
    pub(super) fn push(&mut self, id: i32, text: &[u8]) -> Result<bool, Refusal> {
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
                } else if tail.len() > 4 * self.close.len() + 64 {
                    let mut from = tail.len() - 2 * self.close.len();
                    while !tail.is_char_boundary(from) {
                        from += 1;
                    }
                    tail.drain(..from);
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

    /// Whether nothing more may come.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Answer) && self.matcher.is_over()
    }

    /// How the answer was kept to its grammar, if it ends here.
    fn kept(&mut self) -> Kept {
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
    use rkllm_text::constraint::{Grammar, Kind};

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

//! Keeps the answer of one lane to a grammar: which tokens may come, from where on, and whether it is whole.

mod asked;
mod mask;
mod tokens;
mod unmasked;

use std::path::Path;
use std::sync::Arc;

use rkllm_text::constraint::{Constraints, Vocabulary};

pub(super) use self::mask::Mask;
pub(super) use self::tokens::Piece;
use self::tokens::Tokens;
pub(super) use self::unmasked::{Next, Seen, Unmasked};
use super::RunLanes;
use crate::native::{Lane as _, NativeModel};
use crate::protocol::constraint::{Kept, Way};
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
            let unmasked = Unmasked::new(constraint, way, tokens, parts).map_err(refused)?;
            lanes[0].follow(Guide::Unmasked(Box::new(unmasked)));
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
    /// By what may be chosen: tokens that do not fit are taken out of the logits.
    Mask(Box<Mask>),
    /// By what was chosen: the library's own tokens are looked at, and those that do not fit replaced.
    Unmasked(Box<Unmasked>),
}

impl Guide {
    /// The answer is cut where it is.
    pub(super) fn cut(&mut self) {
        match self {
            Self::Mask(mask) => mask.cut(),
            Self::Unmasked(unmasked) => unmasked.cut(),
        }
    }

    /// How the answer was kept to its grammar, if it ends here. The run counts the calls of the library.
    pub(super) fn kept(&mut self) -> Kept {
        match self {
            Self::Mask(mask) => mask.kept(),
            Self::Unmasked(unmasked) => unmasked.kept(),
        }
    }
}

/// Keeps as much of a text's end as a tag of this length may begin in.
fn keep_end(text: &mut String, tag: usize) {
    if text.len() > 4 * tag + 64 {
        let mut from = text.len() - 2 * tag;
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.drain(..from);
    }
}

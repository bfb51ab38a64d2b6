//! What the library holds in its KV cache, as tokens or as text: the one owner of that state.
//!
//! Only what is certain counts; when in doubt, it is forgotten, and a prompt goes to the library as a whole.
//!
//! Each run passes here twice. [`Held::begin`] decides what of its prompt the library is given; [`Held::end`] works out
//! what the library holds after it, from the tokens that were made and what the library tells. A run that is cut
//! off has no end here: [`Held::forget`].

use std::ffi::CString;

use super::run::Made;
use crate::abi::PrefixWay;
use crate::protocol::Reuse;
use crate::protocol::input::{Input, Rendered};
use crate::protocol::message::RunSpec;

/// What has been decided about a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Begun {
    /// The KV cache is to be cleared first.
    pub(super) clears: bool,
    /// Tokens of the prompt, where they are counted here.
    pub(super) prompt: Option<usize>,
    /// Those of them that the library holds and is not given.
    pub(super) cached: Option<usize>,
}

/// How a run has gone that came to its end.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// The token calls.
    pub(super) made: Made,
    /// The model has ended its answer; it was not at a limit.
    pub(super) ended_itself: bool,
    /// Positions in the cache, where the library tells.
    pub(super) size: Option<usize>,
    /// Tokens that the library says it has computed of the prompt.
    pub(super) prefilled: Option<usize>,
}

/// What was sent, or is held: tokens for a library that takes tokens, else text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Tokens(Vec<i32>),
    Text(Vec<u8>),
}

/// A run whose tokens are followed.
#[derive(Debug)]
struct Followed {
    prompt: Content,
    /// How many tokens the library held of it.
    before: usize,
    /// How many it was given, where they are counted here.
    given: Option<usize>,
    /// The library was told to keep what it holds, and was given what is behind that.
    appends: bool,
    lora: Option<CString>,
    /// Of a text: the ends of answers, as [`Rendered`] has them.
    ends: Vec<(String, Option<i32>)>,
}

/// What the library holds, as far as it is certain.
#[derive(Debug)]
pub(super) struct Held {
    way: PrefixWay,
    /// Tokens that the context has room for.
    room: usize,
    content: Content,
    /// How many tokens that is.
    count: usize,
    lora: Option<CString>,
    /// The next run with history goes on from just these.
    goes_on: bool,
    /// The library has not done with history what was expected of it.
    distrusted: bool,
    run: Option<Followed>,
}

const NOTHING: Content = Content::Tokens(Vec::new());

impl Held {
    pub(super) fn new(way: PrefixWay, room: usize) -> Self {
        Self {
            way,
            room,
            content: NOTHING,
            count: 0,
            lora: None,
            goes_on: false,
            distrusted: false,
            run: None,
        }
    }

    /// The tokens; none where nothing is certain, or only the text is known.
    pub(super) fn ids(&self) -> &[i32] {
        match &self.content {
            Content::Tokens(ids) => ids,
            Content::Text(_) => &[],
        }
    }

    /// Whether the run that is under way needs the size of the cache when it ends.
    pub(super) fn needs_size(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.appends)
    }

    /// The size that the cache must have if this run is to go on from it.
    pub(super) fn expects(&self, spec: &RunSpec) -> Option<usize> {
        (self.goes_on && self.appends(spec)).then_some(self.count)
    }

    /// What is held is not known any more.
    pub(super) fn forget(&mut self) {
        self.content = NOTHING;
        self.count = 0;
        self.goes_on = false;
        self.run = None;
    }

    /// Whether the library is told to keep a run. A prompt's cache is saved of the run that computes the prompt.
    fn appends(&self, spec: &RunSpec) -> bool {
        self.way == PrefixWay::Appended
            && spec.turn
            && spec.save_prompt_cache.is_none()
            && !self.distrusted
    }

    /// A run is about to begin: decides what of it the library gets, and changes `spec` to that.
    pub(super) fn begin(&mut self, spec: &mut RunSpec, follows: bool) -> Begun {
        let mut begun = Begun::default();
        if let [lane] = spec.lanes.as_slice() {
            let counted = match &lane.input {
                Input::Tokens(ids) => Some(ids.len()),
                Input::Embeddings(values) => Some(values.rows()),
                Input::Prompt(_) | Input::Rendered(_) | Input::Multimodal(_) => None,
            };
            begun.prompt = counted.filter(|_| !spec.keep_history);
        }
        if spec.reuse == Reuse::Off {
            begun.clears = self.way != PrefixWay::Whole;
            begun.cached = begun.prompt.filter(|_| begun.clears).map(|_| 0);
        }
        let appends = self.appends(spec);
        let held = std::mem::replace(&mut self.content, NOTHING);
        let count = std::mem::take(&mut self.count);
        let goes_on =
            std::mem::take(&mut self.goes_on) && self.lora == spec.lora && spec.reuse != Reuse::Off;
        self.run = None;
        let lane = match spec.lanes.as_mut_slice() {
            [lane] if follows && !spec.keep_history => lane,
            // Of what else a run may be, nobody says what is held afterwards.
            _ => return begun,
        };
        let (prompt, ends) = match &lane.input {
            Input::Tokens(ids) => (Content::Tokens(ids.clone()), Vec::new()),
            // Other libraries find by themselves what they hold of a text.
            Input::Rendered(text) if text.ends.is_empty() || !appends => return begun,
            Input::Rendered(text) => {
                let bytes = text.texts[0].as_bytes().to_vec();
                (Content::Text(bytes), text.ends.clone())
            }
            Input::Prompt(_) | Input::Embeddings(_) | Input::Multimodal(_) => return begun,
        };
        let mut before = 0;
        if appends {
            spec.keep_history = true;
            if let Some(tail) = goes_on.then(|| tail(&held, &lane.input)).flatten() {
                lane.input = tail;
                before = count;
            } else {
                begun.clears = true;
            }
            begun.cached = Some(before);
        }
        let given = match &lane.input {
            Input::Tokens(ids) => Some(ids.len()),
            _ => None,
        };
        self.run = Some(Followed {
            prompt,
            before,
            given,
            appends,
            lora: spec.lora.clone(),
            ends,
        });
        begun
    }

    /// The run has come to its end, and nothing has cut it off. False if the library has not done with history
    /// what was expected of it.
    pub(super) fn end(&mut self, course: &Course) -> bool {
        let Some(run) = self.run.take() else {
            self.forget();
            return true;
        };
        let made = course.made.ids.len();
        // The library's own count is all there is of a text; of tokens it must be right.
        let given = match run.given {
            Some(given) => Some(given).filter(|_| course.prefilled.is_none_or(|it| it == given)),
            None => course.prefilled,
        };
        let prompt = match &run.prompt {
            Content::Tokens(ids) => Some(ids.len()),
            Content::Text(_) => given.map(|given| run.before + given),
        };
        // How many of the tokens that were made lie in the cache: the one chosen last is not computed, and an end
        // token may have been chosen and not told.
        let computed = match course.size {
            Some(size) => prompt
                .and_then(|prompt| size.checked_sub(prompt))
                .filter(|&computed| computed == made || computed + 1 == made),
            None => Some(made.saturating_sub(1)),
        };
        let is_certain = !run.appends || (given.is_some() && course.size.is_some());
        let (Some(computed), Some(prompt)) = (computed.filter(|_| is_certain), prompt) else {
            // With a loaded prompt cache or a template of its own the library may hold more.
            self.distrusted |= run.appends;
            self.forget();
            return !run.appends;
        };
        // Where the context was full, the library has dropped what nobody knows.
        if prompt + made >= self.room {
            self.forget();
            return true;
        }
        let content = match run.prompt {
            Content::Tokens(ids) => Some(Content::Tokens(
                [&ids[..], &course.made.ids[..computed]].concat(),
            )),
            Content::Text(text) => course
                .made
                .text(computed, &run.ends)
                .map(|said| Content::Text([&text[..], &said].concat())),
        };
        // A token without text may be anything.
        let Some(content) = content else {
            self.forget();
            return true;
        };
        self.content = content;
        self.count = prompt + computed;
        self.lora = run.lora;
        // A token that waits to be computed may or may not be computed by the next run.
        self.goes_on = run.appends && course.ended_itself;
        true
    }
}

/// What is left of a prompt behind what is held: at least one token, and of a text only if it is cut where
/// tokens end whatever stands there.
fn tail(held: &Content, input: &Input) -> Option<Input> {
    match (held, input) {
        (Content::Tokens(held), Input::Tokens(ids)) => {
            let tail = ids.strip_prefix(held.as_slice())?;
            (!tail.is_empty()).then(|| Input::Tokens(tail.to_vec()))
        }
        (Content::Text(held), Input::Rendered(text)) => {
            let tail = text.texts[0].as_bytes().strip_prefix(held.as_slice())?;
            let mut ends = text.ends.iter().map(|(end, _)| end.as_bytes());
            let is_cut = ends.any(|end| tail.starts_with(end) || held.ends_with(end));
            let tail = CString::new(tail).ok()?;
            (is_cut && !tail.is_empty()).then(|| {
                Input::Rendered(Rendered {
                    texts: vec![tail],
                    ..text.clone()
                })
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

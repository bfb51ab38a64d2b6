//! A model's chat template: from messages to the text that goes to the tokenizer.
//!
//! What a template is given, and in which form, is what transformers gives it: a template is written
//! against that, and a model is trained on what comes of it.

mod strings;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

pub use strings::{CannotSay, ThreeStrings};

use minijinja::value::ValueKind;

use crate::jinja::{Jinja, Record, Trouble, Value};

/// How many compiled templates are kept.
const KEPT: usize = 8;

/// The names under which a message's thinking comes. The first is the one that templates read.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A compiled template, with the special tokens that it may write.
///
/// A clone is cheap, and any number of threads may use one at the same time.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    jinja: Jinja,
    source: Arc<str>,
    tokens: Arc<[(String, String)]>,
}

/// What a template is rendered from.
///
/// Values are made with `Value::from(Serde(…))` of whatever serde can write, see [`Serde`](crate::jinja::Serde).
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// The conversation, a map each. A key whose value is none counts as missing.
    pub messages: Vec<Value>,
    /// Tools, in the shape `{"type": "function", "function": {…}}`. `None` is the template's `none`.
    pub tools: Option<Value>,
    /// Documents, for templates that know them. `None` is the template's `none`.
    pub documents: Option<Value>,
    /// Whether the text ends where the model is to begin its answer.
    pub add_generation_prompt: bool,
    /// Further names that the template may ask for, such as `enable_thinking`. They win over all others.
    pub variables: Vec<(String, Value)>,
    /// The time that the template is told; `None` is now.
    pub now: Option<SystemTime>,
}

impl ChatTemplate {
    /// Compiles a template, or takes it from those that have been compiled last.
    ///
    /// # Errors
    /// [`Trouble::NotUnderstood`] for what is no template.
    pub fn new(source: &str) -> Result<Self, Trouble> {
        let (source, jinja) = compiled(source)?;
        Ok(Self {
            jinja,
            source,
            tokens: Arc::new([]),
        })
    }

    /// With special tokens by the names that transformers has for them, such as `bos_token`.
    #[must_use]
    pub fn with_tokens<N: Into<String>, T: Into<String>>(
        mut self,
        tokens: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        let both = |(name, token): (N, T)| (name.into(), token.into());
        self.tokens = tokens.into_iter().map(both).collect();
        self
    }

    /// The text of the template.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text that goes to the tokenizer. The template has written the token that begins a text, if the
    /// model wants one: the tokenizer must not add another.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn render(&self, prompt: &Prompt) -> Result<String, Trouble> {
        let messages: Value = prompt.messages.iter().map(prepared).collect();
        let given = |value: &Option<Value>| value.clone().unwrap_or_else(|| Value::from(()));
        let mut names: Vec<(&str, Value)> = self
            .tokens
            .iter()
            .map(|(name, token)| (name.as_str(), Value::from(token.as_str())))
            .collect();
        names.extend([
            ("messages", messages),
            ("tools", given(&prompt.tools)),
            ("documents", given(&prompt.documents)),
            (
                "add_generation_prompt",
                Value::from(prompt.add_generation_prompt),
            ),
        ]);
        let variables = prompt.variables.iter();
        names.extend(variables.map(|(name, value)| (name.as_str(), value.clone())));
        self.jinja.render_at(prompt.now, Value::from_pairs(names))
    }

    /// What the vendor's three strings say of this template, with a system text or without; see
    /// [`ThreeStrings`].
    ///
    /// # Errors
    /// [`CannotSay`], with the reason.
    pub fn three_strings(
        &self,
        system: Option<&str>,
        variables: &[(String, Value)],
    ) -> Result<ThreeStrings, CannotSay> {
        strings::of(self, system, variables)
    }
}

/// The compiled template of a text, with the text itself.
fn compiled(source: &str) -> Result<(Arc<str>, Jinja), Trouble> {
    type Kept = VecDeque<(Arc<str>, Jinja)>;
    static LAST: Mutex<Kept> = Mutex::new(VecDeque::new());
    let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let found = {
        let mut last = last();
        let place = last.iter().position(|(known, _)| &**known == source);
        place.and_then(|place| last.remove(place))
    };
    let pair = match found {
        Some(pair) => pair,
        None => (Arc::from(source), Jinja::new(source)?),
    };
    let mut last = last();
    last.push_front(pair.clone());
    last.truncate(KEPT);
    Ok(pair)
}

/// A message as a template is given it: without what is none, and with its thinking under the names that
/// templates ask for.
fn prepared(message: &Value) -> Value {
    let is_reasoning = |key: &Value| key.as_str().is_some_and(|key| REASONING.contains(&key));
    let is_plain = |(key, value): &(Value, Value)| !value.is_none() && !is_reasoning(key);
    if Record::pairs(message).is_some_and(|pairs| pairs.iter().all(is_plain)) {
        return message.clone();
    }
    let pairs = match message.as_object() {
        Some(object) if message.kind() == ValueKind::Map => object.try_iter_pairs(),
        _ => None,
    };
    let Some(pairs) = pairs else {
        return message.clone();
    };
    let mut all: Vec<_> = pairs.filter(|(_, value)| !value.is_none()).collect();
    let place = |all: &[(Value, Value)], name: &str| {
        all.iter().position(|(key, _)| key.as_str() == Some(name))
    };
    let first = REASONING.iter().find_map(|name| place(&all, name));
    if let Some(reasoning) = first.map(|at| all[at].1.clone()) {
        if place(&all, "thinking").is_none() {
            all.insert(0, (Value::from("thinking"), reasoning.clone()));
        }
        match place(&all, REASONING[0]) {
            Some(at) => all[at].1 = reasoning,
            None => all.push((Value::from(REASONING[0]), reasoning)),
        }
    }
    Record::dict(all)
}

#[cfg(test)]
mod tests;

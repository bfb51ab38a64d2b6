//! What `rkllm_set_chat_template` can say of a template: found by rendering conversations of which only the
//! frame matters.

use std::fmt;

use super::{ChatTemplate, Prompt};
use crate::jinja::{Trouble, Value};

/// Stand for the texts of a conversation, whose places are looked for.
const QUESTION: &str = "\u{1}the-question\u{1}";
const SECOND: &str = "\u{1}the-second-question\u{1}";
const ANSWER: &str = "\u{1}the-answer\u{1}";
/// White space around a text, which some templates cut off.
const SPACE: &str = " \n";

/// A template as the vendor's library takes it: `system`, then `prefix`, the text and `postfix`.
///
/// That is one user's turn. It has no place for tools and their results, for answers that the caller gives,
/// nor for turns that look otherwise because of what comes after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreeStrings {
    /// What comes before the first turn: the system's turn, and the token that begins a text if the
    /// template writes it.
    pub system: String,
    /// What comes before each text of the user.
    pub prefix: String,
    /// What comes behind it, up to where the model begins its answer.
    pub postfix: String,
    /// Whether the template cuts white space off the user's text, which the three strings do not.
    pub trims: bool,
    /// What the template puts behind an answer, before `prefix`, when the conversation goes on. `None` if
    /// it writes later turns in another way: then the strings are right for a first turn only.
    pub answer_end: Option<String>,
}

/// Why three strings cannot say what a template does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CannotSay {
    /// The template gives no text for a conversation of one message.
    Trouble(Trouble),
    /// The user's text does not appear just once and as it is.
    Text,
    /// The system text does not appear just once and before the user's.
    System,
}

impl fmt::Display for CannotSay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trouble(trouble) => trouble.fmt(f),
            Self::Text => {
                f.write_str("the chat template changes, omits or repeats the user's text")
            }
            Self::System => f.write_str(
                "the chat template omits the system text, or does not put it before the user's",
            ),
        }
    }
}

impl std::error::Error for CannotSay {}

pub(super) fn of(
    template: &ChatTemplate,
    system: Option<&str>,
    variables: &[(String, Value)],
) -> Result<ThreeStrings, CannotSay> {
    let rendered = |turns: &[(&str, &str)], open: bool| {
        let system = system.map(|text| ("system", text));
        let messages = system.iter().chain(turns);
        template.render(&Prompt {
            messages: messages.map(message).collect(),
            add_generation_prompt: open,
            variables: variables.to_vec(),
            // All at one time, or a date could change in between.
            now: Some(std::time::SystemTime::now()),
            ..Prompt::default()
        })
    };
    let one = rendered(&[("user", QUESTION)], true).map_err(CannotSay::Trouble)?;
    let (head, postfix) = around(&one, QUESTION).ok_or(CannotSay::Text)?;
    if system.is_some_and(|text| around(head, text.trim()).is_none()) {
        return Err(CannotSay::System);
    }
    let spaced = format!("{SPACE}{QUESTION}{SPACE}");
    let spaced = rendered(&[("user", &spaced)], true).map_err(CannotSay::Trouble)?;
    let trims = match around(&spaced, QUESTION).ok_or(CannotSay::Text)? {
        (before, after) if before == head && after == postfix => true,
        (before, after)
            if before.strip_suffix(SPACE) == Some(head)
                && after.strip_prefix(SPACE) == Some(postfix) =>
        {
            false
        }
        _ => return Err(CannotSay::Text),
    };
    let turns = [("user", QUESTION), ("assistant", ANSWER), ("user", SECOND)];
    let answered = rendered(&turns[..2], false).ok();
    let two = rendered(&turns, true).ok();
    let both = answered.zip(two);
    let (prefix, answer_end) = both
        .and_then(|(answered, two)| later(&answered, &two, head, postfix))
        .unzip();
    let prefix = prefix.unwrap_or_else(|| head.to_owned());
    Ok(ThreeStrings {
        system: head[..head.len() - prefix.len()].to_owned(),
        prefix,
        postfix: postfix.to_owned(),
        trims,
        answer_end,
    })
}

/// What a later turn has in common with the first: what comes before the text; and what stands between
/// an answer and that.
fn later(answered: &str, two: &str, head: &str, postfix: &str) -> Option<(String, String)> {
    let first = |text| {
        let (before, after) = around(text, ANSWER)?;
        let turn = before.strip_prefix(head)?.strip_prefix(QUESTION)?;
        (turn == postfix).then_some(after)
    };
    let answer_end = first(answered)?;
    let (between, end) = around(first(two)?, SECOND)?;
    let prefix = between.strip_prefix(answer_end)?;
    (end == postfix && !prefix.is_empty() && head.ends_with(prefix))
        .then(|| (prefix.to_owned(), answer_end.to_owned()))
}

/// What is on both sides of the only place of `wanted`.
fn around<'t>(text: &'t str, wanted: &str) -> Option<(&'t str, &'t str)> {
    let (before, after) = text.split_once(wanted)?;
    (!after.contains(wanted)).then_some((before, after))
}

fn message((role, content): &(&str, &str)) -> Value {
    Value::from_pairs([("role", *role), ("content", *content)])
}

//! Says whether a call that has been read can be made.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::ToolCall;
use super::calls::Record;
use super::literal;
use crate::schema::{self, Json, Tools};

pub(super) type Object = serde_json::Map<String, serde_json::Value>;

/// Why a call must not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallProblem {
    /// The answer ends, or the call is closed, before its arguments are complete.
    Incomplete,
    /// The arguments are no JSON object, or the call was read although its form is wrong.
    BadJson,
    /// There is no tool of this name.
    UnknownTool,
    /// The arguments are not what the tool takes.
    DoesNotFit,
}

/// What is wrong with a call of `name` that has these arguments.
#[must_use]
pub fn check(name: &str, arguments_json: &str, tools: &Tools) -> Option<(CallProblem, String)> {
    match serde_json::from_str(&plain(arguments_json)) {
        Ok(Json::Object(arguments)) => fits(name, &arguments, tools),
        Ok(_) => {
            let text = "the arguments must be a JSON object".to_owned();
            Some((CallProblem::BadJson, text))
        }
        Err(why) => {
            let odd = match literal::object(arguments_json, literal::Dialect::Json) {
                Ok(read) => read.odd,
                Err(odd) => Some(odd),
            };
            let odd = odd.unwrap_or_else(|| why.to_string());
            let text = format!("the arguments are not valid JSON: {odd}");
            Some((CallProblem::BadJson, text))
        }
    }
}

/// The arguments, read as JSON, or leniently if they are none: then [`check`] has found a problem.
pub(super) fn arguments(arguments_json: &str) -> Option<Object> {
    match serde_json::from_str(&plain(arguments_json)) {
        Ok(serde_json::Value::Object(arguments)) => Some(arguments),
        Ok(_) => None,
        Err(_) => {
            let read = literal::object(arguments_json, literal::Dialect::Json).ok()?;
            serde_json::from_str(&read.json).ok()
        }
    }
}

/// The text of the arguments' object. Some models write it into a JSON string, and for none at all an empty
/// string, `null` or `None`.
pub(super) fn plain(arguments_json: &str) -> Cow<'_, str> {
    let text = arguments_json.trim();
    if matches!(text, "null" | "None") {
        return Cow::Borrowed("{}");
    }
    let inside = text
        .starts_with(['"', '\''])
        .then(|| literal::unquote(text));
    match inside.flatten() {
        Some(inside) if inside.trim().is_empty() => Cow::Borrowed("{}"),
        Some(inside) if serde_json::from_str::<Object>(&inside).is_ok() => Cow::Owned(inside),
        _ => Cow::Borrowed(arguments_json),
    }
}

fn fits(
    name: &str,
    arguments: &schema::Object<'_>,
    tools: &Tools,
) -> Option<(CallProblem, String)> {
    if !tools.is_empty() && !tools.is_known(name) {
        let known = tools.names().collect::<Vec<_>>().join(", ");
        let text = format!("there is no tool {name:?}; the tools are: {known}");
        return Some((CallProblem::UnknownTool, text));
    }
    let why = tools.check(name, arguments).err()?;
    Some((CallProblem::DoesNotFit, why))
}

/// A call as it is handed out.
pub(super) fn finished(record: Record, id: String, tools: &Tools) -> ToolCall {
    let name = record.name.unwrap_or_default();
    let mut found = check(&name, &record.arguments, tools);
    let stray = Some(&record.stray).filter(|stray| !stray.is_empty());
    let stray = stray.map(|stray| format!("there is text between the arguments: {stray}"));
    if record.is_incomplete {
        let text = "the call is not complete".to_owned();
        found = Some((CallProblem::Incomplete, text));
    } else if let (Some(odd), None | Some((CallProblem::BadJson | CallProblem::DoesNotFit, _))) =
        (record.odd.or(stray), &found)
    {
        let text = format!("the call is not written as it should be: {odd}");
        found = Some((CallProblem::BadJson, text));
    }
    let (problem, error) = found.unzip();
    ToolCall {
        id,
        name,
        arguments_json: record.arguments,
        error,
        problem,
    }
}

//! Tools' JSON schemas: which tools there are, what types their arguments have, and whether arguments fit.
//!
//! This is the subset of JSON Schema that describes tools: types, enums, properties, items, unions,
//! references within the schema, and bounds. Other keywords are ignored. Depth and steps are bounded,
//! since schemas and arguments both come from outside.

mod fit;
mod json;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

pub use json::{Json, Object};
use serde_json::Value;

/// Most tools of a run.
pub const MOST_TOOLS: usize = 1024;

/// Why a list of tools is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolsProblem {
    /// It is no list, or what is in it is no tool.
    #[error("tools must be a list of objects with a name, or with a function that has one")]
    NotTools,
    /// More than can be meant.
    #[error("there must be at most {MOST_TOOLS} tools, got {0}")]
    TooMany(usize),
    /// Two have the same name.
    #[error("each tool must have a name of its own, got {0:?} twice")]
    Twice(String),
}

/// The tools of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    /// Name and schema of the arguments, in the order given.
    list: Vec<(String, Value)>,
}

impl Tools {
    /// Reads tools of the OpenAI shape: `{"type": "function", "function": {"name", "parameters"}}`, or the
    /// inner object alone.
    ///
    /// # Errors
    /// [`ToolsProblem`].
    pub fn new(tools: &Value) -> Result<Self, ToolsProblem> {
        let list = tools.as_array().ok_or(ToolsProblem::NotTools)?;
        if list.len() > MOST_TOOLS {
            return Err(ToolsProblem::TooMany(list.len()));
        }
        let mut all = Self::default();
        for tool in list {
            let function = tool.get("function").unwrap_or(tool);
            let name = function.get("name").and_then(Value::as_str);
            let name = name.ok_or(ToolsProblem::NotTools)?;
            if all.is_known(name) {
                return Err(ToolsProblem::Twice(name.to_owned()));
            }
            let schema = function.get("parameters").cloned().unwrap_or_default();
            all.list.push((name.to_owned(), schema));
        }
        Ok(all)
    }

    /// Whether there are none: then nothing is known of names and arguments, and nothing checked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The names in the order given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(name, _)| name.as_str())
    }

    /// The tools with the schemas of their arguments, in the order given.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.list
            .iter()
            .map(|(name, schema)| (name.as_str(), schema))
    }

    /// Whether a tool has this name.
    #[must_use]
    pub fn is_known(&self, name: &str) -> bool {
        self.schema(name).is_some()
    }

    /// The tool that is meant by `name`: the one of this name, or the only one that `name` ends with after
    /// a separator (models write `functions.f` and `server:f`).
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<&str> {
        if let Some((known, _)) = self.list.iter().find(|(known, _)| known == name) {
            return Some(known);
        }
        let mut ends = self.names().filter(|known| {
            let before = name.strip_suffix(known);
            before.is_some_and(|before| before.ends_with([':', '.', '/']))
        });
        let only = ends.next()?;
        ends.next().is_none().then_some(only)
    }

    /// Whether the arguments are what the tool takes. An unknown tool takes anything.
    ///
    /// # Errors
    /// What does not fit and where, in words for the model.
    pub fn check(&self, name: &str, arguments: &Object<'_>) -> Result<(), String> {
        match self.schema(name) {
            Some(schema) => fit::arguments(schema, arguments),
            None => Ok(()),
        }
    }

    /// The types that the schema allows for an argument; none if it does not say.
    #[must_use]
    pub fn types(&self, name: &str, argument: &str) -> Vec<&str> {
        let Some(root) = self.schema(name) else {
            return Vec::new();
        };
        let property = root.get("properties").and_then(|all| all.get(argument));
        property.map_or_else(Vec::new, |schema| fit::types(schema, root))
    }

    /// An argument that was written as plain text, as JSON: by its type, or as JSON if it is that, or as a
    /// string.
    #[must_use]
    pub fn spell(&self, name: &str, argument: &str, text: &str) -> String {
        let types = self.types(name, argument);
        let trimmed = text.trim();
        for kind in &types {
            let json = match *kind {
                "integer" => integer(trimmed),
                "number" => number(trimmed),
                "boolean" => match trimmed {
                    "true" | "True" => Some("true".to_owned()),
                    "false" | "False" => Some("false".to_owned()),
                    _ => None,
                },
                "null" => matches!(trimmed, "null" | "None").then(|| "null".to_owned()),
                "object" => nested(trimmed, '{'),
                "array" => nested(trimmed, '['),
                _ => None,
            };
            if let Some(json) = json {
                return json;
            }
        }
        let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok();
        if types.is_empty() && is_json() {
            return trimmed.to_owned();
        }
        Value::from(text).to_string()
    }

    fn schema(&self, name: &str) -> Option<&Value> {
        let found = self.list.iter().find(|(known, _)| known == name);
        found.map(|(_, schema)| schema)
    }
}

/// A whole number, also one that is written with a point.
fn integer(text: &str) -> Option<String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.to_string());
    }
    let number: f64 = text.parse().ok()?;
    let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
    is_whole.then(|| (number as i64).to_string())
}

fn number(text: &str) -> Option<String> {
    serde_json::from_str::<serde_json::Number>(text).ok()?;
    Some(text.to_owned())
}

fn nested(text: &str, bracket: char) -> Option<String> {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    (is_json && text.starts_with(bracket)).then(|| text.to_owned())
}

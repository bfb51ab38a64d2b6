//! A model's `response_template` (`tokenizer_config.json`) as a [`Format`].
//!
//! The shape is that of transformers. What the family table needs besides: `tool_calls` may be a list of
//! ways to call, of which one that is not the first may be `own`: a call that is asked for is written in it.
//! `content_args` name markers where transformers has a pattern, and `skip`, `calls_in_reasoning` and `plain_ids`
//! stand beside `fields`.

use serde_json::{Map, Value};

use super::format::{Body, CallForm, Format, Region, Tags};
use super::pattern::{self, Part};

/// Most literals of one list, and the longest: beyond, somebody has made a mistake.
const MOST: usize = 64;
const LONGEST: usize = 256;

/// Why a `response_template` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("response_template: {scope} {what}")]
pub struct TemplateProblem {
    /// The part that is wrong.
    pub scope: String,
    /// What is wrong with it.
    pub what: String,
}

fn problem<T>(scope: &str, what: impl Into<String>) -> Result<T, TemplateProblem> {
    Err(TemplateProblem {
        scope: scope.to_owned(),
        what: what.into(),
    })
}

type Object = Map<String, Value>;

impl Format {
    /// Reads a `response_template`.
    ///
    /// # Errors
    /// [`TemplateProblem`] for what is not understood: a model that brings it is then read as its family.
    pub fn from_response_template(spec: &Value) -> Result<Self, TemplateProblem> {
        let Some(spec) = spec.as_object() else {
            return problem("it", "must be an object");
        };
        if spec.get("version").is_some_and(|version| version != 1) {
            return problem("version", "must be 1");
        }
        let Some(fields) = spec.get("fields").and_then(Value::as_object) else {
            return problem("fields", "must be an object");
        };
        let mut format = Self {
            start_anchors: markers(spec, "start_anchor")?,
            skipped: literals(spec, "skip")?,
            calls_in_reasoning: spec.get("calls_in_reasoning") == Some(&Value::Bool(true)),
            plain_ids: spec.get("plain_ids") == Some(&Value::Bool(true)),
            ..Self::default()
        };
        for (name, field) in fields {
            match name.as_str() {
                "reasoning_content" | "reasoning" | "thinking" => {
                    for field in several(name, field)? {
                        format.reasoning.push(region(name, field)?);
                    }
                }
                "tool_calls" => {
                    for field in several(name, field)? {
                        format.calls.push(call_form(field)?);
                    }
                }
                "content" => {
                    let field = several(name, field)?[0];
                    format.skipped.extend(markers(field, "open")?);
                    format.stops = markers(field, "close")?;
                }
                _ => return problem(name, "is not a field that an answer has"),
            }
        }
        Ok(format)
    }
}

/// A field, or a list of them.
fn several<'a>(name: &str, field: &'a Value) -> Result<Vec<&'a Object>, TemplateProblem> {
    let all: Option<Vec<&Object>> = match field {
        Value::Array(list) if list.len() <= MOST => list.iter().map(Value::as_object).collect(),
        other => other.as_object().map(|one| vec![one]),
    };
    match all {
        Some(all) if !all.is_empty() => Ok(all),
        _ => problem(name, "must be an object"),
    }
}

fn region(name: &str, field: &Object) -> Result<Region, TemplateProblem> {
    let (open, close) = (markers(field, "open")?, markers(field, "close")?);
    if open.is_empty() {
        return problem(name, "must have an open marker");
    }
    Ok(Region { open, close })
}

/// A string or a list of strings.
fn literals(object: &Object, key: &str) -> Result<Vec<String>, TemplateProblem> {
    let list: Vec<&str> = match object.get(key) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) if list.len() <= MOST => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            match texts {
                Some(texts) => texts,
                None => return problem(key, "must hold strings only"),
            }
        }
        Some(_) => return problem(key, "must be a string or a list of at most 64"),
    };
    if list
        .iter()
        .any(|text| text.is_empty() || text.len() > LONGEST)
    {
        return problem(key, "must hold strings of 1 to 256 bytes");
    }
    Ok(list.into_iter().map(str::to_owned).collect())
}

/// The literals under `key`, or those that the pattern beside it stands for.
fn markers(object: &Object, key: &str) -> Result<Vec<String>, TemplateProblem> {
    let mut all = literals(object, key)?;
    for sequence in patterns(object, key)? {
        let parts: Vec<&Part> = sequence
            .iter()
            .filter(|part| !matches!(part, Part::Space))
            .collect();
        match parts.as_slice() {
            [Part::Literal(text)] if text.len() <= LONGEST => all.push(text.clone()),
            [] | [Part::End] => {}
            _ => return problem(key, "has a pattern that is no plain marker"),
        }
    }
    Ok(all)
}

fn patterns(object: &Object, key: &str) -> Result<pattern::Pattern, TemplateProblem> {
    let key = format!("{key}_pattern");
    match object.get(&key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.len() <= 4 * LONGEST => {
            pattern::parse(text).or_else(|what| problem(&key, what))
        }
        Some(_) => problem(&key, "must be a pattern of at most 1024 bytes"),
    }
}

/// The literals of an opening pattern around the name: before it, between, after it.
struct Opening {
    open: String,
    prefix: String,
    after: String,
}

/// An opening pattern that captures the name.
fn opening(field: &Object) -> Result<Option<Opening>, TemplateProblem> {
    let all = patterns(field, "open")?;
    let named = |parts: &Vec<Part>| parts.iter().any(|part| matches!(part, Part::Capture(_)));
    if !all.iter().any(named) {
        return Ok(None);
    }
    let [sequence] = all.as_slice() else {
        return problem("open_pattern", "must not have alternatives beside a name");
    };
    let mut texts = sequence.iter().filter(|part| !matches!(part, Part::Space));
    let (mut before, mut after) = (Vec::new(), String::new());
    for part in texts.by_ref() {
        match part {
            Part::Literal(text) => before.push(text.clone()),
            Part::Capture(name) if name == "name" => break,
            _ => return problem("open_pattern", "must capture the name alone"),
        }
    }
    for part in texts {
        match part {
            Part::Literal(text) => after.push_str(text),
            _ => return problem("open_pattern", "must capture the name alone"),
        }
    }
    match before.as_slice() {
        [open, prefix @ ..] if prefix.len() < 2 => Ok(Some(Opening {
            open: open.clone(),
            prefix: prefix.concat(),
            after,
        })),
        _ => problem("open_pattern", "must have one or two texts before the name"),
    }
}

fn call_form(field: &Object) -> Result<CallForm, TemplateProblem> {
    let nothing = Object::new();
    let arguments = match field.get("content_args") {
        None => &nothing,
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return problem("content_args", "must be an object"),
    };
    let opening = opening(field)?;
    let is_own = field.get("own") == Some(&Value::Bool(true));
    let content = field.get("content").and_then(Value::as_str);
    let form = match (content.unwrap_or("text"), opening) {
        ("json", Some(opening)) => CallForm {
            open: vec![opening.open],
            close: markers(field, "close")?,
            body: Body::Named {
                prefix: opening.prefix,
                name_end: Some(opening.after)
                    .filter(|after| !after.is_empty())
                    .into_iter()
                    .collect(),
                kind: None,
                id_open: None,
                prose: None,
                quotes: pairs(arguments, "string_delims")?,
            },
            is_own,
        },
        ("xml-inline", Some(opening)) => tagged(field, arguments, opening)?,
        (kind, None) => CallForm {
            open: markers(field, "open")?,
            close: markers(field, "close")?,
            body: match kind {
                "json"
                    if arguments.contains_key("name_end") || arguments.contains_key("prefix") =>
                {
                    named(arguments)?
                }
                "json" => json(field, arguments)?,
                "xml-inline" => Body::Tags(tags(arguments)?),
                "python-call-list" => Body::Python {
                    in_list: arguments.get("in_list") != Some(&Value::Bool(false)),
                    stand_in: text(arguments, "stand_in")?,
                },
                _ => {
                    return problem(
                        "tool_calls",
                        "must have content json, xml-inline or python-call-list",
                    );
                }
            },
            is_own,
        },
        _ => return problem("tool_calls", "must not capture a name beside this content"),
    };
    if form.open.is_empty() && !field.contains_key("bare") {
        return problem("tool_calls", "must have an open marker");
    }
    Ok(form)
}

/// Objects with name and arguments; their keys may be named by the transform.
fn json(field: &Object, arguments: &Object) -> Result<Body, TemplateProblem> {
    let (mut name_keys, mut argument_keys) = (
        literals(arguments, "name")?,
        literals(arguments, "arguments")?,
    );
    let function = field.get("transform").and_then(|t| t.get("function"));
    if let Some(function) = function {
        let key = |of: &str| {
            let place = function.get(of)?.as_str()?;
            let path = place.strip_prefix('{')?.strip_suffix('}')?;
            path.rsplit('.').next().map(str::to_owned)
        };
        name_keys.extend(key("name"));
        argument_keys.extend(key("arguments"));
    }
    if name_keys.is_empty() {
        name_keys.push("name".to_owned());
    }
    for usual in ["arguments", "parameters"] {
        if !argument_keys.iter().any(|key| key == usual) {
            argument_keys.push(usual.to_owned());
        }
    }
    Ok(Body::Json {
        name_keys,
        argument_keys,
    })
}

fn named(arguments: &Object) -> Result<Body, TemplateProblem> {
    Ok(Body::Named {
        prefix: text(arguments, "prefix")?.unwrap_or_default(),
        name_end: literals(arguments, "name_end")?,
        kind: text(arguments, "kind")?,
        id_open: text(arguments, "id_open")?,
        prose: text(arguments, "prose")?,
        quotes: pairs(arguments, "string_delims")?,
    })
}

fn text(object: &Object, key: &str) -> Result<Option<String>, TemplateProblem> {
    Ok(literals(object, key)?.pop())
}

fn pairs(object: &Object, key: &str) -> Result<Vec<[String; 2]>, TemplateProblem> {
    let list = match object.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MOST => list,
        Some(_) => return problem(key, "must be a list of pairs"),
    };
    let mut all = Vec::new();
    for pair in list {
        let wrapped = Object::from_iter([(key.to_owned(), pair.clone())]);
        match <[String; 2]>::try_from(literals(&wrapped, key)?) {
            Ok(pair) => all.push(pair),
            Err(_) => return problem(key, "must be a list of pairs"),
        }
    }
    Ok(all)
}

fn tags(arguments: &Object) -> Result<Tags, TemplateProblem> {
    let (Ok(key), Some(value_close), Some(end)) = (
        <[String; 2]>::try_from(literals(arguments, "key")?),
        text(arguments, "value_close")?,
        text(arguments, "end")?,
    ) else {
        return problem("content_args", "must have key, value_close and end");
    };
    Ok(Tags {
        name_open: text(arguments, "name_open")?.unwrap_or_default(),
        name_close: literals(arguments, "name_close")?,
        key,
        value_open: text(arguments, "value_open")?.unwrap_or_default(),
        value_close,
        end,
    })
}

/// Tags in transformers' spelling: a pattern with the groups `key` and `value`.
fn tagged(
    field: &Object,
    arguments: &Object,
    opening: Opening,
) -> Result<CallForm, TemplateProblem> {
    let wrapped = Object::from_iter(
        arguments
            .get("tag_pattern")
            .map(|tag| ("tag_pattern".to_owned(), tag.clone())),
    );
    let all = patterns(&wrapped, "tag")?;
    let parts: Vec<&Part> = match all.as_slice() {
        [sequence] => sequence
            .iter()
            .filter(|part| !matches!(part, Part::Space))
            .collect(),
        _ => Vec::new(),
    };
    let [
        Part::Literal(before),
        Part::Capture(key),
        Part::Literal(between),
        Part::Capture(value),
        Part::Literal(after),
    ] = parts.as_slice()
    else {
        return problem(
            "tag_pattern",
            "must be a marker, key, a marker, value and a marker",
        );
    };
    if (key.as_str(), value.as_str()) != ("key", "value") {
        return problem("tag_pattern", "must capture key and value");
    }
    let mut ends = literals(field, "close")?;
    for sequence in patterns(field, "close")? {
        ends.extend(sequence.into_iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text),
            _ => None,
        }));
    }
    if ends.is_empty() || ends.len() > 2 {
        return problem("close_pattern", "must have one or two markers");
    }
    let has_outer = !opening.prefix.is_empty();
    let end = ends[0].clone();
    let tags = Tags {
        name_open: if has_outer {
            opening.prefix
        } else {
            String::new()
        },
        name_close: vec![opening.after],
        key: [before.clone(), between.clone()],
        value_open: String::new(),
        value_close: after.clone(),
        end,
    };
    Ok(CallForm {
        open: vec![opening.open],
        close: ends.split_off(1),
        body: Body::Tags(tags),
        is_own: false,
    })
}

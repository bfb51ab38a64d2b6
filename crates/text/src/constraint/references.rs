//! References as the engine reads them.

use serde_json::{Map, Value};

use super::ends::gather;
use crate::schema::reference::{follow, names};

/// What the reference of a schema leads to, if that is a part of `root`.
pub(super) fn referred<'a>(
    schema: &Map<String, Value>,
    root: &'a Map<String, Value>,
) -> Option<&'a Map<String, Value>> {
    let mut names = names(schema.get("$ref")?.as_str()?)?;
    let first = root.get(&names.next()?)?;
    follow(first, names)?.as_object()
}

/// The engine looks for a name as it is escaped in the reference, where others look for the name that is meant: each
/// definition is there under both.
pub(super) fn with_escaped_names(schema: &mut Value) {
    let mut references = Vec::new();
    gather(schema, "", &mut references);
    for (reference, _) in references {
        let mut parts = reference.split('/').skip(1);
        let meant = names(&reference).and_then(|mut names| names.nth(1));
        let (Some(keyword), Some(escaped), Some(meant)) = (parts.next(), parts.next(), meant)
        else {
            continue;
        };
        let Some(Value::Object(definitions)) = schema.get_mut(keyword) else {
            continue;
        };
        let is_one =
            ["$defs", "definitions"].contains(&keyword) && !definitions.contains_key(escaped);
        if let Some(definition) = definitions.get(&meant).filter(|_| is_one).cloned() {
            definitions.insert(escaped.to_owned(), definition);
        }
    }
}

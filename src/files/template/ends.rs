//! The tokens that end an answer, with their texts and their ids.

use serde_json::Value;

use super::Templates;

/// Those of `added_tokens_decoder`, whose tokens are such whatever stands beside them.
pub(super) fn of(added: Option<Value>, found: &Templates) -> Vec<(String, i32)> {
    let Some(Value::Object(added)) = added else {
        return Vec::new();
    };
    let mut tokens = found.tokens.iter();
    let eos = tokens.find(|(name, _)| name == "eos_token");
    let end = |(id, token): (String, Value)| {
        let (id, text) = (id.parse().ok()?, token.get("content")?.as_str()?);
        let is_end = found.stop_ids.contains(&id) || eos.is_some_and(|(_, eos)| eos == text);
        is_end.then(|| (text.to_owned(), id))
    };
    added.into_iter().filter_map(end).collect()
}

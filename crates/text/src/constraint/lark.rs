//! Grammars in llguidance's form of Lark. A JSON schema in one has the bounds that it has by itself.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::{Refusal, schema};

/// What stands before a JSON schema.
const JSON: &str = "%json";

/// The grammar as it is compiled: its JSON schemas with bounded white space.
///
/// # Errors
/// What is wrong with one of them, and where in it.
pub(super) fn bounded(text: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = after_json(rest) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        rest = after;
        let mut values = Deserializer::from_str(after).into_iter::<IgnoredAny>();
        // What is no JSON the engine refuses.
        if let Some(Ok(_)) = values.next() {
            let (own, left) = after.split_at(values.byte_offset());
            let lines = own.matches('\n').count();
            let own = schema::bounded(schema::parsed(own)?).to_string();
            // As many lines as before, so that the engine's errors name those of the grammar.
            out.extend([" ", &"\n".repeat(lines), &own]);
            rest = left;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The place behind the next `%json` that is in no text, pattern or comment.
fn after_json(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at = match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'#', _) | (b'/', Some(b'/')) => at + text[at..].find('\n')?,
            (quote @ (b'"' | b'/'), _) => closed(bytes, at + 1, *quote),
            (b'%', _) if text[at..].starts_with(JSON) => return Some(at + JSON.len()),
            _ => at + 1,
        };
    }
}

/// The place behind the quote that ends what begins at `at`.
fn closed(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'\\' => 2,
            _ if *byte == quote => return at + 1,
            _ => 1,
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_found_where_they_are() {
        for untouched in [
            "start: \"%json {}\"",
            "start: \"a\\\"%json {}\"",
            "start: /%json {}/",
            "start: /\\/%json {}/",
            "start: \"a\" // %json {}",
            "start: \"a\" # %json {}\n",
            "start: %json",
            "start: %json {",
            "start: \"é",
        ] {
            assert_eq!(bounded(untouched).as_deref(), Ok(untouched));
        }
        let two = "start: a | b // \"\na: %json {\n\"type\": \"null\"\n} \"é\"\nb: %json{}";
        let found = bounded(two).expect("two schemas");
        assert_eq!(found.matches("x-guidance").count(), 2, "{found}");
        assert_eq!(found.lines().count(), two.lines().count(), "{found}");
        assert!(found.contains(" \"é\"\nb: %json"), "{found}");
    }
}

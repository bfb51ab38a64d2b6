//! Grammars in llguidance's form of Lark. A JSON schema in one has the bounds that it has by itself, and a special token
//! is spelled as that of a tool call's markers is.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::{Grammar, LONGEST_PATTERN, Refusal, Spelling, schema};

/// What stands before a JSON schema.
const JSON: &str = "%json";
/// What begins a pattern.
const PATTERN: char = '/';
/// The most bytes of a grammar, without its JSON schemas.
const LONGEST: usize = 64 * 1024;
/// What begins tokens that are given by their ids, and stands for all tokens.
const IDS: &str = "<[";
const ANY: &str = "<[*]>";
/// An empty text.
const NOTHING: &str = "\"\"";

/// The grammar as it is compiled: its JSON schemas with bounded white space, its special tokens as they are spelled.
///
/// # Errors
/// What is wrong with one of them, and where in it.
pub(super) fn spelled(text: &str, spelling: Spelling<'_>) -> Result<String, Refusal> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut own, mut patterns) = (text, text.len(), 0);
    while let Some((at, found)) = next(rest) {
        let (before, after) = rest.split_at(at + found.len());
        rest = after;
        if found.starts_with(PATTERN) {
            patterns += found.len();
            out.push_str(before);
            continue;
        }
        if found != JSON {
            out.push_str(&before[..at]);
            out.push_str(&token(found, spelling)?);
            continue;
        }
        out.push_str(before);
        // What is no JSON the engine refuses.
        if let Some((schema, left)) = json(after) {
            own -= schema.len();
            let lines = schema.matches('\n').count();
            let schema = schema::bounded(schema::parsed(schema)?).to_string();
            // As many lines as before, so that the engine's errors name those of the grammar.
            out.extend([" ", &"\n".repeat(lines), &schema]);
            rest = left;
        }
    }
    out.push_str(rest);
    if own > LONGEST {
        let of = " beside its JSON schemas";
        return Err(Refusal::too_long(LONGEST, of, own));
    }
    if patterns > LONGEST_PATTERN {
        let of = " in all its patterns";
        return Err(Refusal::too_long(LONGEST_PATTERN, of, patterns));
    }
    Ok(out)
}

/// What is wrong with one of its JSON schemas, by itself.
pub(super) fn refused_schema(mut text: &str) -> Option<Refusal> {
    while let Some((at, found)) = next(text) {
        text = &text[at + found.len()..];
        if found != JSON {
            continue;
        }
        if let Some((schema, left)) = json(text) {
            text = left;
            if let Err(refusal) = Grammar::JsonSchema(schema.to_owned()).check() {
                return Some(refusal);
            }
        }
    }
    None
}

/// The JSON value that a text begins with, and what is behind it.
fn json(text: &str) -> Option<(&str, &str)> {
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(text.split_at(values.byte_offset()))
}

/// Whether it has tokens by their ids.
pub(super) fn has_ids(text: &str) -> bool {
    special_tokens(text).any(|found| found.starts_with(IDS))
}

/// The special tokens that it names.
pub(super) fn names(text: &str) -> Vec<&str> {
    special_tokens(text)
        .filter(|found| !found.starts_with(IDS))
        .collect()
}

fn special_tokens(mut text: &str) -> impl Iterator<Item = &str> {
    let all = std::iter::from_fn(move || {
        let (at, found) = next(text)?;
        text = &text[at + found.len()..];
        Some(found)
    });
    all.filter(|found| found.starts_with('<'))
}

fn token(name: &str, spelling: Spelling<'_>) -> Result<String, Refusal> {
    let refused = |reason, hint| {
        Err(Refusal {
            hint,
            ..Refusal::too_large(format!("has the special token {name}, {reason}"))
        })
    };
    let is_ids = name.starts_with(IDS);
    match spelling {
        Spelling::Unknown if is_ids => Ok(ANY.to_owned()),
        Spelling::Tokens(_) if is_ids => Ok(name.to_owned()),
        Spelling::Marks(..) | Spelling::Text if is_ids => refused(
            "which only constraint=\"mask\" can keep to",
            "Name the token, such as <|im_start|>.",
        ),
        Spelling::Text => refused(
            "but the tokens of this model are not known",
            "Put the model's tokenizer.json beside it.",
        ),
        Spelling::Unknown => Ok(spelling.marker(name)),
        Spelling::Tokens(vocabulary) | Spelling::Marks(vocabulary, _) => {
            let [Err(id)] = vocabulary.marks_in(name)[..] else {
                return refused(
                    "which this model does not have",
                    "Write it in quotes if it is text.",
                );
            };
            // Nothing comes behind it, and libraries do not show it.
            if vocabulary.ends().any(|end| end == id) {
                return Ok(NOTHING.to_owned());
            }
            match spelling.marker(name) {
                none if none == NOTHING => refused(
                    "one more than can be told apart",
                    "Name at most 32 of them.",
                ),
                spelled => Ok(spelled),
            }
        }
    }
}

/// The next `%json`, pattern or special token that is in no text or comment, and where it is.
fn next(text: &str) -> Option<(usize, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at = match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'#', _) | (b'/', Some(b'/')) => at + text[at..].find('\n')?,
            (b'/', _) => {
                let end = closed(bytes, at + 1, b'/').min(text.len());
                return Some((at, &text[at..end]));
            }
            (b'"', _) => closed(bytes, at + 1, b'"'),
            (b'%', _) if text[at..].starts_with(JSON) => return Some((at, JSON)),
            (b'<', _) => match special(&text[at..]) {
                Some(token) => return Some((at, token)),
                None => at + 1,
            },
            _ => at + 1,
        };
    }
}

/// The special token that a text begins with.
fn special(text: &str) -> Option<&str> {
    let name = &text[1..];
    let end = name.find(|c: char| matches!(c, '<' | '>') || c.is_whitespace())?;
    (end > 0 && name[end..].starts_with('>')).then(|| &text[..end + 2])
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
            "start: \"<|a|>\" /<|a|>/ // <|a|>",
            "start: <a b> <<> <",
        ] {
            assert_eq!(spelled(untouched, Spelling::Text).as_deref(), Ok(untouched));
        }
        let two = "start: a | b // \"\na: %json {\n\"type\": \"null\"\n} \"é\"\nb: %json{}";
        let found = spelled(two, Spelling::Text).expect("two schemas");
        assert_eq!(found.matches("x-guidance").count(), 2, "{found}");
        assert_eq!(found.lines().count(), two.lines().count(), "{found}");
        assert!(found.contains(" \"é\"\nb: %json"), "{found}");
    }
}

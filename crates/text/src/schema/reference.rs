//! References within a schema: `$ref` with a JSON pointer (RFC 6901) as the fragment of a URI.

use serde_json::Value;

/// The names on the way that a reference within its schema leads, as they are in the schema.
pub(crate) fn names(reference: &str) -> Option<impl Iterator<Item = String>> {
    let mut parts = reference.strip_prefix('#')?.split('/');
    // Behind the number sign comes nothing, or a slash.
    let is_pointer = parts.next()?.is_empty();
    let name = |part| unescaped(part).replace("~1", "/").replace("~0", "~");
    is_pointer.then(|| parts.map(name))
}

/// What a reference leads to.
pub(crate) fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    follow(root, names(reference)?)
}

/// What these names lead to from here.
pub(crate) fn follow(from: &Value, mut names: impl Iterator<Item = String>) -> Option<&Value> {
    names.try_fold(from, |here, name| next(here, &name))
}

fn next<'a>(here: &'a Value, name: &str) -> Option<&'a Value> {
    match here {
        Value::Array(all) => all.get(name.parse::<usize>().ok()?),
        Value::Object(all) => all.get(name),
        _ => None,
    }
}

/// A part of a fragment without its percent signs; as it is where that is no text.
fn unescaped(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, more @ ..] = rest {
        let digits = more.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[2..] } else { more };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| part.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_read_as_they_are_escaped() {
        let root = json!({"$defs": {
            "a/b": 1, "c~d": 2, "e f": 3, "ä": 4, "g%h": 5, "~1": 6, "+1": [7, 8], "": 9
        }});
        for (reference, value) in [
            ("#/$defs/a~1b", 1),
            ("#/$defs/a%2Fb", 1),
            ("#/%24defs/c~0d", 2),
            ("#/$defs/e f", 3),
            ("#/$defs/e%20f", 3),
            ("#/$defs/%C3%A4", 4),
            ("#/$defs/g%h", 5),
            ("#/$defs/g%25h", 5),
            ("#/$defs/~01", 6),
            ("#/$defs/+1/1", 8),
            ("#/$defs/", 9),
        ] {
            assert_eq!(target(&root, reference), Some(&value.into()), "{reference}");
        }
        assert_eq!(target(&root, "#"), Some(&root));
        for reference in [
            "",
            "$defs",
            "#a",
            "#/a",
            "#/$defs/+1/2",
            "#/$defs/%ff",
            "x#/$defs",
        ] {
            assert_eq!(target(&root, reference), None, "{reference}");
        }
    }
}

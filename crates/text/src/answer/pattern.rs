//! The regular expressions of a `response_template` that are markers: literal texts, white space, names.
//!
//! Patterns come out of downloaded files. Only these few kinds are taken, so that none can be slow and
//! each can be found in text that comes in pieces.

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Exactly this text.
    Literal(String),
    /// Any white space, also none.
    Space,
    /// What is captured under a name.
    Capture(String),
    /// One or more of any characters; only within captures.
    Any,
    /// The end of the text.
    End,
}

/// A pattern is any of several sequences.
pub(super) type Pattern = Vec<Vec<Part>>;

/// Most sequences of a pattern.
const MOST: usize = 32;
/// How deep groups may be nested.
const DEEPEST: usize = 8;

/// Reads a pattern; says what is not supported.
pub(super) fn parse(pattern: &str) -> Result<Pattern, String> {
    let mut chars = pattern.chars().peekable();
    let all = alternatives(&mut chars, 0)?;
    match chars.next() {
        None => Ok(all),
        Some(_) => Err("a bracket is closed that is not open".to_owned()),
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn alternatives(chars: &mut Chars, depth: usize) -> Result<Pattern, String> {
    if depth > DEEPEST {
        return Err("groups are nested too deeply".to_owned());
    }
    let (mut all, mut now): (Pattern, Pattern) = (Vec::new(), vec![Vec::new()]);
    while let Some(&next) = chars.peek() {
        match next {
            ')' => break,
            '|' => {
                chars.next();
                all.append(&mut now);
                now = vec![Vec::new()];
            }
            _ => {
                chars.next();
                let atom = atom(next, chars, depth)?;
                let atom = repeated(atom, chars)?;
                now = product(&now, &atom)?;
            }
        }
    }
    all.append(&mut now);
    if all.len() > MOST {
        return Err("it has too many alternatives".to_owned());
    }
    Ok(all)
}

/// Every sequence followed by every other.
fn product(before: &Pattern, after: &Pattern) -> Result<Pattern, String> {
    if before.len() * after.len() > MOST {
        return Err("it has too many alternatives".to_owned());
    }
    let mut all = Vec::new();
    for head in before {
        for tail in after {
            let mut whole = head.clone();
            for part in tail {
                match (whole.last_mut(), part) {
                    (Some(Part::Literal(text)), Part::Literal(more)) => text.push_str(more),
                    (Some(Part::Space), Part::Space) | (Some(Part::Any), Part::Any) => {}
                    _ => whole.push(part.clone()),
                }
            }
            all.push(whole);
        }
    }
    Ok(all)
}

fn one(part: Part) -> Pattern {
    vec![vec![part]]
}

fn atom(first: char, chars: &mut Chars, depth: usize) -> Result<Pattern, String> {
    match first {
        '\\' => match chars.next() {
            Some('s') => Ok(one(Part::Space)),
            Some('n') => Ok(one(Part::Literal("\n".to_owned()))),
            Some('t') => Ok(one(Part::Literal("\t".to_owned()))),
            Some('w' | 'd' | 'S') => Ok(one(Part::Any)),
            Some('Z' | 'z') => Ok(one(Part::End)),
            Some(plain) if !plain.is_alphanumeric() => Ok(one(Part::Literal(plain.to_string()))),
            _ => Err("an escape is not supported".to_owned()),
        },
        '.' => Ok(one(Part::Any)),
        '$' => Ok(one(Part::End)),
        '[' => class(chars),
        '(' => group(chars, depth),
        '*' | '+' | '?' | '{' => Err(format!("nothing can be repeated by {first:?}")),
        '^' => Err("'^' is not supported".to_owned()),
        plain => Ok(one(Part::Literal(plain.to_string()))),
    }
}

fn class(chars: &mut Chars) -> Result<Pattern, String> {
    let (mut inside, mut is_escaped) = (String::new(), false);
    loop {
        let next = chars.next().ok_or("a class is not closed")?;
        match next {
            ']' if !is_escaped && !inside.is_empty() => break,
            _ => inside.push(next),
        }
        is_escaped = next == '\\' && !is_escaped;
    }
    let is_space = ["\\s", "\\n", " ", "\\n ", "\\s\\n", "\n", " \\n", " \\t\\n"];
    let is_space = is_space.contains(&inside.as_str());
    Ok(one(if is_space { Part::Space } else { Part::Any }))
}

fn group(chars: &mut Chars, depth: usize) -> Result<Pattern, String> {
    let mut name = None;
    if chars.peek() == Some(&'?') {
        chars.next();
        match chars.next() {
            Some(':') => {}
            Some('P' | '<') => {
                if chars.peek() == Some(&'<') {
                    chars.next();
                }
                let text: String = chars.by_ref().take_while(|&c| c != '>').collect();
                if text.is_empty() || !text.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    return Err("a group's name is not supported".to_owned());
                }
                name = Some(text);
            }
            _ => return Err("a group of this kind is not supported".to_owned()),
        }
    }
    let inside = alternatives(chars, depth + 1)?;
    if chars.next() != Some(')') {
        return Err("a group is not closed".to_owned());
    }
    Ok(name.map_or(inside, |name| one(Part::Capture(name))))
}

/// What a repetition makes of the atom before it.
fn repeated(atom: Pattern, chars: &mut Chars) -> Result<Pattern, String> {
    let Some(&sign) = chars.peek() else {
        return Ok(atom);
    };
    if !matches!(sign, '*' | '+' | '?') {
        return Ok(atom);
    }
    chars.next();
    if matches!(chars.peek(), Some('?' | '+')) {
        chars.next();
    }
    let only = match atom.as_slice() {
        [sequence] => sequence.as_slice(),
        _ => &[],
    };
    match only {
        [Part::Space | Part::Any] => Ok(atom),
        [Part::Literal(text)] if text.trim().is_empty() => Ok(one(Part::Space)),
        _ if sign == '?' => {
            let mut optional = atom;
            optional.push(Vec::new());
            Ok(optional)
        }
        _ => Err("what is repeated must be white space or a class".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, parse};

    fn literal(text: &str) -> Part {
        Part::Literal(text.to_owned())
    }

    #[test]
    fn markers_are_taken_apart() {
        assert_eq!(
            parse(r"\s*<tool_call>\s*<function=(?P<name>[^>\n]+)>").unwrap(),
            [vec![
                Part::Space,
                literal("<tool_call>"),
                Part::Space,
                literal("<function="),
                Part::Capture("name".to_owned()),
                literal(">"),
            ]]
        );
        assert_eq!(
            parse(r"\s*(?:<\|im_end\|>|<\|endoftext\|>)").unwrap(),
            [
                vec![Part::Space, literal("<|im_end|>")],
                vec![Part::Space, literal("<|endoftext|>")],
            ]
        );
    }

    #[test]
    fn what_could_be_slow_or_endless_is_refused() {
        for pattern in [
            "(a+)+", "(?=a)", "a{3}", "(", ")", "[", r"\b", "^a", "(?P<n>",
        ] {
            assert!(parse(pattern).is_err(), "{pattern}");
        }
        assert!(parse(&"(a|b)".repeat(20)).is_err());
        assert!(parse(&"(".repeat(10_000)).is_err());
    }
}

//! What tokens are, by the program's tokenizer, which only turns text into tokens.

use std::collections::{HashMap, HashSet};

use crate::protocol::error::Failure;

/// Texts of their own that stand before what is asked for: tokenizers put marks around a text, and some a space
/// before it. One that melts into what follows is of no use there.
const BEFORE: [&str; 3] = ["\n", "a", "."];
/// What JSON often has between its names and values.
const JSON: [&str; 13] = [
    "{\"", "\":", "\": ", "\": \"", "\", \"", "\",", "\"}", "\"]", ": ", ", ", "[\"", "true",
    "false",
];
/// The most words of a grammar that are asked for, and their greatest length; the rest is spelled by characters.
const WORDS: (usize, usize) = (512, 64);

/// Tokens with the text that they spell together.
pub(super) type Spelled = (Vec<i32>, String);

/// What a tokenizer was asked for.
#[derive(Default)]
pub(super) struct Asked {
    texts: HashSet<String>,
    /// The text of what it gave.
    known: HashMap<Vec<i32>, String>,
    /// The ids of what stands before, and of what the tokenizer puts behind all.
    before: Vec<(&'static str, Vec<i32>)>,
    behind: Vec<i32>,
}

impl Asked {
    /// Whether there is a tokenizer, which was asked.
    pub(super) fn is_used(&self) -> bool {
        !self.texts.is_empty()
    }

    /// The tokens of all that these texts are likely to need, as far as they are new: of characters, and of longer
    /// texts that are one token.
    pub(super) fn ask<'a>(
        &mut self,
        texts: impl IntoIterator<Item = &'a str>,
        tokenize: &mut dyn FnMut(&str) -> Result<Vec<i32>, Failure>,
    ) -> Result<Vec<Spelled>, Failure> {
        if self.before.is_empty() {
            self.behind = tokenize("")?;
            for before in BEFORE {
                let ids = tokenize(before)?;
                while !ids.ends_with(&self.behind) {
                    self.behind.remove(0);
                }
                self.before.push((before, ids));
            }
            for (_, ids) in &mut self.before {
                ids.truncate(ids.len() - self.behind.len());
            }
        }
        let mut found = Vec::new();
        for text in wanted(texts) {
            if self.texts.contains(&text) {
                continue;
            }
            if let Some(ids) = self.of(&text, tokenize)? {
                // A tokenizer that gives the same for two texts changes them: what the model said is not told by it.
                let known = self
                    .known
                    .entry(ids.clone())
                    .or_insert_with(|| text.clone());
                let is_one = ids.len() == 1 || text.chars().nth(1).is_none();
                if is_one && *known == text {
                    found.push((ids, text.clone()));
                }
            }
            self.texts.insert(text);
        }
        Ok(found)
    }

    /// The tokens of a text within another.
    fn of(
        &self,
        text: &str,
        tokenize: &mut dyn FnMut(&str) -> Result<Vec<i32>, Failure>,
    ) -> Result<Option<Vec<i32>>, Failure> {
        for (before, ids) in &self.before {
            let all = tokenize(&format!("{before}{text}"))?;
            let own = all.strip_suffix(self.behind.as_slice());
            let own = own.and_then(|all| all.strip_prefix(ids.as_slice()));
            if let Some(own) = own.filter(|own| !own.is_empty()) {
                return Ok(Some(own.to_vec()));
            }
        }
        Ok(None)
    }
}

/// What is asked for: each of the texts' characters and words, and what JSON needs.
fn wanted<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = (' '..='~').chain(['\n', '\t']).map(String::from).collect();
    all.extend(JSON.map(str::to_owned));
    let (mut most, longest) = WORDS;
    for text in texts {
        all.extend(text.chars().filter(|one| !one.is_ascii()).map(String::from));
        let words = text.split(|one: char| !one.is_alphanumeric() && one != '_');
        let words = [text].into_iter().chain(words);
        for word in words
            .filter(|word| (2..=longest).contains(&word.len()))
            .take(most)
        {
            all.push(word.to_owned());
            all.push(format!(" {word}"));
            most -= 1;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks around each text, a space before it, and tokens of two letters.
    fn tokenize(text: &str) -> Vec<i32> {
        let text = format!(" {text}");
        let mut ids = vec![1];
        let mut rest = text.as_bytes();
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            match (*first, behind.first()) {
                (b'a', Some(b'b')) => {
                    ids.push(1000);
                    rest = &behind[1..];
                }
                (byte, _) => ids.push(i32::from(byte)),
            }
        }
        ids.push(2);
        ids
    }

    fn spelled(texts: &[&str]) -> HashMap<String, Vec<i32>> {
        let mut asked = Asked::default();
        let found = asked
            .ask(texts.iter().copied(), &mut |text| Ok(tokenize(text)))
            .unwrap();
        found.into_iter().map(|(ids, text)| (text, ids)).collect()
    }

    #[test]
    fn what_a_tokenizer_puts_around_a_text_is_left_out() {
        let found = spelled(&[r#"{"ab": "é"}"#]);
        assert_eq!(found["x"], [i32::from(b'x')]);
        assert_eq!(found["ab"], [1000]);
        assert!(!found.contains_key(" ab"));
        // A character of several tokens.
        assert_eq!(found["é"], [0xc3, 0xa9]);
        // Behind an "a" it would be another token.
        assert_eq!(found["b"], [i32::from(b'b')]);
    }

    #[test]
    fn what_was_asked_for_is_not_asked_again() {
        let mut asked = Asked::default();
        let mut count = 0;
        let mut tokenize = |text: &str| {
            count += 1;
            Ok(tokenize(text))
        };
        asked.ask(["ab"], &mut tokenize).unwrap();
        assert!(asked.ask(["ab"], &mut tokenize).unwrap().is_empty());
        let once = count;
        assert!(once < 200, "{once}");
    }

    #[test]
    fn a_tokenizer_that_changes_texts_gives_none_twice() {
        let mut asked = Asked::default();
        let mut lower = |text: &str| Ok(tokenize(&text.to_lowercase()));
        let found = asked.ask(["x"], &mut lower).unwrap();
        let upper = found.iter().filter(|(ids, _)| *ids == [i32::from(b'x')]);
        assert_eq!(upper.count(), 1);
    }

    #[test]
    fn a_tokenizer_that_gives_nothing_spells_nothing() {
        let mut asked = Asked::default();
        let found = asked.ask(["x"], &mut |_| Ok(Vec::new())).unwrap();
        assert!(found.is_empty() && asked.is_used());
    }
}

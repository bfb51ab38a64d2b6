//! Strings, numbers and constants.

use super::{Dialect, Reader, UNCLOSED, push_quoted};

impl Reader<'_> {
    /// The rest of a string after its opening quote.
    pub(super) fn string(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let Some(end) = self.rest.find([quote, '\\']) else {
                self.note(UNCLOSED);
                text.push_str(std::mem::take(&mut self.rest));
                return Ok(text);
            };
            let (plain, rest) = self.rest.split_at(end);
            if plain.contains(|c: char| c < ' ') {
                self.note_json("a string has a line break in it");
            }
            text.push_str(plain);
            self.rest = rest;
            if self.take_char() == Some(quote) {
                return Ok(text);
            }
            self.escape(&mut text)?;
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), String> {
        let is_python = matches!(self.dialect, Dialect::Keywords);
        match self.take_char() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some(plain @ ('"' | '\'' | '\\' | '/')) => {
                if plain == '\'' {
                    self.note_json("a single quote is escaped");
                }
                text.push(plain);
            }
            Some('x') if is_python => text.push(self.code(2)?),
            Some('U') if is_python => text.push(self.code(8)?),
            Some('u') => text.push(self.code(4)?),
            Some('\n') if is_python => {}
            Some(other) => {
                self.note_json("an escape in a string is unknown");
                text.push('\\');
                text.push(other);
            }
            None => self.note(UNCLOSED),
        }
        Ok(())
    }

    /// A character by its number. Half a surrogate pair becomes U+FFFD.
    fn code(&mut self, digits: usize) -> Result<char, String> {
        let wrong = || "an escape in a string is not complete".to_owned();
        let mut number = || {
            let hex = self.rest.get(..digits).ok_or_else(wrong)?;
            self.rest = &self.rest[digits..];
            if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            u32::from_str_radix(hex, 16).map_err(|_| wrong())
        };
        let mut code = number()?;
        if (0xD800..0xDC00).contains(&code) && self.rest.starts_with("\\u") {
            let before = self.rest;
            self.rest = &self.rest[2..];
            let hex = self
                .rest
                .get(..4)
                .and_then(|hex| u32::from_str_radix(hex, 16).ok());
            match hex {
                Some(low) if (0xDC00..0xE000).contains(&low) => {
                    self.rest = &self.rest[4..];
                    code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                }
                _ => self.rest = before,
            }
        }
        if (0xD800..0xE000).contains(&code) {
            self.note("half a character is written in a string");
        }
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// A number, a constant, or a bare text.
    pub(super) fn word(&mut self) -> Result<(), String> {
        let end = self.rest.find([',', '}', ']', ')', '\n']);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let word = word.trim_end();
        self.rest = rest;
        match word {
            "true" | "false" | "null" => self.json.push_str(word),
            "True" | "False" | "None" => {
                self.note_json("a constant is spelled as in Python");
                self.json.push_str(match word {
                    "True" => "true",
                    "False" => "false",
                    _ => "null",
                });
            }
            _ => match number(word) {
                Some(number) => {
                    if number != word {
                        self.note_json("a number is not spelled as in JSON");
                    }
                    self.json.push_str(&number);
                }
                None if matches!(self.dialect, Dialect::Marked(_)) && !word.is_empty() => {
                    self.note("a string stands without quotes");
                    push_quoted(&mut self.json, word);
                }
                None => {
                    let word: String = word.chars().take(40).collect();
                    return Err(format!("{word:?} is not a value"));
                }
            },
        }
        Ok(())
    }
}

/// A number as JSON spells it: Python allows a sign, underscores, and a point at either end.
fn number(word: &str) -> Option<String> {
    if word.len() > 400 || !word.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = word.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let before = if digits.starts_with('.') { "0" } else { "" };
    let after = if digits.ends_with('.') { "0" } else { "" };
    let number = format!("{sign}{before}{digits}{after}");
    serde_json::from_str::<serde_json::Number>(&number).ok()?;
    Some(number)
}

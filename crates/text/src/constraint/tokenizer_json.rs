//! The vocabulary of a `tokenizer.json`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Kind, Vocabulary};

/// More tokens than any model has: a file that names such an id is damaged.
const MOST: usize = 4 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: Value,
}

/// How the tokens of a file stand for bytes.
#[derive(Clone, Copy, PartialEq)]
enum Spelling {
    /// Each byte is a character of its own.
    Bytes,
    /// `▁` is a space, and `<0x0A>` a byte.
    Spaces,
}

impl Vocabulary {
    /// The tokens of a `tokenizer.json`; none of them is known to end an answer.
    ///
    /// # Errors
    /// What is wrong with the file, to stand behind its name.
    pub fn from_tokenizer_json(text: &str) -> Result<Self, String> {
        let file: File =
            serde_json::from_str(text).map_err(|error| format!("has no vocabulary: {error}"))?;
        let spelling =
            if names(&file.decoder, "ByteLevel") || names(&file.pre_tokenizer, "ByteLevel") {
                Spelling::Bytes
            } else if names(&file.decoder, "WordPiece") {
                return Err(
                    "has a vocabulary of words (WordPiece), which does not spell text".to_owned(),
                );
            } else {
                Spelling::Spaces
            };
        let mut vocabulary = Self::default();
        let mut put = |id: usize, kind, bytes: Vec<u8>| {
            if id >= MOST {
                return Err(format!("has a token of the id {id}"));
            }
            let tokens = &mut vocabulary.tokens;
            if id >= tokens.len() {
                tokens.resize(id + 1, (Kind::Marker, Vec::new()));
            }
            tokens[id] = (kind, bytes);
            Ok(())
        };
        let unreadable = || "has a vocabulary of an unknown form".to_owned();
        match &file.model.vocab {
            Value::Object(ids) => {
                for (token, id) in ids {
                    let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
                    put(
                        id.ok_or_else(unreadable)?,
                        Kind::Text,
                        spelling.bytes(token),
                    )?;
                }
            }
            Value::Array(all) => {
                for (id, token) in all.iter().enumerate() {
                    let token = token.get(0).and_then(Value::as_str);
                    put(
                        id,
                        Kind::Text,
                        spelling.bytes(token.ok_or_else(unreadable)?),
                    )?;
                }
            }
            _ => return Err(unreadable()),
        }
        for added in file.added_tokens {
            let kind = if added.special {
                Kind::Marker
            } else {
                Kind::Text
            };
            put(added.id, kind, added.content.into_bytes())?;
        }
        Ok(vocabulary)
    }
}

impl Spelling {
    fn bytes(self, token: &str) -> Vec<u8> {
        if self == Self::Bytes {
            let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
            // Tokens that were added stand in the vocabulary as they are.
            return bytes.unwrap_or_else(|| token.as_bytes().to_vec());
        }
        let hex = token
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'));
        match hex.map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) => vec![byte],
            _ => token.replace('\u{2581}', " ").into_bytes(),
        }
    }
}

/// The byte of a character: printable ones stand for themselves, the others for those from U+0100 on.
fn byte_of(character: char) -> Option<u8> {
    let is_itself = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(character);
    if let Ok(byte) = u8::try_from(code) {
        return is_itself(&byte).then_some(byte);
    }
    let at = usize::try_from(code.checked_sub(256)?).ok()?;
    (0..=u8::MAX).filter(|byte| !is_itself(byte)).nth(at)
}

/// Whether a part of a tokenizer, or one within it, is of this type.
fn names(part: &Value, kind: &str) -> bool {
    let Some(part): Option<&Map<String, Value>> = part.as_object() else {
        return false;
    };
    let within = ["decoders", "pretokenizers"];
    part.get("type").and_then(Value::as_str) == Some(kind)
        || within
            .iter()
            .filter_map(|name| part.get(*name)?.as_array())
            .flatten()
            .any(|part| names(part, kind))
}

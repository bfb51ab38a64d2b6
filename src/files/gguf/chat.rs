//! What a GGUF file says of conversations: its chat templates and its special tokens.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::{LIST, MOST_KEYS, Reader, TEXT, damaged};

/// Longer than any real template by far.
const LONGEST_TEMPLATE: u64 = 1 << 20;
/// More than any model has: each takes memory.
const MOST_TEMPLATES: usize = 16;
/// Tokens that stand for something are short.
const LONGEST_TOKEN: u64 = 1 << 10;
const TEMPLATE: &str = "tokenizer.chat_template";

/// The keys of special tokens, and what transformers calls them.
const TOKENS: [(&str, &str); 8] = [
    ("tokenizer.ggml.bos_token_id", "bos_token"),
    ("tokenizer.ggml.eos_token_id", "eos_token"),
    ("tokenizer.ggml.eot_token_id", "eot_token"),
    ("tokenizer.ggml.unknown_token_id", "unk_token"),
    ("tokenizer.ggml.seperator_token_id", "sep_token"),
    ("tokenizer.ggml.padding_token_id", "pad_token"),
    ("tokenizer.ggml.cls_token_id", "cls_token"),
    ("tokenizer.ggml.mask_token_id", "mask_token"),
];

/// What a file says of conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::files) struct Chat {
    /// `tokenizer.chat_template`.
    pub(in crate::files) template: Option<String>,
    /// Whether there is a template that is longer than any real one, or no UTF-8, or there are too many.
    pub(in crate::files) unusable: bool,
    /// `tokenizer.chat_template.NAME`, by name.
    pub(in crate::files) named: BTreeMap<String, String>,
    /// Special tokens by the names that transformers has for them, with their ids.
    pub(in crate::files) tokens: Vec<(&'static str, u64, String)>,
    /// `tokenizer.ggml.add_bos_token`.
    pub(in crate::files) add_bos: Option<bool>,
}

/// Reads it; `None` when the file is not what the format says, which is for others to judge.
pub(in crate::files) fn chat(file: impl Read + Seek) -> Option<Chat> {
    Reader(BufReader::with_capacity(1 << 16, file))
        .chat()
        .ok()
        .flatten()
}

impl<R: Read + Seek> Reader<R> {
    fn chat(&mut self) -> io::Result<Option<Chat>> {
        let Some(keys) = self.head()?.filter(|keys| *keys <= MOST_KEYS) else {
            return Ok(None);
        };
        let mut chat = Chat::default();
        let mut vocabulary = None;
        let mut ids = Vec::new();
        for _ in 0..keys {
            let name = self.text()?.unwrap_or_default();
            let kind = self.u32()?;
            let token = TOKENS.iter().find(|(key, _)| *key == name);
            match (name.strip_prefix(TEMPLATE), token, kind) {
                (Some(rest), _, TEXT) => {
                    let text = self.text_of(LONGEST_TEMPLATE)?;
                    match (rest.strip_prefix('.'), text) {
                        (_, None) => chat.unusable = true,
                        (None, text) if rest.is_empty() => chat.template = text,
                        (Some(name), Some(text)) => _ = chat.named.insert(name.to_owned(), text),
                        (None, Some(_)) => {}
                    }
                    if chat.named.len() > MOST_TEMPLATES {
                        chat.unusable = true;
                        chat.named.clear();
                    }
                }
                (_, Some((_, name)), kind) => {
                    // Each is looked for in all of the vocabulary: once, however often it is given.
                    ids.retain(|(known, _)| known != name);
                    ids.extend(self.number(kind)?.map(|id| (*name, id)));
                }
                (.., 7) if name == "tokenizer.ggml.add_bos_token" => {
                    chat.add_bos = Some(self.bytes::<1>()?[0] != 0);
                }
                (.., LIST) if name == "tokenizer.ggml.tokens" => {
                    vocabulary = Some(self.0.stream_position()?);
                    self.skip(LIST, 0)?;
                }
                _ => self.skip(kind, 0)?,
            }
        }
        if let Some(start) = vocabulary {
            self.0.seek(SeekFrom::Start(start))?;
            chat.tokens = self.tokens(ids)?;
        }
        Ok(Some(chat))
    }

    /// The tokens with these ids, out of the list that begins here.
    fn tokens(
        &mut self,
        mut ids: Vec<(&'static str, u64)>,
    ) -> io::Result<Vec<(&'static str, u64, String)>> {
        let (kind, count) = (self.u32()?, self.u64()?);
        if kind != TEXT {
            return Err(damaged());
        }
        ids.retain(|(_, id)| *id < count);
        let last = ids.iter().map(|(_, id)| *id).max();
        let mut found = Vec::new();
        for at in 0..last.map_or(0, |last| last + 1) {
            let mut wanted = ids.iter().filter(|(_, id)| *id == at).peekable();
            if wanted.peek().is_none() {
                self.skip(TEXT, 0)?;
                continue;
            }
            if let Some(token) = self.text_of(LONGEST_TOKEN)? {
                found.extend(wanted.map(|(name, id)| (*name, *id, token.clone())));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::tests::{damaged, made};
    use super::*;

    fn read(file: &[u8]) -> Option<Chat> {
        chat(Cursor::new(file))
    }

    fn example() -> Vec<u8> {
        made(
            &[
                ("tokenizer.chat_template", "{{ messages }}"),
                ("tokenizer.chat_template.tool_use", "{{ tools }}"),
                ("tokenizer.chat_templates", "not one"),
            ],
            &[
                ("tokenizer.ggml.bos_token_id", 0),
                ("tokenizer.ggml.eos_token_id", 1),
                ("tokenizer.ggml.padding_token_id", 1),
                ("tokenizer.ggml.unknown_token_id", 2),
            ],
        )
    }

    #[test]
    fn templates_and_tokens_are_found() {
        let expected = Chat {
            template: Some("{{ messages }}".to_owned()),
            unusable: false,
            named: [("tool_use".to_owned(), "{{ tools }}".to_owned())].into(),
            // The vocabulary of the example has two tokens.
            tokens: vec![
                ("bos_token", 0, "<s>".to_owned()),
                ("eos_token", 1, "a".to_owned()),
                ("pad_token", 1, "a".to_owned()),
            ],
            add_bos: None,
        };
        assert_eq!(read(&example()), Some(expected));
        assert_eq!(read(&made(&[], &[])), Some(Chat::default()));
    }

    #[test]
    fn a_template_that_is_too_long_is_not_read() {
        let long = "x".repeat(LONGEST_TEMPLATE as usize + 1);
        let found = read(&made(&[("tokenizer.chat_template", &long)], &[]));
        let expected = Chat {
            unusable: true,
            ..Chat::default()
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn what_is_said_again_and_again_takes_no_more() {
        let names: Vec<String> = (0..=MOST_TEMPLATES)
            .map(|at| format!("tokenizer.chat_template.{at}"))
            .collect();
        let texts: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), "{{ x }}"))
            .collect();
        let (some, all) = (read(&made(&texts[1..], &[])), read(&made(&texts, &[])));
        assert_eq!(some.unwrap().named.len(), MOST_TEMPLATES);
        let all = all.unwrap();
        assert!(all.unusable && all.named.is_empty());
        let found = read(&made(&[], &vec![("tokenizer.ggml.eos_token_id", 1); 1000]));
        assert_eq!(found.unwrap().tokens, [("eos_token", 1, "a".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(
            (file, cut) in damaged(example())
        ) {
            let _ = read(&file);
            let _ = read(&file[..cut]);
        }
    }
}

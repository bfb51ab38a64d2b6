//! The few facts at the head of a GGUF file that tell what it is for.

mod chat;

use std::io::{self, BufRead as _, BufReader, Read, Seek};

pub(super) use chat::chat;

/// More metadata than any file has; a count beyond it is damage.
const MOST_KEYS: u64 = 1 << 20;
/// Names and the texts that are looked at are short; longer ones are passed over.
const LONGEST_TEXT: u64 = 1 << 16;
/// No value is longer; a length beyond it is damage.
const LONGEST: u64 = 1 << 28;
/// More than any vocabulary has.
const MOST_TEXTS: u64 = 1 << 22;
/// Lists in lists, as deep as the format is used.
const DEEPEST: u32 = 4;

/// What a GGUF file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    /// `general.architecture`, such as `llama`.
    pub(super) architecture: Option<String>,
    /// `general.type`: `model`, `adapter`, `mmproj` and others.
    pub(super) kind: Option<String>,
    /// `split.no`, from 0.
    pub(super) part: Option<u64>,
    /// `split.count`.
    pub(super) parts: Option<u64>,
    /// `tokenizer.ggml.pre`.
    pub(super) pre_tokenizer: Option<String>,
    /// The architecture's `context_length`: the longest context that the model was trained for.
    pub(super) context_length: Option<u64>,
    /// The architecture's `block_count`, and what else a context's memory depends on.
    pub(super) layers: Option<u64>,
    pub(super) embedding: Option<u64>,
    pub(super) heads: Option<u64>,
    pub(super) kv_heads: Option<u64>,
    pub(super) key_length: Option<u64>,
    /// `general.alignment`.
    pub(super) alignment: Option<u64>,
}

/// [`About::context_length`], read no further than to it: it comes before the vocabulary.
pub(super) fn context_length(file: impl Read + Seek) -> Option<u64> {
    let mut reader = Reader(BufReader::with_capacity(1 << 16, file));
    let found = reader.about(|about| about.context_length.is_some());
    found.ok().flatten()?.context_length
}

pub(super) struct Reader<R>(pub(super) BufReader<R>);

impl<R: Read + Seek> Reader<R> {
    /// Reads until the end, or until `enough`.
    fn about(&mut self, enough: impl Fn(&About) -> bool) -> io::Result<Option<About>> {
        let Some(keys) = self.head()?.filter(|keys| *keys <= MOST_KEYS) else {
            return Ok(None);
        };
        self.facts(keys, enough).map(Some)
    }

    /// Reads so many keys, or until `enough`.
    pub(super) fn facts(
        &mut self,
        keys: u64,
        enough: impl Fn(&About) -> bool,
    ) -> io::Result<About> {
        let mut about = About::default();
        for _ in 0..keys {
            if enough(&about) {
                break;
            }
            let name = self.text()?.unwrap_or_default();
            let kind = self.u32()?;
            let text = match name.as_str() {
                "general.architecture" => &mut about.architecture,
                "general.type" => &mut about.kind,
                "tokenizer.ggml.pre" => &mut about.pre_tokenizer,
                "split.no" => {
                    about.part = self.number(kind)?;
                    continue;
                }
                "split.count" => {
                    about.parts = self.number(kind)?;
                    continue;
                }
                "general.alignment" => {
                    about.alignment = self.number(kind)?;
                    continue;
                }
                name => {
                    // Behind the architecture, as every writer puts it.
                    let own = about.architecture.as_deref();
                    let own = own
                        .and_then(|own| name.strip_prefix(own))
                        .map(str::to_owned);
                    let slot = match own.as_deref() {
                        Some(".context_length") => &mut about.context_length,
                        Some(".block_count") => &mut about.layers,
                        Some(".embedding_length") => &mut about.embedding,
                        Some(".attention.head_count") => &mut about.heads,
                        Some(".attention.head_count_kv") => &mut about.kv_heads,
                        Some(".attention.key_length") => &mut about.key_length,
                        _ => {
                            self.skip(kind, 0)?;
                            continue;
                        }
                    };
                    *slot = self.number(kind)?;
                    continue;
                }
            };
            if kind == TEXT {
                *text = self.text()?;
            } else {
                self.skip(kind, 0)?;
            }
        }
        Ok(about)
    }

    /// The number of keys, if the file is one that is read here.
    fn head(&mut self) -> io::Result<Option<u64>> {
        if &self.bytes()? != b"GGUF" {
            return Ok(None);
        }
        // The first version counted in 32 bits, and nobody reads it any more.
        if !(2..=3).contains(&self.u32()?) {
            return Ok(None);
        }
        let (_tensors, keys) = (self.u64()?, self.u64()?);
        Ok(Some(keys))
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A text, if it is short enough to be one of those that matter.
    fn text(&mut self) -> io::Result<Option<String>> {
        self.text_of(LONGEST_TEXT)
    }

    /// A text, if it is not longer than so many bytes.
    fn text_of(&mut self, longest: u64) -> io::Result<Option<String>> {
        let length = self.u64()?;
        if length > longest {
            self.forward(length)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes)?;
        Ok(String::from_utf8(bytes).ok())
    }

    /// A whole number, of whatever width.
    fn number(&mut self, kind: u32) -> io::Result<Option<u64>> {
        Ok(match kind {
            0 | 1 => Some(self.bytes::<1>()?[0].into()),
            2 | 3 => Some(u16::from_le_bytes(self.bytes()?).into()),
            4 | 5 => Some(self.u32()?.into()),
            10 | 11 => Some(self.u64()?),
            _ => {
                self.skip(kind, 0)?;
                None
            }
        })
    }

    pub(super) fn skip(&mut self, kind: u32, depth: u32) -> io::Result<()> {
        match (kind, width(kind)) {
            (_, Some(width)) => self.forward(width),
            (TEXT, None) => {
                let length = self.u64()?;
                self.forward(length)
            }
            (LIST, None) if depth < DEEPEST => {
                let (kind, count) = (self.u32()?, self.u64()?);
                if let Some(width) = width(kind) {
                    return self.forward(count.checked_mul(width).ok_or_else(damaged)?);
                }
                if count > MOST_TEXTS {
                    return Err(damaged());
                }
                if kind == TEXT {
                    return self.skip_texts(count);
                }
                for _ in 0..count {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(damaged()),
        }
    }

    /// Skips a list of texts, which a vocabulary has hundreds of thousands of: within the buffer, without copies.
    fn skip_texts(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let buffer = self.0.fill_buf()?;
            let mut at = 0;
            while count > 0 {
                let Some((length, rest)) = buffer[at..].split_first_chunk() else {
                    break;
                };
                match usize::try_from(u64::from_le_bytes(*length)) {
                    Ok(length) if length <= rest.len() => at += size_of::<u64>() + length,
                    _ => break,
                }
                count -= 1;
            }
            if at > 0 {
                self.0.consume(at);
            } else {
                // This one reaches beyond the buffer.
                let length = self.u64()?;
                self.forward(length)?;
                count -= 1;
            }
        }
        Ok(())
    }

    pub(super) fn forward(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = Some(bytes).filter(|bytes| *bytes <= LONGEST);
        let bytes = bytes
            .and_then(|bytes| i64::try_from(bytes).ok())
            .ok_or_else(damaged)?;
        // Within the buffer without a call of the system, if it is there.
        self.0.seek_relative(bytes)
    }
}

pub(super) const TEXT: u32 = 8;
const LIST: u32 = 9;

/// Bytes of a value whose type has a fixed width.
fn width(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

fn damaged() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// A file with these texts and numbers in it, between others.
    pub(in crate::files) fn made(texts: &[(&str, &str)], numbers: &[(&str, u16)]) -> Vec<u8> {
        let named = |name: &str| [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(0_u64.to_le_bytes());
        file.extend((texts.len() as u64 + numbers.len() as u64 + 2).to_le_bytes());
        // A vocabulary, and a list of scores, as all models have them.
        file.extend(named("tokenizer.ggml.tokens"));
        file.extend([9_u32, 8].map(u32::to_le_bytes).concat());
        file.extend(2_u64.to_le_bytes());
        file.extend([named("<s>"), named("a")].concat());
        file.extend(named("tokenizer.ggml.scores"));
        file.extend([9_u32, 6].map(u32::to_le_bytes).concat());
        file.extend(2_u64.to_le_bytes());
        file.extend([0; 8]);
        for (name, text) in texts {
            file.extend(named(name));
            file.extend(8_u32.to_le_bytes());
            file.extend(named(text));
        }
        for (name, number) in numbers {
            file.extend(named(name));
            file.extend(2_u32.to_le_bytes());
            file.extend(number.to_le_bytes());
        }
        file
    }

    fn read(file: &[u8]) -> Option<About> {
        let mut reader = Reader(BufReader::new(Cursor::new(file)));
        reader.about(|_| false).ok().flatten()
    }

    fn example() -> Vec<u8> {
        made(
            &[
                ("general.architecture", "llama"),
                ("general.type", "model"),
                ("tokenizer.ggml.pre", "smollm"),
            ],
            &[
                ("split.no", 1),
                ("split.count", 3),
                ("llama.context_length", 2048),
            ],
        )
    }

    #[test]
    fn what_matters_is_found_between_the_rest() {
        let expected = About {
            architecture: Some("llama".to_owned()),
            kind: Some("model".to_owned()),
            part: Some(1),
            parts: Some(3),
            pre_tokenizer: Some("smollm".to_owned()),
            context_length: Some(2048),
            ..About::default()
        };
        assert_eq!(context_length(Cursor::new(example())), Some(2048));
        assert_eq!(
            context_length(Cursor::new(made(&[], &[("llama.context_length", 7)]))),
            None
        );
        assert_eq!(read(&example()), Some(expected));
        assert_eq!(read(&made(&[], &[])), Some(About::default()));
    }

    #[test]
    fn a_vocabulary_longer_than_the_buffer_is_passed_over() {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        let named = |name: &str| [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
        file.extend([0_u64, 2].map(u64::to_le_bytes).concat());
        file.extend(named("tokenizer.ggml.tokens"));
        file.extend([9_u32, 8, 5000, 0].map(u32::to_le_bytes).concat());
        for at in 0..5000 {
            // One does not fit the buffer at all.
            let length = if at == 2500 { 40_000 } else { at % 37 };
            file.extend(named(&"x".repeat(length)));
        }
        file.extend(named("general.architecture"));
        file.extend(8_u32.to_le_bytes());
        file.extend(named("llama"));
        let found = read(&file).unwrap();
        assert_eq!(found.architecture.as_deref(), Some("llama"));
    }

    #[test]
    fn other_formats_and_cut_files_are_not_judged() {
        let whole = example();
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        for (at, bytes) in [
            (0, b"GGML".as_slice()),
            (4, b"\x01"),
            (4, b"\x09"),
            (16, &[255; 8]),
        ] {
            let mut other = whole.clone();
            other[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(read(&other), None, "{at}");
        }
    }

    /// A file with some of its bytes replaced, and where it may be cut besides.
    pub(in crate::files) fn damaged(file: Vec<u8>) -> impl Strategy<Value = (Vec<u8>, usize)> {
        let place = any::<prop::sample::Index>;
        let bytes = prop::collection::vec(any::<u8>(), 1..16);
        (place(), bytes, place()).prop_map(move |(at, bytes, cut)| {
            let mut file = file.clone();
            let at = at.index(file.len());
            for (place, byte) in file[at..].iter_mut().zip(bytes) {
                *place = byte;
            }
            let cut = cut.index(file.len());
            (file, cut)
        })
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

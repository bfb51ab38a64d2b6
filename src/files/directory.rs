//! The directory at the head of a GGUF file, and of a `.rkllm` file, which is one whose texts are masked: whether
//! it is whole, and what its numbers tell. Nothing is unmasked.

use std::io::{self, BufReader, Read, Seek};

use super::gguf::{About, Reader, TEXT};

/// Magic, version and two counts.
pub(super) const HEADER: u64 = 24;
/// More than any model has; a count beyond it is no count.
const MOST: u64 = 100_000;
/// The length of `general.architecture`, the first key.
const FIRST_KEY: u64 = 20;
/// Longer than any name.
const LONGEST_NAME: u64 = 1 << 10;
const MOST_DIMENSIONS: u32 = 8;
/// Where tensors begin, and what they are aligned to if the file does not say.
const ALIGNMENT: u64 = 32;
const U32: u32 = 4;

/// What the numbers of a directory tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) tensors: u64,
    pub(super) keys: u64,
    /// Both numbers of the two-dimensional tensor that has the largest one.
    pub(super) vocabulary: Option<u64>,
    pub(super) hidden_size: Option<u64>,
    /// A guess: keys are told by their lengths alone.
    pub(super) max_context: Option<u32>,
    /// Likewise.
    pub(super) cores: Option<u32>,
    /// What a GGUF file says of itself.
    pub(super) about: About,
}

/// How far a directory could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// All of it, and the file is as long as it says.
    Whole(Box<Directory>),
    /// The file is shorter than its directory says.
    Cut(Box<Directory>, u64),
    /// It is none.
    Implausible,
}

/// Reads the directory of a file of that size; one that does not begin with GGUF's letters is a masked one.
pub(super) fn read(file: impl Read + Seek, size: u64) -> Found {
    let mut reader = Reader(BufReader::with_capacity(1 << 16, file));
    let mut directory = Directory::default();
    match walk(&mut reader, &mut directory) {
        Ok(Some(needed)) if needed > size => Found::Cut(Box::new(directory), needed),
        Ok(Some(_)) => Found::Whole(Box::new(directory)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && directory.keys > 0 => {
            Found::Cut(Box::new(directory), 0)
        }
        Ok(None) | Err(_) => Found::Implausible,
    }
}

/// How long the file must be at least; none if this is no directory.
fn walk(
    reader: &mut Reader<impl Read + Seek>,
    directory: &mut Directory,
) -> io::Result<Option<u64>> {
    let masked = &reader.bytes()? != b"GGUF";
    let version = reader.u32()?;
    let (tensors, keys) = (reader.u64()?, reader.u64()?);
    let known = if masked {
        version == 3
    } else {
        matches!(version, 2 | 3)
    };
    // Parts of split models may have no tensors, and models always have.
    let least = u64::from(masked);
    if !known || !(1..=MOST).contains(&keys) || !(least..=MOST).contains(&tensors) {
        return Ok(None);
    }
    (directory.tensors, directory.keys) = (tensors, keys);
    let mut alignment = ALIGNMENT;
    if masked {
        for at in 0..keys {
            if !masked_key(reader, at, directory, &mut alignment)? {
                return Ok(None);
            }
        }
    } else {
        directory.about = reader.facts(keys, |_| false)?;
        let told = directory
            .about
            .alignment
            .filter(|one| one.is_power_of_two());
        alignment = told.unwrap_or(ALIGNMENT);
    }
    let mut end = 0_u64;
    for _ in 0..tensors {
        match tensor(reader, directory)? {
            Some(one) => end = end.max(one),
            None => return Ok(None),
        }
    }
    let begin = reader.0.stream_position()?;
    if end == 0 {
        return Ok(Some(begin));
    }
    let aligned = begin.checked_next_multiple_of(alignment);
    Ok(aligned.and_then(|begin| begin.checked_add(end)))
}

/// Reads a key whose name is masked; false if it cannot be one.
fn masked_key(
    reader: &mut Reader<impl Read + Seek>,
    at: u64,
    directory: &mut Directory,
    alignment: &mut u64,
) -> io::Result<bool> {
    let length = reader.u64()?;
    if !(1..=LONGEST_NAME).contains(&length) {
        return Ok(false);
    }
    reader.forward(length)?;
    let kind = reader.u32()?;
    if at == 0 && (length, kind) != (FIRST_KEY, TEXT) {
        return Ok(false);
    }
    if kind != U32 {
        reader.skip(kind, 0)?;
        return Ok(true);
    }
    let value = reader.u32()?;
    match length {
        // Of `rkllm.max_context`, and of `general.alignment`.
        17 if matches!(value, 8 | 16) => *alignment = value.into(),
        17 if (64..=16384).contains(&value) && value % 32 == 0 => {
            directory.max_context = directory.max_context.max(Some(value));
        }
        // Of `rkllm.core_num`.
        14 if (1..=3).contains(&value) => {
            directory.cores.get_or_insert(value);
        }
        _ => {}
    }
    Ok(true)
}

/// Reads a tensor's entry; where its data ends, counted from where all data begins. None if it cannot be one.
fn tensor(
    reader: &mut Reader<impl Read + Seek>,
    directory: &mut Directory,
) -> io::Result<Option<u64>> {
    let length = reader.u64()?;
    if length > LONGEST_NAME {
        return Ok(None);
    }
    reader.forward(length)?;
    let dimensions = reader.u32()?;
    if dimensions > MOST_DIMENSIONS {
        return Ok(None);
    }
    let mut elements = Some(1_u64);
    let mut shape = [0; MOST_DIMENSIONS as usize];
    for one in &mut shape[..dimensions as usize] {
        *one = reader.u64()?;
        elements = elements.and_then(|all| all.checked_mul(*one));
    }
    let (kind, offset) = (reader.u32()?, reader.u64()?);
    if dimensions == 2 {
        let (small, large) = (shape[0].min(shape[1]), shape[0].max(shape[1]));
        if directory.vocabulary.is_none_or(|most| large > most) {
            directory.vocabulary = Some(large);
            directory.hidden_size = Some(small);
        }
    }
    let bytes = elements.and_then(|elements| bytes(kind, elements));
    Ok(bytes.and_then(|bytes| offset.checked_add(bytes)))
}

/// How many bytes so many elements of a type take; at least that many where the type is not known.
fn bytes(kind: u32, elements: u64) -> Option<u64> {
    let (block, bytes) = match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        24 => (1, 1),
        27 | 28 => (1, 8),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        39 => (32, 17),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        29 => (256, 56),
        34 => (256, 54),
        _ => return Some(u64::from(elements > 0)),
    };
    elements.div_ceil(block).checked_mul(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::super::gguf;
    use super::*;

    /// A file like a converted model: every letter is masked, the numbers are in the clear. Gives where its parts
    /// end, too.
    pub(in crate::files) fn made(masked: bool) -> (Vec<u8>, Vec<usize>) {
        let mask = |text: &str| -> Vec<u8> {
            text.bytes()
                .map(|byte| if masked { byte ^ 0x5a } else { byte })
                .collect()
        };
        let mut ends = Vec::new();
        let mut file = mask("GGUF");
        let mut put = |file: &mut Vec<u8>, bytes: &[u8]| {
            ends.push(file.len());
            file.extend(bytes);
        };
        put(&mut file, &3_u32.to_le_bytes());
        put(&mut file, &2_u64.to_le_bytes());
        put(&mut file, &5_u64.to_le_bytes());
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], &mask(text)].concat();
        for (name, kind, value) in [
            ("general.architecture", 8_u32, text("qwen2")),
            ("general.alignment", 4, 32_u32.to_le_bytes().to_vec()),
            ("rkllm.max_context", 4, 4096_u32.to_le_bytes().to_vec()),
            ("rkllm.core_num", 4, 3_u32.to_le_bytes().to_vec()),
            (
                "tokenizer.ggml.tokens",
                9,
                [
                    &8_u32.to_le_bytes()[..],
                    &2_u64.to_le_bytes(),
                    &text("<s>"),
                    &text("a"),
                ]
                .concat(),
            ),
        ] {
            put(&mut file, &text(name));
            put(&mut file, &kind.to_le_bytes());
            put(&mut file, &value);
        }
        for (name, shape, kind, offset) in [
            ("token_embd.weight", &[16_u64, 100][..], 1_u32, 0_u64),
            ("output_norm.weight", &[16], 0, 3200),
        ] {
            put(&mut file, &text(name));
            put(&mut file, &(shape.len() as u32).to_le_bytes());
            for one in shape {
                put(&mut file, &one.to_le_bytes());
            }
            put(&mut file, &kind.to_le_bytes());
            put(&mut file, &offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(32), 0);
        put(&mut file, &[7; 3200]);
        put(&mut file, &[7; 64]);
        (file, ends)
    }

    fn of(file: &[u8]) -> Found {
        read(Cursor::new(file), file.len() as u64)
    }

    #[test]
    fn a_whole_file_tells_its_numbers() {
        for masked in [true, false] {
            let Found::Whole(told) = of(&made(masked).0) else {
                panic!("it is whole");
            };
            assert_eq!((told.tensors, told.keys), (2, 5));
            assert_eq!((told.vocabulary, told.hidden_size), (Some(100), Some(16)));
            if masked {
                assert_eq!((told.max_context, told.cores), (Some(4096), Some(3)));
            } else {
                assert_eq!(told.about.architecture.as_deref(), Some("qwen2"));
            }
        }
    }

    #[test]
    fn a_file_is_cut_wherever_it_ends_early() {
        for masked in [true, false] {
            let (file, ends) = made(masked);
            for end in (HEADER as usize..file.len()).chain(ends) {
                let cut = of(&file[..end]);
                if end < HEADER as usize {
                    assert_eq!(cut, Found::Implausible, "{end}");
                } else {
                    assert!(
                        matches!(cut, Found::Cut(..)),
                        "{end} of {}: {cut:?}",
                        file.len()
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_directory_is_not_judged() {
        let (file, _) = made(true);
        for (at, bytes) in [
            (4, &[2_u8][..]),
            (8, &[0; 8]),
            (8, &[255; 8]),
            (16, &[0; 8]),
            (16, &[255; 8]),
            (24, &[19]),
            (24, &[255; 8]),
            (52, &[4]),
            (52, &[99]),
            (56, &[255; 8]),
        ] {
            let mut other = file.clone();
            other[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(of(&other), Found::Implausible, "{at} {bytes:?}");
        }
        assert_eq!(of(&[0xe5; 4096]), Found::Implausible);
        assert_eq!(of(b""), Found::Implausible);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(5000))]
        #[test]
        fn any_damage_is_survived(
            (file, cut) in gguf::tests::damaged(made(true).0),
            (plain, at) in gguf::tests::damaged(made(false).0),
        ) {
            for file in [&file[..], &file[..cut], &plain[..], &plain[..at]] {
                let _ = of(file);
            }
        }
    }
}

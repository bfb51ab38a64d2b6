//! Which names of tools a way to call them can have.

use super::super::Refusal;
use super::values::inexpressible;
use crate::answer::{Body, CallForm};

/// Longer names are none.
const LONGEST: usize = 128;

/// What a family's way to call lets a name be.
pub(super) enum Names<'a> {
    Json,
    Word { not: Vec<&'a str> },
    Tag { not: Vec<&'a str> },
    Python,
}

impl<'a> Names<'a> {
    pub(super) fn of(form: &'a CallForm) -> Self {
        match &form.body {
            Body::Json { .. } => Self::Json,
            Body::Named { kind, prose, .. } => Self::Word {
                not: kind.iter().chain(prose).map(String::as_str).collect(),
            },
            Body::Tags(tags) => Self::Tag {
                not: [&tags.key[0], &tags.end]
                    .into_iter()
                    .chain(&tags.name_close)
                    .chain(&form.close)
                    .map(String::as_str)
                    .collect(),
            },
            Body::Python { .. } => Self::Python,
        }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), Refusal> {
        let is_plain = !name.is_empty() && name.trim() == name && name.len() <= LONGEST;
        let fits = match self {
            Self::Json => true,
            Self::Word { not } => {
                !not.contains(&name)
                    && name.bytes().all(|byte| {
                        byte.is_ascii_alphanumeric() || byte >= 0x80 || b"_-.:/ ".contains(&byte)
                    })
            }
            Self::Tag { not } => {
                !name.contains(['<', '>', '\n', '"', '{', '}'])
                    && !not.iter().any(|mark| name.contains(mark))
            }
            Self::Python => {
                let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
                name.as_bytes().first().is_some_and(is_first)
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            }
        };
        if fits && is_plain {
            return Ok(());
        }
        Err(inexpressible(
            "cannot be asked for: this model's way to call tools cannot spell its name",
        ))
    }
}

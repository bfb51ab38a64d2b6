//! Versions of the C layouts, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protocol::error::Failure;

/// C layouts and function shapes that this crate speaks, by the first release that has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(
    non_camel_case_types,
    reason = "the underscores stand for the dots of a release"
)]
pub enum AbiVersion {
    /// Releases 1.1.0 to 1.1.4.
    V1_1_0,
    /// Releases 1.2.0 and 1.2.1b1.
    V1_2_0,
    /// Releases 1.2.1 to 1.2.3.
    V1_2_1,
    /// Release 1.3.0.
    V1_3_0,
    /// Release 1.3.1.
    V1_3_1,
}

impl AbiVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V1_1_0,
        Self::V1_2_0,
        Self::V1_2_1,
        Self::V1_3_0,
        Self::V1_3_1,
    ];

    /// The name, such as `v1_3_0`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Layouts::of(self).name()
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AbiVersion {
    /// What an argument can be.
    #[must_use]
    pub fn choices() -> String {
        let mut names: Vec<String> = Self::ALL
            .into_iter()
            .map(|one| format!("\"{}\"", one.as_str()))
            .collect();
        let last = names.pop().unwrap_or_default();
        format!("{} or {last}", names.join(", "))
    }
}

impl FromStr for AbiVersion {
    type Err = Failure;

    /// Reads `v1_3_0`; `1.3.0`, or any release that belongs to one layout, will do as well.
    ///
    /// # Errors
    ///
    /// `ErrorKind::InvalidArgument`, with the known names.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let name = text.trim().to_ascii_lowercase();
        if let Some(found) = Self::ALL.into_iter().find(|one| one.as_str() == name) {
            return Ok(found);
        }
        let release = super::Version::parse(&name).map(|version| version.release());
        if let Some(super::Release::Known(layouts)) = release {
            if let Some(found) = layouts.only() {
                return Ok(found);
            }
        }
        Err(Failure::choice(
            "abi",
            &Self::choices(),
            format_args!("{text:?}"),
        ))
    }
}

/// A set of layouts that evidence leaves possible, the unsupported ones of 1.0.x included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layouts(u8);

const NAMES: [&str; 7] = [
    "v1_0_0", "v1_0_1", "v1_1_0", "v1_2_0", "v1_2_1", "v1_3_0", "v1_3_1",
];

impl Layouts {
    /// Every layout known.
    pub const ANY: Self = Self(0b111_1111);
    /// None: the evidence fits nothing.
    pub const NONE: Self = Self(0);
    /// Release 1.0.0.
    pub const V1_0_0: Self = Self(1);
    /// Releases 1.0.1 and 1.0.2.
    pub const V1_0_1: Self = Self(1 << 1);
    /// Both layouts of 1.0.x, which we recognise and refuse.
    pub const V1_0: Self = Self(0b11);
    /// Both layouts of 1.2.x.
    pub const V1_2: Self = Self(1 << 3 | 1 << 4);
    /// Both layouts of 1.3.x.
    pub const V1_3: Self = Self(1 << 5 | 1 << 6);

    /// The set of one.
    #[must_use]
    pub const fn of(abi: AbiVersion) -> Self {
        Self(match abi {
            AbiVersion::V1_1_0 => 1 << 2,
            AbiVersion::V1_2_0 => 1 << 3,
            AbiVersion::V1_2_1 => 1 << 4,
            AbiVersion::V1_3_0 => 1 << 5,
            AbiVersion::V1_3_1 => 1 << 6,
        })
    }

    const fn name(self) -> &'static str {
        NAMES[self.0.trailing_zeros() as usize]
    }

    /// The layout of that name in the data table; `v1_2_1b1` is served by `v1_2_0`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == "v1_2_1b1" { "v1_2_0" } else { name };
        let index = NAMES.iter().position(|one| *one == name)?;
        Some(Self(1 << index))
    }

    /// What both sets have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either set has.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether all of this set are in `other`.
    #[must_use]
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether `abi` is in it.
    #[must_use]
    pub const fn contains(self, abi: AbiVersion) -> bool {
        self.0 & Self::of(abi).0 != 0
    }

    /// The layout, when exactly one is left and we speak it.
    #[must_use]
    pub fn only(self) -> Option<AbiVersion> {
        AbiVersion::ALL
            .into_iter()
            .find(|one| Self::of(*one) == self)
    }

    /// The names, oldest first.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let here = NAMES.iter().enumerate();
        here.filter(|(index, _)| self.0 & (1 << index) != 0)
            .map(|(_, name)| *name)
            .collect()
    }
}

impl fmt::Display for Layouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names().as_slice() {
            [] => f.write_str("none"),
            names => f.write_str(&names.join(" or ")),
        }
    }
}

impl fmt::Debug for Layouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for abi in AbiVersion::ALL {
            assert_eq!(abi.as_str().parse::<AbiVersion>().unwrap(), abi);
            assert_eq!(Layouts::named(abi.as_str()), Some(Layouts::of(abi)));
            assert_eq!(Layouts::of(abi).only(), Some(abi));
        }
        assert_eq!(
            Layouts::named("v1_2_1b1"),
            Some(Layouts::of(AbiVersion::V1_2_0))
        );
        assert_eq!(Layouts::V1_0.only(), None);
        assert_eq!(Layouts::V1_0_0.only(), None);
    }

    #[test]
    fn releases_name_their_layout() {
        for (text, expected) in [
            ("1.3.1", AbiVersion::V1_3_1),
            ("1.3.0", AbiVersion::V1_3_0),
            ("1.2.3", AbiVersion::V1_2_1),
            ("1.2.1b1", AbiVersion::V1_2_0),
            (" V1_1_0 ", AbiVersion::V1_1_0),
        ] {
            assert_eq!(text.parse::<AbiVersion>().unwrap(), expected);
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        for text in ["v2", "1.0.1", "v1_0_0", "1.4.0", ""] {
            let error = text.parse::<AbiVersion>().unwrap_err();
            for known in AbiVersion::ALL {
                assert!(error.text.contains(known.as_str()), "{error}");
            }
        }
    }
}

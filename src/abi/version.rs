//! Release numbers as the vendor writes them.

use std::fmt;

use super::{AbiVersion, Layouts};

/// A release such as `1.2.1b1`. The suffix counts: 1.2.1b1 and 1.2.1 are different ABIs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    numbers: [u32; 3],
    suffix: String,
}

/// What is known about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Its layouts are known.
    Known(Layouts),
    /// Of 1.0.x, though not one of the three that are known.
    TooOld,
    /// Above the newest known one: its layouts may be new as well.
    Newer,
    /// Between known releases, or with a suffix never seen: nothing follows from it.
    Unknown,
}

/// The newest release whose layouts are known.
pub const NEWEST: &str = "1.3.1";

impl Version {
    /// Reads `digits.digits.digits`, with letters or digits after it, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (version, length) = Self::parse_prefix(text.as_bytes())?;
        (length == text.len()).then_some(version)
    }

    /// Reads the version at the start of `bytes`; gives its length too.
    #[must_use]
    pub fn parse_prefix(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut numbers = [0; 3];
        let mut at = 0;
        for (index, number) in numbers.iter_mut().enumerate() {
            if index > 0 {
                (bytes.get(at) == Some(&b'.')).then_some(())?;
                at += 1;
            }
            let digits = bytes[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            *number = std::str::from_utf8(&bytes[at..at + digits])
                .ok()?
                .parse()
                .ok()?;
            at += digits;
        }
        let suffix = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        let text = std::str::from_utf8(&bytes[at..at + suffix]).ok()?;
        let version = Self {
            numbers,
            suffix: text.to_owned(),
        };
        Some((version, at + suffix))
    }

    /// The three numbers.
    #[must_use]
    pub fn numbers(&self) -> [u32; 3] {
        self.numbers
    }

    /// What follows the numbers, such as `b1`; mostly empty.
    #[must_use]
    pub fn suffix(&self) -> &str {
        &self.suffix
    }

    /// Which layouts this release has.
    #[must_use]
    pub fn release(&self) -> Release {
        let abi = match (self.numbers, self.suffix.as_str()) {
            ([1, 0, 0], "") => return Release::Known(Layouts::V1_0_0),
            ([1, 0, 1 | 2], "") => return Release::Known(Layouts::V1_0_1),
            ([1, 0, _], _) => return Release::TooOld,
            ([1, 1, 0..=4], "") => AbiVersion::V1_1_0,
            ([1, 2, 0], "") | ([1, 2, 1], "b1") => AbiVersion::V1_2_0,
            ([1, 2, 1..=3], "") => AbiVersion::V1_2_1,
            ([1, 3, 0], "") => AbiVersion::V1_3_0,
            ([1, 3, 1], "") => AbiVersion::V1_3_1,
            (numbers, _) if numbers > [1, 3, 1] => return Release::Newer,
            _ => return Release::Unknown,
        };
        Release::Known(Layouts::of(abi))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}{}", self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn release(text: &str) -> Release {
        Version::parse(text).unwrap().release()
    }

    #[test]
    fn every_release_has_its_layout() {
        let known = |abi| Release::Known(Layouts::of(abi));
        for (text, expected) in [
            ("1.0.0", Release::Known(Layouts::V1_0_0)),
            ("1.0.1", Release::Known(Layouts::V1_0_1)),
            ("1.0.2", Release::Known(Layouts::V1_0_1)),
            ("1.0.0b3", Release::TooOld),
            ("1.0.9", Release::TooOld),
            ("1.1.0", known(AbiVersion::V1_1_0)),
            ("1.1.4", known(AbiVersion::V1_1_0)),
            ("1.1.5", Release::Unknown),
            ("1.2.0", known(AbiVersion::V1_2_0)),
            ("1.2.0b1", Release::Unknown),
            ("1.2.1b1", known(AbiVersion::V1_2_0)),
            ("1.2.1b2", Release::Unknown),
            ("1.2.1", known(AbiVersion::V1_2_1)),
            ("1.2.2", known(AbiVersion::V1_2_1)),
            ("1.2.3", known(AbiVersion::V1_2_1)),
            ("1.2.4", Release::Unknown),
            ("1.3.0", known(AbiVersion::V1_3_0)),
            ("1.3.0b1", Release::Unknown),
            ("1.3.1", known(AbiVersion::V1_3_1)),
            ("1.3.1b1", Release::Unknown),
            ("1.3.2", Release::Newer),
            ("1.3.2b1", Release::Newer),
            ("1.10.0", Release::Newer),
            ("2.0.0", Release::Newer),
            ("0.9.8", Release::Unknown),
        ] {
            assert_eq!(release(text), expected, "{text}");
        }
        assert_eq!(release(NEWEST), known(AbiVersion::V1_3_1));
    }

    #[test]
    fn other_texts_are_no_versions() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.",
            ".1.2.3",
            "1.2.3 ",
            "1.2.3-b1",
            "a1.2.3",
            "1..3",
            "1.2.99999999999",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_suffix_is_kept() {
        let (version, length) = Version::parse_prefix(b"1.2.1b1 | target").unwrap();
        assert_eq!((version.to_string().as_str(), length), ("1.2.1b1", 7));
        assert_ne!(version, Version::parse("1.2.1").unwrap());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            if let Some((version, length)) = Version::parse_prefix(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert!(Version::parse(&version.to_string()).is_some());
            }
        }

        #[test]
        fn written_and_read_again(numbers: [u32; 3], suffix in "([a-zA-Z][a-zA-Z0-9]{0,5})?") {
            let text = format!("{}.{}.{}{suffix}", numbers[0], numbers[1], numbers[2]);
            let version = Version::parse(&text).unwrap();
            prop_assert_eq!(version.to_string(), text);
            prop_assert_eq!(version.numbers(), numbers);
        }
    }
}

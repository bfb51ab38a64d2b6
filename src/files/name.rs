//! What a model's file name says. It says what somebody wrote: all of it are hints.

use std::path::Path;

/// What a name hints at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NameHints {
    /// Such as `rk3588`, in lower case.
    pub(crate) chip: Option<String>,
    /// Such as `w8a8` or `w4a16_g128`.
    pub(crate) dtype: Option<String>,
    /// The toolkit's version, such as `1.2.1`.
    pub(crate) toolkit: Option<String>,
    /// The longest context.
    pub(crate) max_context: Option<u32>,
}

const CHIPS: [&str; 5] = ["rk3588s", "rk3588", "rk3576", "rk3562", "rv1126b"];
const DTYPES: [&str; 3] = ["w4a16", "w8a8", "w4a8"];
const GROUPS: [&str; 5] = ["g32", "g64", "g128", "g256", "g512"];

/// Reads the words of a name, which `-`, `_` and blanks part, and dots but for those of a version.
pub(crate) fn hints(path: &Path) -> NameHints {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let mut hints = NameHints::default();
    let mut words = name.split(['-', '_', ' ']).peekable();
    while let Some(word) = words.next() {
        if hints.toolkit.is_none() {
            hints.toolkit = version(word);
        }
        for part in word.split('.') {
            let context = part
                .strip_prefix("ctx")
                .and_then(|digits| digits.parse().ok());
            hints.max_context = hints.max_context.or(context);
            if hints.chip.is_none() && CHIPS.contains(&part) {
                let family = if part == "rk3588s" { "rk3588" } else { part };
                hints.chip = Some(family.to_owned());
            }
            if hints.dtype.is_none() && DTYPES.contains(&part) {
                let next = words.peek().and_then(|next| next.split('.').next());
                hints.dtype = Some(match next.filter(|next| GROUPS.contains(next)) {
                    Some(group) => format!("{part}_{group}"),
                    None => part.to_owned(),
                });
            }
        }
    }
    hints
}

/// A version of RKLLM, 1.0.0 to 1.3.x, at the beginning of a word such as `v1.2.1b1` or `toolkitv1.1.1`.
fn version(word: &str) -> Option<String> {
    let word = word.strip_prefix("toolkit").unwrap_or(word);
    let word = word.strip_prefix('v').unwrap_or(word);
    let mut parts = word.split('.');
    let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
    let minor_fits = matches!(minor, "0" | "1" | "2" | "3");
    let (digit, rest) = patch.split_at_checked(1)?;
    let rest_fits = rest.is_empty()
        || rest
            .strip_prefix('b')
            .is_some_and(|beta| beta.parse::<u8>().is_ok());
    let fits = major == "1" && minor_fits && digit.parse::<u8>().is_ok() && rest_fits;
    fits.then(|| format!("1.{minor}.{patch}"))
}

/// Whether the name is that of a download that has not ended, or of a piece of one.
pub(crate) fn is_part(path: &Path) -> bool {
    let Some(suffix) = path.extension().and_then(|suffix| suffix.to_str()) else {
        return false;
    };
    let suffix = suffix.to_ascii_lowercase();
    let piece = suffix.strip_prefix("part").is_some_and(|rest| {
        rest.replace("of", "")
            .chars()
            .all(|one| one.is_ascii_digit() || matches!(one, '-' | '_'))
    });
    let unfinished = ["partial", "crdownload", "aria2", "incomplete", "download"];
    piece || unfinished.contains(&suffix.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_field_are_read() {
        for (name, chip, dtype, toolkit, context) in [
            ("Qwen3-VL-2b-w8a8-rk3588.rkllm", "rk3588", "w8a8", "", 0),
            (
                "qwen2.5-vl-3b-w8a8_level1_rk3588.rkllm",
                "rk3588",
                "w8a8",
                "",
                0,
            ),
            (
                "DeepSeek-R1-Distill-Qwen-1.5B_W8A8_RK3588.rkllm",
                "rk3588",
                "w8a8",
                "",
                0,
            ),
            (
                "gemma-4-E2B-it_w8a8_rk3588_ctx16384.rkllm",
                "rk3588",
                "w8a8",
                "",
                16384,
            ),
            (
                "Spark-X2.5-1.7B_RK3576_w4a16_g128.rkllm",
                "rk3576",
                "w4a16_g128",
                "",
                0,
            ),
            ("Qwen3-4B-1.2.0.rkllm", "", "", "1.2.0", 0),
            (
                "x-rk3588s-w8a8_g512-toolkitv1.1.1",
                "rk3588",
                "w8a8_g512",
                "1.1.1",
                0,
            ),
            ("a-rv1126b-v1.2.1b1.rkllm", "rv1126b", "", "1.2.1b1", 0),
            ("qwen-chat-1_8B.rkllm", "", "", "", 0),
            ("model.rkllm", "", "", "", 0),
        ] {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let expected = NameHints {
                chip: text(chip),
                dtype: text(dtype),
                toolkit: text(toolkit),
                max_context: (context > 0).then_some(context),
            };
            assert_eq!(hints(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn parts_of_downloads_are_known() {
        for name in [
            "a.rkllm.part",
            "a.rkllm.part-00",
            "a.part1of3",
            "a.gguf.crdownload",
        ] {
            assert!(is_part(Path::new(name)), "{name}");
        }
        for name in ["a.rkllm", "part", "a.party", "a.gguf", ".part"] {
            assert!(!is_part(Path::new(name)), "{name}");
        }
    }
}

//! What becomes of the library's output.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// The variable that chooses where no program does.
const VARIABLE: &str = "RKLLM_RS_VENDOR_LOG";

/// What becomes of the lines that the library prints; one choice for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Errors and warnings go to stderr, the rest nowhere.
    #[default]
    Warnings,
    /// Nothing is printed.
    Quiet,
    /// Everything goes to stderr.
    All,
    /// The library's output is left alone.
    Direct,
}

const MODES: [(Mode, &str); 4] = [
    (Mode::Warnings, "warnings"),
    (Mode::Quiet, "quiet"),
    (Mode::All, "all"),
    (Mode::Direct, "direct"),
];

/// Another name of `direct`, from before there were other choices.
const OFF: [&str; 4] = ["off", "0", "no", "false"];

impl Mode {
    /// What an argument can be.
    pub const CHOICES: &str = r#""warnings", "quiet", "all" or "direct""#;

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        MODES[self as usize].1
    }
}

impl FromStr for Mode {
    type Err = String;

    /// Reads a name, in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_ascii_lowercase();
        if OFF.contains(&text.as_str()) {
            return Ok(Self::Direct);
        }
        let known = MODES.iter().find(|(_, name)| *name == text);
        known
            .map(|(mode, _)| *mode)
            .ok_or_else(|| Self::CHOICES.to_owned())
    }
}

const UNSET: u8 = u8::MAX;
static MODE: AtomicU8 = AtomicU8::new(UNSET);
/// Whether the program was started without a stderr: whatever has its number later is not one.
static NO_STDERR: AtomicBool = AtomicBool::new(false);
/// Whether a logger of the program takes the lines.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The variable's value, if it names no mode.
pub(crate) fn misspelt() -> Option<String> {
    variable().and_then(Result::err)
}

fn variable() -> Option<Result<Mode, String>> {
    let value = std::env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
    let value = value.to_string_lossy();
    let read = value.parse::<Mode>();
    Some(read.map_err(|names| {
        format!(
            "{VARIABLE} must be {names}, got {value:?}; using {:?}",
            Mode::default().name()
        )
    }))
}

/// The choice: the last that the program made, or else the variable's.
pub(crate) fn get() -> Mode {
    let now = MODE.load(Ordering::Relaxed);
    if let Some((mode, _)) = MODES.get(usize::from(now)) {
        return *mode;
    }
    let mode = variable().and_then(Result::ok).unwrap_or_default();
    // A choice that is made meanwhile wins.
    let _ = MODE.compare_exchange(UNSET, mode as u8, Ordering::Relaxed, Ordering::Relaxed);
    mode
}

/// From now on.
pub(crate) fn set(mode: Mode) {
    MODE.store(mode as u8, Ordering::Relaxed);
}

/// Whether the program takes the lines itself, so that they are not printed as well.
pub(crate) fn set_taken(taken: bool) {
    TAKEN.store(taken, Ordering::Relaxed);
}

/// There is no stderr to print to, whatever file may have its number.
pub(crate) fn set_no_stderr() {
    NO_STDERR.store(true, Ordering::Relaxed);
}

pub(super) fn no_stderr() -> bool {
    NO_STDERR.load(Ordering::Relaxed)
}

pub(super) fn taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for (mode, name) in MODES {
            assert_eq!(name.to_uppercase().parse(), Ok(mode));
            assert_eq!(mode.name(), name);
        }
        assert!(OFF.iter().all(|off| off.parse() == Ok(Mode::Direct)));
        assert!("loud".parse::<Mode>().is_err());
    }
}

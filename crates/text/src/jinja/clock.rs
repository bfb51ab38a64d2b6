//! Python's `datetime.now().strftime(format)`: local time, English names, no time zone in the value.

use std::cell::RefCell;
use std::time::SystemTime;

use jiff::ZonedDateTime;
use jiff::fmt::strtime::{BrokenDownTime, Config};

use super::Trouble;

thread_local! {
    /// The time of the rendering that has this thread to itself; `None` is now.
    static GIVEN: RefCell<Option<ZonedDateTime>> = const { RefCell::new(None) };
}

/// The directives that mean the same to Python and to jiff.
const KNOWN: &str = "aAbBCdDeFgGhHIjklmMnpPRsStTuUVwWyY%";

/// Sets the time of this thread's rendering.
pub(super) fn set(time: Option<SystemTime>) -> Result<(), Trouble> {
    let time = time.map(ZonedDateTime::try_from).transpose();
    GIVEN.set(time.map_err(|error| Trouble::Failed {
        line: None,
        reason: format!("the time is out of range: {error}"),
    })?);
    Ok(())
}

/// The time now in a template's format.
pub(super) fn now(format: &str) -> Result<String, String> {
    GIVEN.with_borrow(|given| match given {
        Some(time) => at(time, format),
        None => at(&ZonedDateTime::now(), format),
    })
}

/// A time in a template's format.
pub(super) fn at(time: &ZonedDateTime, format: &str) -> Result<String, String> {
    let mut out = String::new();
    BrokenDownTime::from(time)
        .format_with_config(&Config::new().lenient(true), naive(format), &mut out)
        .map_err(|error| format!("strftime_now({format:?}): {error}"))?;
    Ok(out)
}

/// The format in C's locale: less what Python leaves empty for a time without zone, and less the marks
/// of other eras and digits.
fn naive(format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let flags = rest.len()
            - rest
                .trim_start_matches(['-', '_', '0', '^', '#', ':'])
                .len();
        let width = rest[flags..].len()
            - rest[flags..]
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let (lead, after) = rest.split_at(flags + width);
        let after = after.strip_prefix(['E', 'O']).unwrap_or(after);
        let Some(directive) = after.chars().next() else {
            out.push('%');
            out.push_str(lead);
            rest = after;
            continue;
        };
        rest = &after[directive.len_utf8()..];
        match directive {
            'Z' | 'z' => {}
            'c' => out.push_str("%a %b %e %H:%M:%S %Y"),
            'x' => out.push_str("%m/%d/%y"),
            'X' => out.push_str("%H:%M:%S"),
            'r' => out.push_str("%I:%M:%S %p"),
            'f' => out.push_str("%6f"),
            // Of a width that no date has, or of a meaning that Python does not know.
            _ if width > 2 || !KNOWN.contains(directive) => {
                out.push_str("%%");
                out.push_str(lead);
                out.push(directive);
            }
            _ => {
                out.push('%');
                out.push_str(lead);
                out.push(directive);
            }
        }
    }
    out.push_str(rest);
    out
}

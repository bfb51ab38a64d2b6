//! Python's `datetime.now().strftime(format)`: local time, English names, no time zone in the value.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::SystemTime;

use rkllm_clock::Local;

use super::Trouble;

thread_local! {
    /// The time of the rendering that has this thread to itself; `None` is now.
    static GIVEN: Cell<Option<Local>> = const { Cell::new(None) };
}

/// Sets the time of this thread's rendering.
pub(super) fn set(time: Option<SystemTime>) -> Result<(), Trouble> {
    let local = time.map(local).transpose();
    GIVEN.set(local.map_err(|reason| Trouble::Failed { line: None, reason })?);
    Ok(())
}

fn local(time: SystemTime) -> Result<Local, String> {
    Local::at(time).ok_or_else(|| "the time is out of range".to_owned())
}

/// The time now in a template's format.
pub(super) fn now(format: &str) -> Result<String, String> {
    let time = GIVEN.get().map_or_else(|| local(SystemTime::now()), Ok)?;
    at(&time, format).ok_or_else(|| {
        "the format of strftime_now must not contain a NUL, or give more than 64 KiB".to_owned()
    })
}

/// A time in a template's format; `None` where the format has a NUL or gives a text without end.
fn at(time: &Local, format: &str) -> Option<String> {
    time.format(&naive(format, time.microseconds()))
}

/// The format with what Python replaces itself: the microseconds, which C does not know, and the zone, which is
/// empty for a time without one.
fn naive(format: &str, microseconds: u32) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let lead = |c: char| c.is_ascii_digit() || "-_^#+:EO".contains(c);
        let directive = after.trim_start_matches(lead).chars().next();
        let end = start
            + 1
            + after.find(|c| !lead(c)).unwrap_or(after.len())
            + directive.map_or(0, char::len_utf8);
        match directive {
            Some('Z' | 'z') => {}
            Some('f') if after.starts_with('f') => {
                let _ = write!(out, "{microseconds:06}");
            }
            _ => out.push_str(&rest[start..end]),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;

//! Local time as C and Python write it: the C library's `strftime`, which Python calls too.
//!
//! Names of days and months are English, whatever locale the program has chosen. The time zone is the
//! one that the C library has read: from `TZ`, or the system's.

#![allow(unsafe_code, reason = "calls the C library")]

use std::ffi::{CString, c_char};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// More bytes than any date has: a format that gives more is refused.
const LONGEST: usize = 64 * 1024;

/// A moment of local time: C's `struct tm`, and what it has no field for.
#[derive(Clone, Copy)]
pub struct Local {
    tm: libc::tm,
    microseconds: u32,
}

impl Local {
    /// The local time of a moment; `None` where the C library cannot say it.
    #[must_use]
    pub fn at(time: SystemTime) -> Option<Self> {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).ok()?,
            Err(before) => -i64::try_from(before.duration().as_micros()).ok()?,
        };
        let microseconds = u32::try_from(micros.rem_euclid(1_000_000)).ok()?;
        // 32 bits on armv7l.
        let seconds = libc::time_t::try_from(micros.div_euclid(1_000_000)).ok()?;
        // SAFETY: all zeros are a `tm`: numbers, and a pointer that may be null.
        let mut tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to values of this frame, which nobody else has.
        let done = unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
        (!done.is_null()).then_some(Self { tm, microseconds })
    }

    /// The time in a format of `strftime`; `None` where the format has a NUL or the text would be longer than
    /// 64 KiB.
    #[must_use]
    pub fn format(&self, format: &str) -> Option<String> {
        if format.len() > LONGEST {
            return None;
        }
        // `strftime` has one answer for a text that is empty and for one that is too long: none is empty with a
        // point before it.
        let format = CString::new([b".", format.as_bytes()].concat()).ok()?;
        let locale = c_locale()?;
        let mut text = vec![0_u8; 256];
        loop {
            // SAFETY: the room is as long as it says; the format ends with a NUL; `tm` was filled by
            // `localtime_r`, and its zone's name is the C library's own; the locale is never freed.
            let length = unsafe {
                libc::strftime_l(
                    text.as_mut_ptr().cast::<c_char>(),
                    text.len(),
                    format.as_ptr(),
                    &raw const self.tm,
                    locale.0,
                )
            };
            if length > 0 {
                return String::from_utf8(text[1..length].to_vec()).ok();
            }
            if text.len() >= LONGEST {
                return None;
            }
            text.resize(text.len() * 4, 0);
        }
    }

    /// The microseconds of the second, 0 to 999,999.
    #[must_use]
    pub const fn microseconds(&self) -> u32 {
        self.microseconds
    }
}

/// The locale "C", made once and kept.
struct CLocale(libc::locale_t);

// SAFETY: nobody changes or frees the locale, so that all threads may read it.
unsafe impl Send for CLocale {}
// SAFETY: as above.
unsafe impl Sync for CLocale {}

fn c_locale() -> Option<&'static CLocale> {
    static MADE: OnceLock<CLocale> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        // SAFETY: a name that ends with a NUL, and no locale to change.
        CLocale(unsafe { libc::newlocale(libc::LC_ALL_MASK, c"C".as_ptr(), std::ptr::null_mut()) })
    });
    (!made.0.is_null()).then_some(made)
}

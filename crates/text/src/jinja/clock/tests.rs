//! Dates are those that Python writes.

use std::time::Duration;

use super::*;

#[test]
fn dates_are_those_of_python() {
    // The moment that is called so here, wherever that is.
    let day = Duration::from_secs(86_400);
    let utc = SystemTime::UNIX_EPOCH + Duration::from_micros(1_770_091_506_000_007);
    let near = (0..=192).map(|quarters| utc - day + day / 96 * quarters);
    let time = near
        .filter_map(Local::at)
        .find(|time| at(time, "%F %T").as_deref() == Some("2026-02-03 04:05:06"))
        .expect("a time");
    // From CPython 3.11 on Linux, in the C locale.
    for (format, expected) in [
        ("%Y-%m-%d", "2026-02-03"),
        ("%d %b %Y", "03 Feb 2026"),
        ("%B %d, %Y", "February 03, 2026"),
        (
            "%A %a %j %U %W %V %G %u %w",
            "Tuesday Tue 034 05 05 06 2026 2 2",
        ),
        ("%Y-%m-%d %H:%M:%S", "2026-02-03 04:05:06"),
        ("%I %p %y %e %-d %_d %k %l %C", "04 AM 26  3 3  3  4  4 20"),
        (
            "%D %F %T %R %r %h",
            "02/03/26 2026-02-03 04:05:06 04:05 04:05:06 AM Feb",
        ),
        ("%c|%x|%X", "Tue Feb  3 04:05:06 2026|02/03/26|04:05:06"),
        ("%Ey %Od [%Z] [%z]", "26 03 [] []"),
        ("%n%t%%", "\n\t%"),
        (
            "%Q %f %9d %%f %%%f %-f",
            "%Q 000007 000000003 %f %000007 %-f",
        ),
        (
            "%5d|%-5d|%_5d|%010Y|%^a|%^B",
            "00003|    3|    3|0000002026|TUE|FEBRUARY",
        ),
        ("", ""),
        ("[%-Z] [%:z] %E", "[] [] %E"),
        ("100%", "100%"),
        ("a%-", "a%-"),
        ("déjà %d", "déjà 03"),
    ] {
        assert_eq!(at(&time, format).as_deref(), Some(expected), "{format}");
    }
}

#[test]
fn a_text_without_end_is_refused() {
    let time = Local::at(SystemTime::now()).expect("a time");
    let long = at(&time, "%65000d").map(|text| text.len());
    assert_eq!(long, Some(65_000));
    for format in ["%66000d", "%99999999999999999999d", "a\0b"] {
        assert_eq!(at(&time, format), None, "{format}");
    }
    assert_eq!(at(&time, &"x".repeat(70_000)), None);
}

//! Which CPUs the library is told to use.

/// Number and mask of the CPUs to use, from what the user set, what the library filled in, and how
/// many CPUs there are.
pub(super) fn cpus(
    number: Option<i8>,
    mask: Option<u32>,
    default: (i8, u32),
    available: u32,
) -> (i8, u32) {
    let lowest = |count: u32| {
        u32::MAX
            .checked_shr(32 - count.clamp(1, 32))
            .unwrap_or(u32::MAX)
    };
    match (number, mask) {
        (Some(number), Some(mask)) => (number, mask),
        (None, Some(mask)) => (mask.count_ones() as i8, mask),
        // With eight CPUs the fast ones are the upper four on the chips that the library knows.
        (Some(number), None) if available == 8 && (1..=8).contains(&number) => {
            (number, lowest(number as u32) << (8 - number as u32))
        }
        (Some(number), None) => (number, lowest(number as u32)),
        (None, None) if default.1.count_ones() == default.0 as u32 && default.0 > 0 => default,
        (None, None) => {
            let count = available.clamp(1, 4);
            (count as i8, lowest(count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_agree_whatever_is_known() {
        assert_eq!(cpus(None, None, (4, 0xF0), 8), (4, 0xF0));
        assert_eq!(cpus(None, None, (4, 0), 2), (2, 0b11));
        assert_eq!(cpus(None, None, (4, 0), 64), (4, 0b1111));
        assert_eq!(cpus(Some(2), None, (4, 0xF0), 8), (2, 0xC0));
        assert_eq!(cpus(Some(2), None, (4, 0x0F), 4), (2, 0b11));
        assert_eq!(cpus(None, Some(0b101), (4, 0x0F), 4), (2, 0b101));
        assert_eq!(cpus(Some(32), None, (4, 0), 64), (32, u32::MAX));
    }
}

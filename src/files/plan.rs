//! Where models lie in the NPU's memory: 16 IOMMU domains of 4 GiB of addresses each.
//!
//! A model begins in one domain, its `base_domain_id`, and goes on in the next ones.

/// Their number.
pub(crate) const DOMAINS: u64 = 16;
/// How much of a domain a model can use; what was measured to be safe, of 4 GiB.
pub(crate) const SAFE: u64 = 3_435_973_836;

/// The domains that one model takes: from the first on, so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) base: u64,
    pub(crate) count: u64,
}

impl Range {
    /// Of a model of so many bytes that begins there.
    pub(crate) fn new(base: u64, size: u64) -> Self {
        let count = size.div_ceil(SAFE).max(1);
        Self { base, count }
    }

    fn end(self) -> u64 {
        self.base.saturating_add(self.count)
    }

    fn meets(self, other: Self) -> bool {
        self.base < other.end() && other.base < self.end()
    }
}

/// Whether the vendor's own programs leave every model in domain 0 on that chip.
pub(crate) fn keeps_to_0(chip: &str) -> bool {
    matches!(chip, "rk3562" | "rv1126b")
}

/// Where a model of so many bytes is best put beside those that are there. None if there is no room.
///
/// A model that is small and alone lies in domain 0, where the library puts it by itself; a large one begins in
/// domain 1, as the vendor's own programs do it, unless the chip is one for which they keep to 0.
pub(crate) fn place(size: u64, taken: &[Range], keeps_to_0: bool) -> Option<Range> {
    let first = u64::from(size >= SAFE && !keeps_to_0);
    (first..DOMAINS)
        .map(|base| Range::new(base, size))
        .take_while(|range| range.end() <= DOMAINS)
        .find(|range| !taken.iter().any(|other| other.meets(*range)))
}

/// Where models of these sizes are best put, one after the other, beside those that are there.
#[cfg(any(feature = "python", test))]
pub(crate) fn places(
    sizes: impl IntoIterator<Item = u64>,
    taken: &[Range],
    keeps_to_0: bool,
) -> Vec<Option<Range>> {
    let mut taken = taken.to_vec();
    let put = |size: u64| {
        let range = place(size, &taken, keeps_to_0)?;
        taken.push(range);
        Some(range)
    };
    sizes.into_iter().map(put).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn bases(sizes: &[u64], taken: &[Range], keeps_to_0: bool) -> Vec<Option<u64>> {
        let places = places(sizes.iter().copied(), taken, keeps_to_0).into_iter();
        places.map(|range| range.map(|range| range.base)).collect()
    }

    #[test]
    fn models_lie_one_behind_the_other() {
        let encoder = [Range::new(0, 1)];
        assert_eq!(bases(&[GIB], &[], false), [Some(0)]);
        assert_eq!(bases(&[GIB, GIB], &[], false), [Some(0), Some(1)]);
        assert_eq!(bases(&[GIB], &encoder, false), [Some(1)]);
        assert_eq!(bases(&[SAFE], &[], false), [Some(1)]);
        assert_eq!(bases(&[SAFE], &[], true), [Some(0)]);
        assert_eq!(
            bases(&[4 * GIB, GIB, GIB], &[], false),
            [Some(1), Some(0), Some(3)]
        );
        assert_eq!(bases(&[28 * GIB, 28 * GIB], &[], false), [Some(1), None]);
        assert_eq!(bases(&[u64::MAX], &[], false), [None]);
    }

    proptest! {
        #[test]
        fn ranges_are_apart_and_end_in_time(sizes: Vec<u32>, keeps_to_0: bool) {
            let mut taken: Vec<Range> = Vec::new();
            for size in sizes {
                if let Some(range) = place(u64::from(size) * 16, &taken, keeps_to_0) {
                    prop_assert!(range.end() <= DOMAINS);
                    prop_assert!(!taken.iter().any(|other| other.meets(range)));
                    taken.push(range);
                }
            }
        }
    }
}

//! How long something took, over many times: counts in ranges, their sum, and nothing else.
//!
//! The ranges are those of a cold start: fine around the 2 to 20 ms that a unikernel needs, coarse up to the half minute
//! that a Linux guest may take. All sums are of whole nanoseconds, so that they are exact.

use std::time::Duration;

/// The ranges' upper ends, inclusive, in microseconds; above the last one there is a range without an end.
pub const BOUNDS_US: [u64; 18] = [
    500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 10_000_000, 30_000_000,
];

/// Counts of durations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    counts: [u64; BOUNDS_US.len() + 1],
    sum_ns: u64,
}

impl Histogram {
    /// Counts one. What does not fit 64 bits of nanoseconds, 584 years, counts as that.
    pub fn observe(&mut self, took: Duration) {
        let range = BOUNDS_US.partition_point(|&bound| Duration::from_micros(bound) < took);
        self.counts[range] += 1;
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took together, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// How many took no longer than each of [`BOUNDS_US`].
    pub fn cumulative(&self) -> [u64; BOUNDS_US.len()] {
        let mut so_far = 0;
        std::array::from_fn(|range| {
            so_far += self.counts[range];
            so_far
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_range_below_it() {
        for (range, &bound) in BOUNDS_US.iter().enumerate() {
            let mut histogram = Histogram::default();
            histogram.observe(Duration::from_micros(bound));
            histogram.observe(Duration::from_micros(bound) + Duration::from_nanos(1));
            let cumulative = histogram.cumulative();
            assert_eq!(cumulative[range], 1, "{bound} µs");
            assert_eq!(cumulative.get(range + 1).copied().unwrap_or(histogram.count()), 2, "{bound} µs");
        }
    }

    #[test]
    fn nothing_is_lost_above_the_last_bound_or_at_zero() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.sum_ns()), (0, 0));
        histogram.observe(Duration::ZERO);
        histogram.observe(Duration::from_secs(3600));
        assert_eq!((histogram.count(), histogram.sum_ns()), (2, 3_600_000_000_000));
        assert_eq!(histogram.cumulative(), [1; BOUNDS_US.len()]);
        histogram.observe(Duration::MAX);
        assert_eq!((histogram.count(), histogram.sum_ns()), (3, u64::MAX));
    }

    #[test]
    fn bounds_ascend() {
        assert!(BOUNDS_US.is_sorted_by(|a, b| a < b));
    }
}

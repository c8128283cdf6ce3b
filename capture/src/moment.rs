//! Time as the driver tells it.

use std::time::Duration;

/// A point in time: nanoseconds of a clock that never goes back, such as `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment that much later, or the end of time.
    pub fn after(self, delay: Duration) -> Self {
        Moment(self.0.saturating_add(nanos(delay)))
    }

    /// Time since `earlier`; zero if that is in the future.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

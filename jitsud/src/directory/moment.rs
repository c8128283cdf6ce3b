//! Time as the directory sees it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A point in time: nanoseconds of `CLOCK_MONOTONIC`, which begins with the node's kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Moment(pub u64);

impl Moment {
    /// The clock's reading. For drivers; the directory itself never looks at a clock.
    pub fn now() -> Self {
        // It fails for unknown clocks only, and POSIX demands this one of Linux.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Moment(nanos(now))
    }

    /// The moment that much later, or the end of time.
    pub fn after(self, delay: Duration) -> Self {
        Moment(self.0.saturating_add(nanos(delay)))
    }

    /// The moment that much earlier, or the beginning of time.
    pub fn before(self, delay: Duration) -> Self {
        Moment(self.0.saturating_sub(nanos(delay)))
    }

    /// Time since `earlier`; zero if that is in the future.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

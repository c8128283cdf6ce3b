//! Token buckets, in the form of the generic cell rate algorithm (ITU-T I.371, annex A): of each is kept only when
//! all that it has let through would have come through at an even pace.

use std::net::IpAddr;

use crate::config::Rate;
use crate::moment::Moment;
use crate::source::{Key, source_hash};

/// How often something may still happen. It begins full: with a [`Rate`]'s whole burst.
#[derive(Clone, Copy, Default, Debug)]
pub struct Bucket {
    even: Moment,
}

impl Bucket {
    /// Takes a token if there is one.
    pub fn take(&mut self, now: Moment, rate: &Rate) -> bool {
        let there = self.next(rate) <= now;
        if there {
            self.even = self.even.max(now).after(rate.interval);
        }
        there
    }

    /// When there is a token; may have been long ago.
    pub fn next(&self, rate: &Rate) -> Moment {
        let saved = rate.interval.saturating_mul(rate.burst.max(1) - 1);
        Moment(self.even.0.saturating_sub(Moment(0).after(saved).0))
    }
}

/// A bucket for each source, as far as there are some: sources share one by chance, which nobody can choose who
/// does not know the key. No source can be forgotten by sending from many others.
#[derive(Debug)]
pub(crate) struct SourceBuckets {
    key: Key,
    buckets: Box<[Bucket]>,
}

/// A summon has taken a token at most as often as all of the node's bucket allows, so that few are in use.
const BUCKETS: usize = 1024;

impl SourceBuckets {
    pub fn new(key: Key) -> Self {
        SourceBuckets { key, buckets: vec![Bucket::default(); BUCKETS].into() }
    }

    pub fn take(&mut self, now: Moment, rate: &Rate, source: IpAddr) -> bool {
        let index = source_hash(&self.key, source) as usize % BUCKETS;
        self.buckets[index].take(now, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_pace() {
        let rate = Rate::per_second(10, 3);
        let mut bucket = Bucket::default();
        let at = |ms: u64| Moment(ms * 1_000_000);
        let taken = |bucket: &mut Bucket, ms| (0..10).filter(|_| bucket.take(at(ms), &rate)).count();
        assert_eq!(taken(&mut bucket, 5000), 3);
        assert_eq!(bucket.next(&rate), at(5100));
        assert_eq!(taken(&mut bucket, 5099), 0);
        assert_eq!(taken(&mut bucket, 5100), 1);
        assert_eq!(taken(&mut bucket, 5310), 2);
        assert_eq!(taken(&mut bucket, 99_000), 3, "no more than the burst is saved");
    }

    #[test]
    fn the_extremes() {
        let mut bucket = Bucket::default();
        let unlimited = Rate { interval: std::time::Duration::ZERO, burst: 0 };
        assert!((0..1000).all(|_| bucket.take(Moment(0), &unlimited)));
        let never = Rate::per_second(0, 1);
        assert!(bucket.take(Moment(0), &never) && !bucket.take(Moment(u64::MAX / 2), &never));
    }
}

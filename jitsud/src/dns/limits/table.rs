//! A bucket for each of many, in a bounded table.

use capture::{Bucket, Moment, Rate};

/// Places among which one is looked for: as many as two cache lines hold.
const WAYS: usize = 8;

/// Buckets by 64-bit hashes, of a fixed number. Where there is no place for another, the one goes that has the most left:
/// to forget a full one loses nothing. So however many others come, who is at the limit stays there, and a newcomer is
/// never refused for the others' sake.
#[derive(Debug)]
pub struct Table {
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    /// Part of the hash; the rest says which places it may have.
    tag: u32,
    /// How often it was refused since it was last let through.
    refused: u32,
    bucket: Bucket,
}

/// What became of a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// There was a token.
    Yes,
    /// There was none, for the so-manieth time in a row, and there is one at this time.
    No {
        /// From 1.
        times: u32,
        /// May be very far away.
        again: Moment,
    },
}

impl Table {
    /// Room for so many, rounded up.
    pub fn new(buckets: usize) -> Self {
        let sets = buckets.div_ceil(WAYS).next_power_of_two();
        Table { places: vec![Place::default(); sets * WAYS].into() }
    }

    /// Takes a token from the bucket with this hash, which strangers must not be able to choose.
    pub fn take(&mut self, now: Moment, rate: &Rate, hash: u64) -> Taken {
        if rate.interval.is_zero() {
            return Taken::Yes;
        }
        let sets = self.places.len() / WAYS;
        let first = (hash as usize & (sets - 1)) * WAYS;
        let ways = &mut self.places[first..first + WAYS];
        // Zero is an empty place's.
        let tag = ((hash >> 32) as u32).max(1);
        let known = ways.iter().position(|place| place.tag == tag);
        let fullest = || (0..WAYS).min_by_key(|at| ways[*at].bucket.next(rate)).unwrap_or(0);
        let at = known.unwrap_or_else(fullest);
        let place = &mut ways[at];
        if known.is_none() {
            *place = Place { tag, ..Place::default() };
        }
        if place.bucket.take(now, rate) {
            place.refused = 0;
            return Taken::Yes;
        }
        place.refused = place.refused.saturating_add(1);
        Taken::No { times: place.refused, again: place.bucket.next(rate) }
    }
}

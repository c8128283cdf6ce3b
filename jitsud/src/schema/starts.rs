//! What became of starts, and how long they took.

use serde::{Deserialize, Serialize};

use crate::directory::{Outcome, Stage, Starts};
use crate::histogram::BOUNDS_US;

/// Starts of all services since the daemon began. `begun` is the sum of all others.
///
/// A start begins when a service that is off is wanted. That a paused one goes on is none, nor is it one when a daemon takes
/// over what an earlier one has started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StartsStatus {
    /// How many began.
    pub begun: u64,
    /// How many have no outcome yet.
    pub under_way: u64,
    /// After how many the guest accepted connections.
    pub ready: u64,
    /// How many could not be built, or ended or took too long before they were ready.
    pub failed: u64,
    /// For how many there was no room, and none could be made.
    pub no_room: u64,
    /// How many were not wanted any more before they were ready.
    pub cancelled: u64,
    /// The upper ends of the ranges below, in microseconds, inclusive.
    pub bounds_us: Vec<u64>,
    /// When the `ready` ones reached their stages; those that none has reached are there, too.
    pub stages: Vec<StageTimes>,
}

/// How long after what they were begun for starts reached one stage.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StageTimes {
    /// Its name, as in a service's `last_start`.
    pub stage: String,
    /// How many starts have reached it.
    pub count: u64,
    /// All their times together.
    pub sum_ns: u64,
    /// How many reached it no later than each of `bounds_us`; the others, up to `count`, did later than the last one.
    pub no_later_than: Vec<u64>,
}

impl StartsStatus {
    /// Of what is counted.
    pub fn new(starts: &Starts) -> Self {
        let stages = Stage::ALL.into_iter().map(|stage| {
            let times = starts.stage(stage);
            StageTimes {
                stage: stage.as_str().to_owned(),
                count: times.count(),
                sum_ns: times.sum_ns(),
                no_later_than: times.cumulative().to_vec(),
            }
        });
        StartsStatus {
            begun: starts.begun(),
            under_way: starts.under_way(),
            ready: starts.ended(Outcome::Ready),
            failed: starts.ended(Outcome::Failed),
            no_room: starts.ended(Outcome::NoRoom),
            cancelled: starts.ended(Outcome::Cancelled),
            bounds_us: BOUNDS_US.to_vec(),
            stages: stages.collect(),
        }
    }
}

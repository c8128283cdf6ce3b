//! What became of starts, and how long those took that succeeded.
//!
//! A start begins when a service that is off is wanted, and has one outcome. That it waits for room and is built again
//! belongs to it; that a paused service goes on, or one is taken over from an earlier daemon, is none. So at any time
//! `begun` is the sum of all outcomes and of those that are under way; the simulation checks it after each step.

use super::{Afterwards, Stage, State, Timeline};
use crate::histogram::Histogram;

/// How a start ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The guest accepts connections.
    Ready,
    /// It could not be built, or ended or took too long before it was ready.
    Failed,
    /// There was no room for it, and none could be made.
    NoRoom,
    /// It was not wanted any more.
    Cancelled,
}

/// All starts since the daemon began.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Starts {
    begun: u64,
    outcomes: [u64; Outcome::ALL.len()],
    stages: [Histogram; Stage::ALL.len()],
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 4] = [Outcome::Ready, Outcome::Failed, Outcome::NoRoom, Outcome::Cancelled];

    /// The name used in `/status` and `/metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ready => "ready",
            Outcome::Failed => "failed",
            Outcome::NoRoom => "no_room",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// What it means for a service that is being started to get into that state; `None` that the start goes on.
    pub(super) fn of(state: &State) -> Option<Self> {
        match state {
            State::Building { .. } | State::AwaitingRoom { .. } | State::Booting { .. } => None,
            State::Ready { .. } | State::Paused { .. } => Some(Outcome::Ready),
            State::Failed { no_room: true, .. } => Some(Outcome::NoRoom),
            State::Failed { .. } | State::Stopping { then: Afterwards::Failed { .. }, .. } => {
                Some(Outcome::Failed)
            }
            State::Off | State::ShuttingDown { .. } | State::Stopping { then: Afterwards::Off, .. } => {
                Some(Outcome::Cancelled)
            }
        }
    }
}

impl Starts {
    /// How many began.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// How many had this outcome.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// How many have none yet.
    pub fn under_way(&self) -> u64 {
        self.begun - self.outcomes.iter().sum::<u64>()
    }

    /// When starts that succeeded reached a stage, counted from what they were begun for.
    pub fn stage(&self, stage: Stage) -> &Histogram {
        &self.stages[stage as usize]
    }

    pub(super) fn begin(&mut self, starts: u64) {
        self.begun += starts;
    }

    /// Of one that succeeded, `timeline` is complete.
    pub(super) fn end(&mut self, outcome: Outcome, timeline: &Timeline) {
        self.outcomes[outcome as usize] += 1;
        let Some(begun) = timeline.begun().filter(|_| outcome == Outcome::Ready) else { return };
        for (stage, at) in timeline.reached() {
            self.stages[stage as usize].observe(at.since(begun));
        }
    }
}

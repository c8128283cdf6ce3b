//! What a start spends its time on.

use super::Moment;

/// A step on the way from a question to an answer, in the order in which they are usually reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// The question arrived.
    QueryReceived,
    /// The packet arrived that it was started for, if it was not for a question.
    PacketReceived,
    /// The builder was asked for a domain.
    BuildStarted,
    /// Xen has made the domain.
    DomainCreated,
    /// The domain runs.
    Unpaused,
    /// Its network interface is connected, and the bridge forwards to it.
    VifUp,
    /// It accepts connections.
    GuestReady,
    /// The answer was handed out.
    Answered,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 8] = [
        Stage::QueryReceived,
        Stage::PacketReceived,
        Stage::BuildStarted,
        Stage::DomainCreated,
        Stage::Unpaused,
        Stage::VifUp,
        Stage::GuestReady,
        Stage::Answered,
    ];

    /// The name used in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::QueryReceived => "query_received",
            Stage::PacketReceived => "packet_received",
            Stage::BuildStarted => "build_started",
            Stage::DomainCreated => "domain_created",
            Stage::Unpaused => "unpaused",
            Stage::VifUp => "vif_up",
            Stage::GuestReady => "guest_ready",
            Stage::Answered => "answered",
        }
    }
}

/// When one start reached its stages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timeline([Option<Moment>; Stage::ALL.len()]);

impl Timeline {
    /// When the stage was reached.
    pub fn at(&self, stage: Stage) -> Option<Moment> {
        self.0[stage as usize]
    }

    /// The stages reached, in order of [`Stage::ALL`].
    pub fn reached(&self) -> impl Iterator<Item = (Stage, Moment)> + '_ {
        Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.at(stage)?)))
    }

    /// When that happened which the service was started for, if anything was reached.
    pub fn begun(&self) -> Option<Moment> {
        self.reached().next().map(|(_, at)| at)
    }

    /// Notes a stage; later reports of the same stage are ignored.
    pub(super) fn note(&mut self, stage: Stage, at: Moment) {
        self.0[stage as usize].get_or_insert(at);
    }
}

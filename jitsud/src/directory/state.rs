//! The states of a service and which may follow which.

use std::fmt;

use xen_sys::DomId;

use super::{Incarnation, Moment, Room};

/// What a service is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing; a request starts it.
    Off,
    /// Its domain is being made.
    Building {
        /// What was reported before `Built` was; `None` for nothing.
        early: Option<Early>,
    },
    /// There was no room for its domain, and it is found out who can be ended for it.
    AwaitingRoom {
        /// When it is given up.
        until: Moment,
        /// What there is too little of, for people.
        reason: String,
        /// How far that is.
        search: Search,
    },
    /// Its domain runs and is not ready yet.
    Booting {
        /// The domain.
        domid: DomId,
        /// When it is given up.
        until: Moment,
    },
    /// It accepts connections.
    Ready {
        /// The domain.
        domid: DomId,
        /// Whether anybody needs it, and when that is looked at.
        watch: Watch,
    },
    /// Its domain stands still, with its connections. A request or a packet lets it go on.
    Paused {
        /// The domain.
        domid: DomId,
    },
    /// Its domain was asked to switch itself off.
    ShuttingDown {
        /// The domain.
        domid: DomId,
        /// When it is destroyed if it has not done so.
        until: Moment,
    },
    /// Its domain is being destroyed.
    Stopping {
        /// The domain.
        domid: DomId,
        /// What follows.
        then: Afterwards,
        /// When destroying is tried again; `None` while a try is under way.
        retry: Option<Moment>,
        /// Tries that failed.
        tries: u32,
    },
    /// It failed; requests are refused until the back-off is over.
    Failed {
        /// Why, for people.
        reason: String,
        /// End of the back-off.
        until: Moment,
        /// There was no room for it, which is no fault of its own.
        no_room: bool,
    },
}

/// How far it is with making room for a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Search {
    /// The driver has been asked who has traffic.
    Survey {
        /// What is missing.
        missing: Room,
    },
    /// These lives are being ended. When each has, or goes on after all, it is tried again.
    Ending(Vec<Incarnation>),
}

/// When it is looked at whether a running service is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Never: it runs always.
    Never,
    /// When nobody will have asked for it, and no packet come or gone, for its idle time.
    Quiet {
        /// That.
        until: Moment,
    },
    /// When its open connections will have been silent for [`super::CONNECTION_LIFE`].
    Connections {
        /// That.
        until: Moment,
    },
    /// The driver looks, and takes its packets from it if it is quiet.
    Withdrawing(Withdrawal),
}

impl Watch {
    /// When that is.
    pub fn until(self) -> Option<Moment> {
        match self {
            Watch::Quiet { until } | Watch::Connections { until } => Some(until),
            Watch::Never | Watch::Withdrawing(_) => None,
        }
    }
}

/// What follows when a service's packets have been taken from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Withdrawal {
    /// It is ended or paused for want of traffic.
    Idle,
    /// It is ended to make room for another one.
    Room,
    /// It gets them back: somebody has asked for it meanwhile.
    Unwanted,
}

/// What became known about a domain while its builder was still at work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Early {
    /// It is ready.
    Ready(Moment),
    /// It ended; why.
    Died(String),
    /// It is not wanted any more; why.
    Unwanted(String),
}

/// What a service becomes when its domain is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Afterwards {
    /// Off, or started again if somebody asked meanwhile.
    Off,
    /// Failed.
    Failed {
        /// Why, for people.
        reason: String,
        /// End of the back-off.
        until: Moment,
    },
}

/// A [`State`] without its particulars.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// [`State::Off`]
    Off,
    /// [`State::Building`]
    Building,
    /// [`State::AwaitingRoom`]
    AwaitingRoom,
    /// [`State::Booting`]
    Booting,
    /// [`State::Ready`]
    Ready,
    /// [`State::Paused`]
    Paused,
    /// [`State::ShuttingDown`]
    ShuttingDown,
    /// [`State::Stopping`]
    Stopping,
    /// [`State::Failed`]
    Failed,
}

impl State {
    /// The state without its particulars.
    pub fn phase(&self) -> Phase {
        match self {
            State::Off => Phase::Off,
            State::Building { .. } => Phase::Building,
            State::AwaitingRoom { .. } => Phase::AwaitingRoom,
            State::Booting { .. } => Phase::Booting,
            State::Ready { .. } => Phase::Ready,
            State::Paused { .. } => Phase::Paused,
            State::ShuttingDown { .. } => Phase::ShuttingDown,
            State::Stopping { .. } => Phase::Stopping,
            State::Failed { .. } => Phase::Failed,
        }
    }

    /// The domain, where one is known.
    pub fn domid(&self) -> Option<DomId> {
        match self {
            State::Booting { domid, .. }
            | State::Ready { domid, .. }
            | State::Paused { domid }
            | State::ShuttingDown { domid, .. }
            | State::Stopping { domid, .. } => Some(*domid),
            State::Off | State::Building { .. } | State::AwaitingRoom { .. } | State::Failed { .. } => None,
        }
    }

    /// Whether its domain is on the way out, and what it takes will be free soon: its last end did not fail.
    pub(super) fn is_ending(&self) -> bool {
        matches!(
            self,
            State::Ready { watch: Watch::Withdrawing(Withdrawal::Room), .. }
                | State::ShuttingDown { .. }
                | State::Stopping { tries: 0, .. }
        )
    }

    /// Why the service failed or is failing, or waits.
    pub fn reason(&self) -> Option<&str> {
        match self {
            State::Failed { reason, .. }
            | State::AwaitingRoom { reason, .. }
            | State::Stopping { then: Afterwards::Failed { reason, .. }, .. } => Some(reason),
            _ => None,
        }
    }
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 9] = [
        Phase::Off,
        Phase::Building,
        Phase::AwaitingRoom,
        Phase::Booting,
        Phase::Ready,
        Phase::Paused,
        Phase::ShuttingDown,
        Phase::Stopping,
        Phase::Failed,
    ];

    /// Whether a service may go from this phase to that one.
    pub fn may_become(self, next: Phase) -> bool {
        use Phase::{AwaitingRoom, Booting, Building, Failed, Off, Paused, Ready, ShuttingDown, Stopping};
        match self {
            // Booting, Ready, Paused: an earlier daemon has made its domain.
            Off => matches!(next, Building | Booting | Ready | Paused),
            // Off: it was not wanted any more, and then could not be built anyway.
            Building => matches!(next, Booting | AwaitingRoom | Failed | Off),
            AwaitingRoom => matches!(next, Building | Failed | Off),
            Booting => matches!(next, Ready | Stopping),
            Ready => matches!(next, Paused | ShuttingDown | Stopping),
            Paused => matches!(next, Ready | Stopping),
            ShuttingDown => matches!(next, Stopping),
            // Not straight to Building: Off comes between, however shortly.
            Stopping => matches!(next, Off | Failed),
            Failed => matches!(next, Building | Off),
        }
    }

    /// Whether a domain may exist for the service.
    pub fn may_have_domain(self) -> bool {
        match self {
            Phase::Building
            | Phase::Booting
            | Phase::Ready
            | Phase::Paused
            | Phase::ShuttingDown
            | Phase::Stopping => true,
            Phase::Off | Phase::AwaitingRoom | Phase::Failed => false,
        }
    }

    /// The name used in logs and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Off => "off",
            Phase::Building => "building",
            Phase::AwaitingRoom => "awaiting_room",
            Phase::Booting => "booting",
            Phase::Ready => "ready",
            Phase::Paused => "paused",
            Phase::ShuttingDown => "shutting_down",
            Phase::Stopping => "stopping",
            Phase::Failed => "failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

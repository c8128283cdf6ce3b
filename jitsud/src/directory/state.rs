//! The states of a service and which may follow which.

use std::fmt;

use xen_sys::DomId;

use super::Moment;

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
        /// When it is stopped if nobody asks for it.
        until: Moment,
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
    },
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
    /// [`State::Booting`]
    Booting,
    /// [`State::Ready`]
    Ready,
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
            State::Booting { .. } => Phase::Booting,
            State::Ready { .. } => Phase::Ready,
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
            | State::ShuttingDown { domid, .. }
            | State::Stopping { domid, .. } => Some(*domid),
            State::Off | State::Building { .. } | State::Failed { .. } => None,
        }
    }

    /// Why the service failed or is failing.
    pub fn reason(&self) -> Option<&str> {
        match self {
            State::Failed { reason, .. }
            | State::Stopping { then: Afterwards::Failed { reason, .. }, .. } => Some(reason),
            _ => None,
        }
    }
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 7] = [
        Phase::Off,
        Phase::Building,
        Phase::Booting,
        Phase::Ready,
        Phase::ShuttingDown,
        Phase::Stopping,
        Phase::Failed,
    ];

    /// Whether a service may go from this phase to that one.
    pub fn may_become(self, next: Phase) -> bool {
        use Phase::{Booting, Building, Failed, Off, Ready, ShuttingDown, Stopping};
        match self {
            // Booting, Ready: an earlier daemon has made its domain.
            Off => matches!(next, Building | Booting | Ready),
            // Off: it was not wanted any more, and then could not be built anyway.
            Building => matches!(next, Booting | Failed | Off),
            Booting => matches!(next, Ready | Stopping),
            Ready => matches!(next, ShuttingDown | Stopping),
            ShuttingDown => matches!(next, Stopping),
            // Not straight to Building: Off comes between, however shortly.
            Stopping => matches!(next, Off | Failed),
            Failed => matches!(next, Building | Off),
        }
    }

    /// Whether a domain may exist for the service.
    pub fn may_have_domain(self) -> bool {
        match self {
            Phase::Building | Phase::Booting | Phase::Ready | Phase::ShuttingDown | Phase::Stopping => true,
            Phase::Off | Phase::Failed => false,
        }
    }

    /// The name used in logs and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Off => "off",
            Phase::Building => "building",
            Phase::Booting => "booting",
            Phase::Ready => "ready",
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

//! Who is asked for, who runs, who is stopped: the table of services and one state machine for each.
//!
//! ```text
//!          summon            built            ready
//!   Off ───────────▶ Building ─────▶ Booting ───────▶ Ready ──┐ summon: answered at once,
//!    ▲                  │               │              │  ▲───┘ idle time starts again
//!    │                  │ build failed  │ timeout,     │ idle, stop, end of the domain
//!    │                  ▼               │ crash        ▼
//!    │                Failed ◀──────────┴────────▶ Stopping ──▶ Off, Failed or Building
//!    └──────── stop ────┘  back-off, then summon: Building
//! ```
//!
//! A service with `stop = "shutdown"` goes from Ready to Stopping by way of ShuttingDown, where its guest has
//! been asked to switch itself off and has some time to do so.
//!
//! A pure core: time is an argument ([`Moment`]), what is to be done comes back as [`Effect`]s. The driver
//! executes them and reports what happened as [`Input`]s, in whatever order it happens. It relies on the
//! driver for one thing only: that every [`Effect::Build`] is answered by `Built`, `BuildFailed` or `NoRoom`, and every
//! [`Effect::Destroy`] by `Stopped` or `StopFailed`.
//!
//! A domain that an earlier daemon has left goes to its service with [`Directory::take_over`]: from Off to Booting or
//! Ready.
//!
//! What holds at all times (and is tested by simulation): a service has at most one domain; a ticket is
//! answered exactly once; reports about an earlier [`Incarnation`] change nothing; no more than
//! [`MAX_WAITING`] tickets wait for one service.
//!
//! Not here: whether there is room for a domain, which the driver finds out, and packets as a sign of life; requests
//! alone keep a service up.

mod entry;
mod moment;
#[cfg(test)]
mod simulation;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;

use std::collections::VecDeque;
use std::time::Duration;

use xen_sys::DomId;

use crate::config::Config;
use crate::summoner::{ServiceId, SummonError, Summoned};

pub use entry::{Entry, Statistics};
pub use moment::Moment;
pub use state::{Afterwards, Phase, State};
pub use timeline::{Stage, Timeline};

/// Most tickets that wait for one service. With more, clients are told that the node is busy.
pub const MAX_WAITING: usize = 256;

/// Back-off after the first failure; each further one doubles it.
pub const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

/// Longest back-off.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// How long a service for which there was no room is not tried again. Always the same: it is not to blame, and room may
/// come at any time. It bounds what clients that ask over and over can make the node do.
pub const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// A service that has been ready for this long counts as sound again: its next failure is a first one.
pub const SOUND_AFTER: Duration = Duration::from_secs(10);

/// Transitions that are remembered for `/status`.
const MAX_EVENTS: usize = 64;

/// One life of a service, from `Build` to `Stopped`. Reports carry it, so that late ones are recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Incarnation {
    /// Whose life.
    pub service: ServiceId,
    /// Counted from 1 for each service.
    pub number: u64,
}

/// The driver's name for one request that waits for an outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// How a domain came to its end by itself: `SHUTDOWN_*` (`xen/include/public/sched.h`), or worse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// It switched itself off.
    Poweroff,
    /// It asked to be started again.
    Reboot,
    /// It suspended itself, which nobody asked for.
    Suspend,
    /// It crashed, or the hypervisor stopped it for what it did.
    Crash,
    /// Its watchdog was not fed.
    Watchdog,
    /// It is not there any more; somebody else destroyed it.
    Vanished,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Somebody wants the service.
    Summon {
        /// Which.
        service: ServiceId,
        /// When the question arrived.
        received: Moment,
        /// Names the request in [`Effect::Answer`].
        ticket: Ticket,
    },
    /// The domain exists and has been unpaused.
    Built {
        /// Of which life.
        incarnation: Incarnation,
        /// Its number.
        domid: DomId,
    },
    /// The domain could not be made; whatever was made of it is gone again.
    BuildFailed {
        /// Of which life.
        incarnation: Incarnation,
        /// Why, for people.
        reason: String,
    },
    /// There is no room for the domain; nothing is there of it.
    NoRoom {
        /// Of which life.
        incarnation: Incarnation,
        /// What there is too little of, for people.
        reason: String,
    },
    /// The guest wrote its readiness key. May come before [`Input::Built`].
    Ready {
        /// Of which life.
        incarnation: Incarnation,
        /// When it was seen.
        at: Moment,
    },
    /// The domain ended by itself. May come before [`Input::Built`].
    Died {
        /// Of which life.
        incarnation: Incarnation,
        /// How.
        death: Death,
        /// What is known about the cause, for people; the last words on its console. May be empty.
        detail: String,
    },
    /// The domain and all that belonged to it are gone.
    Stopped {
        /// Of which life.
        incarnation: Incarnation,
    },
    /// The domain could not be destroyed; it will be tried again.
    StopFailed {
        /// Of which life.
        incarnation: Incarnation,
        /// Why, for people.
        reason: String,
    },
    /// An administrator wants the service off. Also ends a back-off.
    Stop {
        /// Which.
        service: ServiceId,
    },
    /// The node goes down: everything is stopped, nothing is started any more.
    Shutdown,
    /// [`Directory::next_deadline`] has come.
    Timer,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make and unpause a domain; report `Built`, `BuildFailed` or `NoRoom`.
    Build {
        /// For which life.
        incarnation: Incarnation,
    },
    /// Ask the guest to switch itself off; when it has, report `Died` as ever.
    ShutDown {
        /// Of which life.
        incarnation: Incarnation,
        /// The domain's number.
        domid: DomId,
    },
    /// Destroy the domain and what belongs to it; report `Stopped` or `StopFailed`.
    Destroy {
        /// Of which life.
        incarnation: Incarnation,
        /// Its number.
        domid: DomId,
    },
    /// Tell the requester.
    Answer {
        /// Which request.
        ticket: Ticket,
        /// Its outcome.
        outcome: Result<Summoned, SummonError>,
    },
}

/// One transition of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// Whose.
    pub service: ServiceId,
    /// From.
    pub from: Phase,
    /// To.
    pub to: Phase,
    /// Why.
    pub why: String,
}

/// The table of services.
#[derive(Debug)]
pub struct Directory {
    entries: Vec<Entry>,
    events: VecDeque<Event>,
    changed: Vec<ServiceId>,
    shutting_down: bool,
}

/// What a single step of one entry leaves behind.
#[derive(Debug, Default)]
struct Outbox {
    effects: Vec<Effect>,
    events: Vec<Event>,
}

impl Directory {
    /// All services of the configuration, all off.
    pub fn new(config: &Config, now: Moment) -> Self {
        let entry = |(index, service): (usize, &crate::config::Service)| {
            Entry::new(ServiceId(index), service.clone(), now)
        };
        Directory {
            entries: config.services.iter().enumerate().map(entry).collect(),
            events: VecDeque::with_capacity(MAX_EVENTS),
            changed: Vec::new(),
            shutting_down: false,
        }
    }

    /// Takes in what happened and returns what is to be done, in this order.
    ///
    /// `now` must not be earlier than in the call before. Inputs about services that do not exist are ignored,
    /// except for a summons, which is answered.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut out = Outbox::default();
        match input {
            Input::Summon { service, received, ticket } => match self.entries.get_mut(service.0) {
                Some(entry) if !self.shutting_down => entry.summon(now, received, ticket, &mut out),
                _ => out.answer(ticket, Err(SummonError::ShuttingDown)),
            },
            Input::Built { incarnation, domid } => {
                self.with(incarnation, |entry| entry.built(now, domid, &mut out));
            }
            Input::BuildFailed { incarnation, reason } => {
                self.with(incarnation, |entry| entry.build_failed(now, reason, &mut out));
            }
            Input::NoRoom { incarnation, reason } => {
                self.with(incarnation, |entry| entry.no_room(now, reason, &mut out));
            }
            Input::Ready { incarnation, at } => {
                self.with(incarnation, |entry| entry.ready(now, at, &mut out));
            }
            Input::Died { incarnation, death, detail } => {
                self.with(incarnation, |entry| entry.died(now, death, &detail, &mut out));
            }
            Input::Stopped { incarnation } => {
                self.with(incarnation, |entry| entry.stopped(now, &mut out));
            }
            Input::StopFailed { incarnation, reason } => {
                self.with(incarnation, |entry| entry.stop_failed(now, &reason, &mut out));
            }
            Input::Stop { service } => {
                if let Some(entry) = self.entries.get_mut(service.0) {
                    let reason = "stopped by the administrator".to_owned();
                    let error = SummonError::Failed { reason, retry_in: Duration::ZERO };
                    entry.stop(now, "stopped by the administrator", &error, &mut out);
                }
            }
            Input::Shutdown => {
                self.shutting_down = true;
                for entry in &mut self.entries {
                    entry.stop(now, "the node is shutting down", &SummonError::ShuttingDown, &mut out);
                }
            }
            Input::Timer => {
                for entry in &mut self.entries {
                    entry.timer(now, &mut out);
                }
            }
        }
        self.note(out.events);
        out.effects
    }

    /// Goes on counting for a service that is off.
    pub fn remember(&mut self, service: ServiceId, life: u64, counted: Statistics) {
        if let Some(entry) = self.entries.get_mut(service.0) {
            entry.remember(life, counted);
        }
    }

    /// Gives a service that is off the domain that an earlier daemon has made for it. It has as much time to get ready,
    /// or is kept for as long, as if it had just been made.
    pub fn take_over(&mut self, now: Moment, incarnation: Incarnation, domid: DomId, ready: bool) {
        let mut out = Outbox::default();
        if let Some(entry) = self.entries.get_mut(incarnation.service.0) {
            entry.take_over(now, incarnation.number, domid, ready, &mut out);
        }
        self.note(out.events);
    }

    /// The services whose states have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<ServiceId> {
        std::mem::take(&mut self.changed)
    }

    fn note(&mut self, events: Vec<Event>) {
        for event in events {
            if !self.changed.contains(&event.service) {
                self.changed.push(event.service);
            }
            if self.events.len() == MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
    }

    /// When [`Input::Timer`] is due, if at all.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.entries.iter().filter_map(Entry::deadline).min()
    }

    /// Notes that a start has reached a stage. The first report of each stage counts.
    pub fn stage(&mut self, incarnation: Incarnation, stage: Stage, at: Moment) {
        self.with(incarnation, |entry| entry.timeline_mut().note(stage, at));
    }

    /// The services, in the order of the configuration.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The last transitions, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Whose domain it is now.
    pub fn incarnation_of(&self, domid: DomId) -> Option<Incarnation> {
        self.entries.iter().find(|entry| entry.state().domid() == Some(domid)).map(Entry::incarnation)
    }

    /// Whether no service has a domain, nor is getting one.
    pub fn is_quiet(&self) -> bool {
        self.entries.iter().all(|entry| !entry.state().phase().may_have_domain())
    }

    /// Runs `act` unless the report is about a life that is over.
    fn with(&mut self, incarnation: Incarnation, act: impl FnOnce(&mut Entry)) {
        match self.entries.get_mut(incarnation.service.0) {
            Some(entry) if entry.incarnation() == incarnation => act(entry),
            _ => tracing::debug!(?incarnation, "late report ignored"),
        }
    }
}

impl Outbox {
    fn answer(&mut self, ticket: Ticket, outcome: Result<Summoned, SummonError>) {
        self.effects.push(Effect::Answer { ticket, outcome });
    }
}

impl Death {
    /// From the shutdown code that Xen reports (`SHUTDOWN_*`, `xen/include/public/sched.h`).
    pub fn from_code(code: u8) -> Self {
        match code {
            0 => Death::Poweroff,
            1 => Death::Reboot,
            2 => Death::Suspend,
            4 => Death::Watchdog,
            // 3, and whatever a guest may invent.
            _ => Death::Crash,
        }
    }

    /// As the second half of a sentence about the domain.
    pub fn as_str(self) -> &'static str {
        match self {
            Death::Poweroff => "switched itself off",
            Death::Reboot => "asked for a reboot",
            Death::Suspend => "suspended itself",
            Death::Crash => "crashed",
            Death::Watchdog => "was ended by its watchdog",
            Death::Vanished => "vanished",
        }
    }
}

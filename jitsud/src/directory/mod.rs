//! Who is asked for, who runs, who is stopped: the table of services and one state machine for each.
//!
//! ```text
//!          request,           built            ready
//!   Off ───packet──▶ Building ─────▶ Booting ───────▶ Ready ◀───── request, packet ─────┐
//!    ▲                │  ▲  │           │              │  └─ idle, stop = "pause" ─▶ Paused
//!    │       no room  │  │  │ failed    │ timeout,     │ idle, too old, room, stop,      │
//!    │                ▼  │  │           │ crash        │ end of the domain               │
//!    │       AwaitingRoom┘  │           │              ▼                                 │
//!    │        │ none to be  │           ├─────────▶ Stopping ◀── too old, room, stop ────┘
//!    │        ▼ made        ▼           │              │
//!    │       Failed ◀───────┴───────────┘              ├──▶ Failed
//!    └─ stop ─┘  back-off, then request: Building      └──▶ Off, and Building if it was asked for meanwhile
//! ```
//!
//! A service with `stop = "shutdown"` goes from Ready to Stopping by way of ShuttingDown, where its guest has
//! been asked to switch itself off and has some time to do so.
//!
//! A pure core: time is an argument ([`Moment`]), what is to be done comes back as [`Effect`]s. The driver
//! executes them and reports what happened as [`Input`]s, in whatever order it happens. It relies on the
//! driver for one thing only: that each effect has its report,
//!
//! | effect                     | report                                                    |
//! |-----------------------------|-----------------------------------------------------------|
//! | [`Effect::Build`]          | `NoRoom`, or `Committed` and then `Built`, `BuildFailed` or `NoRoom` |
//! | [`Effect::Destroy`]        | `Stopped` or `StopFailed`                                 |
//! | [`Effect::WithdrawIfIdle`] | `Withdrawn` or `Busy`                                     |
//! | [`Effect::Survey`]         | `Traffic`                                                 |
//! | [`Effect::Pause`], [`Effect::Resume`] | `Died` if it fails, otherwise none             |
//!
//! # Who is told, and when
//! With `answer = "start"` a request is answered when there is room for the domain and it is being built: from
//! then on its packets are kept for it. With `answer = "ready"` it is answered when the guest accepts connections.
//!
//! # When nobody needs it
//! A request, a packet to or from the guest, and the moment when it gets ready are signs of life. `idle` after
//! the last one the driver is asked to take the guest's packets from it if there was none since: in one step with the
//! look, so that no connection is cut that begins at just that moment. Until the life has ended it can be given them back
//! ([`Effect::Restore`]), if somebody asks. Open connections keep it up for [`CONNECTION_LIFE`] of silence, but for
//! one with `stop = "pause"`: they outlive the pause. What ends for another reason is not looked at.
//!
//! # When there is no room
//! Those go that were used least recently, if that makes enough room: who is ready or paused, has no open connection,
//! has been quiet for [`QUIET_BEFORE_EVICTION`], is old enough and need not run always. Ready ones have their packets
//! taken from them first, as above, and stay if they are not quiet. Who waits is built when all have gone, or stay. Then
//! there may be room or not: it begins again, up to [`MAX_SEARCHES`] times and for [`ROOM_TIMEOUT`].
//!
//! A domain that an earlier daemon has left goes to its service with [`Directory::take_over`]: from Off to Booting,
//! Ready or Paused.
//!
//! What holds at all times (and is tested by simulation): a service has at most one domain; a ticket is
//! answered exactly once; reports about an earlier [`Incarnation`] change nothing; no more than
//! [`MAX_WAITING`] tickets wait for one service; who has open connections is ended neither for idleness nor for room;
//! every state that is not to last has a deadline, or a report that is due.
//!
//! Not here: whether there is room for a domain, and which packets there are. The driver finds that out.

mod binding;
mod entry;
mod moment;
mod room;
#[cfg(test)]
mod simulation;
mod starts;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;
mod warm;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use xen_sys::DomId;

use crate::config::Config;
use crate::summoner::{ServiceId, SummonError, Summoned, Warm};

pub use capture::CONNECTION_LIFE;
pub use entry::{Entry, KnownTraffic, Statistics};
pub use moment::Moment;
pub use room::{Room, Traffic};
pub use starts::{Outcome, Starts};
pub use state::{Afterwards, Phase, Search, State, Watch, Withdrawal};
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

/// An `always` service for which there was no room is tried again after so long, if nobody asks for it before.
pub const ALWAYS_RETRY: Duration = Duration::from_secs(10);

/// How long it may take to make room for a service. Clients ask again after 5 s, and give up soon afterwards
/// (resolv.conf(5)).
pub const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// How often room is looked for, for one life of a service: those that were to be ended may turn out to be in use.
pub const MAX_SEARCHES: u32 = 8;

/// Who has had a request or a packet in this time is not ended to make room for another.
pub const QUIET_BEFORE_EVICTION: Duration = Duration::from_secs(1);

/// Least time between two looks at whether a service is idle, whatever the driver says about its last packet: Linux counts
/// in hundredths of a second, so that the first look may come a little too early.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

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

/// How far a domain had got that an earlier daemon has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It was not ready yet.
    Booting,
    /// It accepts connections.
    Ready,
    /// It stands still.
    Paused,
}

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
    /// Somebody wants an instance of a service for a host name.
    SummonForHost {
        /// Any of the instances.
        instance: ServiceId,
        /// The host name.
        host: String,
        /// When the question arrived.
        received: Moment,
        /// Names the request in [`Effect::Answer`].
        ticket: Ticket,
    },
    /// A packet has come for a service that is not up. It is kept, and answered according to the state that follows.
    Woken {
        /// Which.
        service: ServiceId,
        /// When it came.
        at: Moment,
    },
    /// An administrator wants the service to run. Also ends a back-off.
    Start {
        /// Which.
        service: ServiceId,
    },
    /// There is room for the domain, and it is being built. From now on its packets are kept for it.
    Committed {
        /// Of which life.
        incarnation: Incarnation,
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
        /// How much is missing.
        missing: Room,
    },
    /// The guest wrote its readiness key. May come before [`Input::Built`].
    Ready {
        /// Of which life.
        incarnation: Incarnation,
        /// When it was seen.
        at: Moment,
    },
    /// The guest was quiet, and its packets do not go to it any more. See [`Effect::WithdrawIfIdle`].
    Withdrawn {
        /// Of which life.
        incarnation: Incarnation,
    },
    /// The guest was not quiet, and has its packets.
    Busy {
        /// Of which life.
        incarnation: Incarnation,
        /// When its last packet came or went.
        last: Moment,
        /// Its open connections.
        open: usize,
    },
    /// The last of a guest's open connections has been closed, or has been given up.
    Closed {
        /// Of which life.
        incarnation: Incarnation,
        /// When its last packet came or went.
        last: Moment,
    },
    /// The packets of all guests that are ready or paused; the answer to [`Effect::Survey`].
    Traffic(Vec<Traffic>),
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
    /// A domain that was taken over is not what it would be if it were made now. It ends as if it were stopped, and the
    /// service starts again when somebody wants it.
    Outdated {
        /// Of which life.
        incarnation: Incarnation,
    },
    /// The node goes down: everything is stopped, nothing is started any more.
    Shutdown,
    /// [`Directory::next_deadline`] has come.
    Timer,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make and unpause a domain, if there is room; report `Committed` when there is, then `Built` or `BuildFailed`;
    /// otherwise `NoRoom`.
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
    /// Look whether the guest is quiet: no packet came or went after `quiet_since`, and no connection is open, unless
    /// that is not to matter. If so, take its packets from it, so that they are kept, look once more, and report
    /// `Withdrawn`. Otherwise see to it that it has its packets, and report `Busy`.
    WithdrawIfIdle {
        /// Of which life.
        incarnation: Incarnation,
        /// Its number.
        domid: DomId,
        /// Packets up to then are of no interest.
        quiet_since: Moment,
        /// Open connections do not matter.
        ignore_connections: bool,
    },
    /// Give the guest its packets again, those first that have been kept. Comes after `Withdrawn`.
    Restore {
        /// Of which life.
        incarnation: Incarnation,
        /// Its number.
        domid: DomId,
    },
    /// Let the domain stand still. Its packets have been taken from it.
    Pause {
        /// Of which life.
        incarnation: Incarnation,
        /// Its number.
        domid: DomId,
    },
    /// Let the domain go on, and give it its packets again, those first that have been kept.
    Resume {
        /// Of which life.
        incarnation: Incarnation,
        /// Its number.
        domid: DomId,
    },
    /// Find out about the packets of all guests that are ready or paused; report `Traffic`. There is one at a time.
    Survey,
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
    /// Its number: greater than that of any other before it since the node was switched on, of earlier daemons' too.
    pub serial: u64,
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
    /// The number of the last event.
    serial: u64,
    changed: Vec<ServiceId>,
    starts: Starts,
    shutting_down: bool,
    /// The answer to [`Effect::Survey`] is due.
    surveying: bool,
    warm: Arc<Warm>,
}

/// What a single step of one entry leaves behind.
#[derive(Debug, Default)]
struct Outbox {
    effects: Vec<Effect>,
    events: Vec<Transition>,
    /// Starts that have begun, and those that have ended, with what became of them.
    begun: u64,
    ended: Vec<(ServiceId, Outcome)>,
}

/// An [`Event`] that has no number yet.
#[derive(Debug)]
struct Transition {
    at: Moment,
    service: ServiceId,
    from: Phase,
    to: Phase,
    why: String,
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
            // Nobody has had an event in each microsecond so far.
            serial: now.0 / 1000,
            changed: Vec::new(),
            starts: Starts::default(),
            shutting_down: false,
            surveying: false,
            warm: Arc::default(),
        }
    }

    /// Takes in what happened and returns what is to be done, in this order.
    ///
    /// `now` must not be earlier than in the call before. Inputs about services that do not exist are ignored,
    /// except for a summons, which is answered.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut out = Outbox::default();
        self.take_in(now);
        match input {
            Input::Summon { service, received, ticket } => match self.entries.get_mut(service.0) {
                Some(entry) if !self.shutting_down => entry.summon(now, received, ticket, &mut out),
                _ => out.answer(ticket, Err(SummonError::ShuttingDown)),
            },
            Input::SummonForHost { instance, host, received, ticket } => {
                match self.bind(now, instance, &host) {
                    _ if self.shutting_down => out.answer(ticket, Err(SummonError::ShuttingDown)),
                    Ok(bound) => self.entries[bound].summon(now, received, ticket, &mut out),
                    Err(error) => out.answer(ticket, Err(error)),
                }
            }
            Input::Woken { service, at } => {
                if let Some(entry) = self.entries.get_mut(service.0).filter(|_| !self.shutting_down) {
                    entry.woken(now, at, &mut out);
                }
            }
            Input::Start { service } => {
                if let Some(entry) = self.entries.get_mut(service.0).filter(|_| !self.shutting_down) {
                    entry.order(now, &mut out);
                }
            }
            Input::Committed { incarnation } => {
                self.with(incarnation, |entry| entry.committed(now, &mut out));
            }
            Input::Built { incarnation, domid } => {
                self.with(incarnation, |entry| entry.built(now, domid, &mut out));
            }
            Input::BuildFailed { incarnation, reason } => {
                self.with(incarnation, |entry| entry.build_failed(now, reason, &mut out));
            }
            Input::NoRoom { incarnation, reason, missing } => {
                self.with(incarnation, |entry| entry.no_room(now, reason, missing, &mut out));
            }
            Input::Ready { incarnation, at } => {
                self.with(incarnation, |entry| entry.ready(now, at, &mut out));
            }
            Input::Withdrawn { incarnation } => {
                self.with(incarnation, |entry| entry.withdrawn(now, &mut out));
            }
            Input::Busy { incarnation, last, open } => {
                self.with(incarnation, |entry| entry.busy(now, last, open));
            }
            Input::Closed { incarnation, last } => {
                self.with(incarnation, |entry| entry.note_traffic(now, last, 0));
            }
            Input::Traffic(seen) => self.survey(now, &seen, &mut out),
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
            Input::Outdated { incarnation } => {
                self.with(incarnation, |entry| entry.outdated(now, &mut out));
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
        // Before those that were ended for others, and are asked for again.
        self.settle(now, &mut out);
        for entry in &mut self.entries {
            entry.restart_if_wanted(now, &mut out);
        }
        self.starts.begin(out.begun);
        for (service, outcome) in out.ended {
            // Complete by now: whoever waited has been told.
            self.starts.end(outcome, self.entries[service.0].timeline());
        }
        self.note(out.events);
        self.publish(now);
        out.effects
    }

    /// What each service's domain takes, in the order of the configuration. Those of which it is not known are not
    /// ended for others.
    pub fn set_rooms(&mut self, rooms: impl IntoIterator<Item = Room>) {
        for (entry, room) in self.entries.iter_mut().zip(rooms) {
            entry.set_room(room);
        }
    }

    /// Binds an instance of a service that is off to the host name that an earlier daemon has bound it to.
    pub fn remember_host(&mut self, now: Moment, instance: ServiceId, host: String) {
        if let Some(entry) = self.entries.get_mut(instance.0) {
            entry.remember_host(now, host);
        }
    }

    /// Goes on counting for a service that is off.
    pub fn remember(&mut self, service: ServiceId, life: u64, counted: Statistics) {
        if let Some(entry) = self.entries.get_mut(service.0) {
            entry.remember(life, counted);
        }
    }

    /// Gives a service that is off the domain that an earlier daemon has made for it. It has as much time to get ready,
    /// or is kept for as long, as if it had just been made.
    pub fn take_over(&mut self, now: Moment, incarnation: Incarnation, domid: DomId, standing: Standing) {
        let mut out = Outbox::default();
        if let Some(entry) = self.entries.get_mut(incarnation.service.0) {
            entry.take_over(now, incarnation.number, domid, standing, &mut out);
        }
        self.note(out.events);
        self.publish(now);
    }

    /// The services whose states have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<ServiceId> {
        std::mem::take(&mut self.changed)
    }

    fn note(&mut self, transitions: Vec<Transition>) {
        for Transition { at, service, from, to, why } in transitions {
            if !self.changed.contains(&service) {
                self.changed.push(service);
            }
            if self.events.len() == MAX_EVENTS {
                self.events.pop_front();
            }
            self.serial += 1;
            self.events.push_back(Event { serial: self.serial, at, service, from, to, why });
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

    /// What became of starts since the daemon began.
    pub fn starts(&self) -> &Starts {
        &self.starts
    }

    /// The last transitions, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// The number of the last transition.
    pub fn serial(&self) -> u64 {
        self.serial
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

//! One service: its state, who waits for it, and what is counted.
//!
//! Every change of state goes through [`Entry::set_state`]. The other functions are the reactions to inputs;
//! each looks at the state once and does nothing where the input has no meaning. What people and packets ask for is in
//! `requests.rs`, what the driver reports in `reports.rs`, when a life ends by itself in `idleness.rs`, and what is answered without it in
//! `warm.rs`.

mod idleness;
mod reports;
mod requests;
mod warm;

use std::collections::VecDeque;
use std::time::Duration;

use xen_sys::DomId;

use super::state::Early;
use super::{
    Afterwards, Effect, FIRST_BACK_OFF, Incarnation, LONGEST_BACK_OFF, MAX_WAITING, Moment, NO_ROOM_PAUSE,
    Outbox, Outcome, Phase, Room, SOUND_AFTER, Stage, State, Ticket, Timeline, Transition, Watch, Withdrawal,
};
use crate::config::{Answer, Service, Start, Stop};
use crate::summoner::{ServiceId, SummonError, Summoned};

/// One service of the directory.
#[derive(Debug)]
pub struct Entry {
    id: ServiceId,
    service: Service,
    /// What its domain takes.
    room: Room,
    state: State,
    since: Moment,
    /// Why it is in this state, for people; empty before the first change.
    why: String,
    /// The current life was begun by this daemon, and is neither ready nor over.
    starting: bool,
    /// The number of the current or last life; 0 before the first.
    life: u64,
    /// When the current or last life got ready.
    ready_since: Option<Moment>,
    /// There is room for this life, and whoever asks may be told where it will answer.
    committed: bool,
    /// What it is to be started for again after its current life.
    wanted: Option<Wish>,
    /// An administrator has stopped it, or the node goes down: it does not start by itself.
    kept_off: bool,
    /// Failures without a sound life between them.
    failures_in_a_row: u32,
    /// Since when room is wanted for this life.
    room_wanted_since: Option<Moment>,
    /// How often there was none for this life.
    no_room_in_a_row: u32,
    waiting: VecDeque<Ticket>,
    /// When there was last a sign of life: a request, a packet, or that it got ready.
    last_seen: Moment,
    /// Until then answers that have been given may be cached.
    cached_until: Option<Moment>,
    /// Before that nobody is told where it answers in this life; `None` when that does not hold anybody up.
    told_from: Option<Moment>,
    /// The host name that it runs for, if it is an instance.
    host: Option<String>,
    traffic: KnownTraffic,
    statistics: Statistics,
    timeline: Timeline,
}

/// What a service is started for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// A question that arrived then.
    Query(Moment),
    /// A packet that arrived then.
    Packet(Moment),
    /// An administrator says so.
    Order,
    /// It is to run always.
    Policy,
}

/// What the driver has last said of a life's packets; it looks when it has to, not all the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KnownTraffic {
    /// When the last packet that is known of came or went.
    pub last_packet: Option<Moment>,
    /// Open connections.
    pub open: usize,
}

/// What is counted for a service since the daemon started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Builds that were started.
    pub starts: u64,
    /// Requests, whatever came of them.
    pub requests: u64,
    /// Packets that asked for it while it was not up, of which the driver has told.
    pub wakes: u64,
    /// Lives that ended in failure.
    pub failures: u64,
    /// When the last request came.
    pub last_request: Option<Moment>,
}

impl Entry {
    pub(super) fn new(id: ServiceId, service: Service, now: Moment) -> Self {
        Entry {
            id,
            service,
            room: Room::default(),
            state: State::Off,
            since: now,
            why: String::new(),
            starting: false,
            life: 0,
            ready_since: None,
            committed: false,
            wanted: None,
            kept_off: false,
            failures_in_a_row: 0,
            room_wanted_since: None,
            no_room_in_a_row: 0,
            waiting: VecDeque::new(),
            last_seen: now,
            cached_until: None,
            told_from: None,
            host: None,
            traffic: KnownTraffic::default(),
            statistics: Statistics::default(),
            timeline: Timeline::default(),
        }
    }

    /// What the configuration says about it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// What it is doing.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Since when it is doing that.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Why it is doing that, for people; empty when it has done nothing else yet.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The current or last life.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { service: self.id, number: self.life }
    }

    /// The host name that it runs for or, if it is off, has run for last. `None` for one that is no instance of a
    /// service, or nobody's.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Until when somebody may have been told of it; `None` when nobody has been.
    pub(super) fn needed_until(&self) -> Option<Moment> {
        self.cached_until
    }

    pub(super) fn bind(&mut self, host: &str) {
        tracing::info!(service = self.service.name, host, "bound to a host name");
        self.host = Some(host.to_owned());
        self.failures_in_a_row = 0;
    }

    pub(super) fn remember_host(&mut self, now: Moment, host: String) {
        self.host = Some(host);
        // What the daemon before has answered last is not known.
        self.cached_until = Some(now.after(self.service.ttl));
    }

    /// Requests that wait for an outcome.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What has been counted.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// What is known of its packets.
    pub fn traffic(&self) -> KnownTraffic {
        self.traffic
    }

    /// The stages of the last start, complete or not.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Since when the current life has been ready, paused or not.
    pub fn ready_since(&self) -> Option<Moment> {
        self.ready_since.filter(|_| matches!(self.state, State::Ready { .. } | State::Paused { .. }))
    }

    /// When the current life is ended, whatever it does.
    pub fn ends_at(&self) -> Option<Moment> {
        Some(self.ready_since()?.after(self.service.max_uptime?))
    }

    pub(super) fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    pub(super) fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    pub(super) fn last_seen(&self) -> Moment {
        self.last_seen
    }

    pub(super) fn room_wanted_since(&self) -> Option<Moment> {
        self.room_wanted_since
    }

    /// When [`Entry::timer`] has something to do.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let answer = self.told_from.filter(|_| !self.waiting.is_empty() && self.has_address());
        self.end_of_state().into_iter().chain(answer).min()
    }

    /// When its state ends by itself.
    fn end_of_state(&self) -> Option<Moment> {
        match &self.state {
            State::Off => self.starts_by_itself().then_some(self.since),
            State::Failed { until, no_room, .. } => {
                let at = if *no_room { self.since.after(super::ALWAYS_RETRY) } else { *until };
                self.starts_by_itself().then_some(at)
            }
            State::Building { .. } => None,
            State::AwaitingRoom { until, .. }
            | State::Booting { until, .. }
            | State::ShuttingDown { until, .. } => Some(*until),
            State::Ready { watch, .. } => watch.until().into_iter().chain(self.ends_at()).min(),
            State::Paused { .. } => self.ends_at(),
            State::Stopping { retry, .. } => *retry,
        }
    }

    #[cfg(test)]
    pub(super) fn waited_for_room(&self) -> bool {
        self.no_room_in_a_row > 0
    }

    pub(super) fn remember(&mut self, life: u64, counted: Statistics) {
        self.life = life;
        self.statistics = counted;
    }

    fn starts_by_itself(&self) -> bool {
        self.service.start == Start::Always && !self.kept_off
    }

    /// The answer for who asks now. Where packets would not start it anew, it promises no longer than it is up.
    fn summoned(&mut self, now: Moment) -> Summoned {
        let left = self.ends_at().map_or(self.service.max_uptime, |at| Some(at.since(now)));
        let left = left.filter(|_| !self.service.is_woken());
        let ttl = left.map_or(self.service.ttl, |left| left.min(self.service.ttl));
        self.cached_until = self.cached_until.max(Some(now.after(ttl)));
        Summoned { address: self.service.address, ttl }
    }

    /// Whether who asks now can be sent to its address at once.
    fn may_be_told(&self, now: Moment) -> bool {
        self.has_address() && self.told_from.is_none_or(|from| now >= from)
    }

    /// Whether what is sent to its address reaches it, or is kept for it.
    fn has_address(&self) -> bool {
        match &self.state {
            State::Ready { .. } => true,
            State::Building { early: None | Some(Early::Ready(_)) } | State::Booting { .. } => {
                self.committed && self.service.answer == Answer::Start
            }
            _ => false,
        }
    }

    fn wait(&mut self, ticket: Ticket, out: &mut Outbox) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(ticket);
        } else {
            out.answer(ticket, Err(SummonError::Busy));
        }
    }

    fn answer_all(&mut self, outcome: &Result<Summoned, SummonError>, out: &mut Outbox) {
        for ticket in self.waiting.drain(..) {
            out.answer(ticket, outcome.clone());
        }
    }

    /// Who waits can be told where it answers, unless answers are to be held back.
    fn may_be_told_soon(&mut self, now: Moment, out: &mut Outbox) {
        if self.has_address() {
            self.told_from.get_or_insert(now.after(self.service.response_delay));
        }
        if self.may_be_told(now) {
            self.tell_all(now, out);
        }
    }

    /// Tells everybody who waits where it answers.
    fn tell_all(&mut self, now: Moment, out: &mut Outbox) {
        if self.waiting.is_empty() {
            return;
        }
        self.timeline.note(Stage::Answered, now);
        let summoned = self.summoned(now);
        self.answer_all(&Ok(summoned), out);
    }

    fn start(&mut self, now: Moment, wish: Wish, out: &mut Outbox) {
        self.life += 1;
        self.ready_since = None;
        self.room_wanted_since = None;
        self.no_room_in_a_row = 0;
        (self.wanted, self.kept_off) = (None, false);
        self.traffic = KnownTraffic::default();
        self.timeline = Timeline::default();
        match wish {
            Wish::Query(at) => self.timeline.note(Stage::QueryReceived, at),
            Wish::Packet(at) => self.timeline.note(Stage::PacketReceived, at),
            Wish::Order | Wish::Policy => {}
        }
        self.timeline.note(Stage::BuildStarted, now);
        self.starting = true;
        out.begun += 1;
        let why = match wish {
            Wish::Query(_) => "it was asked for",
            Wish::Packet(_) => "a packet has come for it",
            Wish::Order => "the administrator wants it to run",
            Wish::Policy => "it is to run always",
        };
        self.build(now, why, out);
    }

    fn build(&mut self, now: Moment, why: &str, out: &mut Outbox) {
        (self.committed, self.told_from) = (false, None);
        self.statistics.starts += 1;
        self.set_state(now, State::Building { early: None }, why, out);
        out.effects.push(Effect::Build { incarnation: self.incarnation() });
    }

    /// Ends this life as a failure: everybody who waits is told, and the back-off begins.
    fn fail(&mut self, now: Moment, reason: String, out: &mut Outbox) {
        if self.ready_since.is_some_and(|ready| now.since(ready) >= SOUND_AFTER) {
            self.failures_in_a_row = 0;
        }
        self.failures_in_a_row += 1;
        self.statistics.failures += 1;
        let until = now.after(back_off(self.failures_in_a_row));
        self.wanted = None;
        self.answer_all(&Err(refusal(&reason, until, now)), out);
        if self.state.domid().is_some() {
            let then = Afterwards::Failed { reason: reason.clone(), until };
            self.destroy(now, then, &reason, out);
        } else {
            let failed = State::Failed { reason: reason.clone(), until, no_room: false };
            self.set_state(now, failed, &reason, out);
        }
    }

    /// Ends a life that nobody needs any more, in the way that the service wants. Who is still booting need not be able
    /// to shut down, and who is paused cannot.
    fn end(&mut self, now: Moment, why: &str, out: &mut Outbox) {
        match (&self.state, self.service.stop) {
            (State::Ready { domid, .. }, Stop::Shutdown { timeout }) => {
                let (domid, until) = (*domid, now.after(timeout));
                self.set_state(now, State::ShuttingDown { domid, until }, why, out);
                out.effects.push(Effect::ShutDown { incarnation: self.incarnation(), domid });
            }
            _ => self.destroy(now, Afterwards::Off, why, out),
        }
    }

    /// Begins to destroy the domain. Only for states that have one.
    fn destroy(&mut self, now: Moment, then: Afterwards, why: &str, out: &mut Outbox) {
        if let Some(domid) = self.state.domid() {
            self.set_state(now, State::Stopping { domid, then, retry: None, tries: 0 }, why, out);
            out.effects.push(Effect::Destroy { incarnation: self.incarnation(), domid });
        }
    }

    /// The one door for changes of state.
    fn set_state(&mut self, now: Moment, next: State, why: &str, out: &mut Outbox) {
        let (from, to) = (self.state.phase(), next.phase());
        debug_assert!(from.may_become(to), "{}: {from} may not become {to}", self.service.name);
        if to == Phase::Failed || next.reason().is_some() {
            tracing::warn!(service = self.service.name, "{from} → {to}: {why}");
        } else {
            tracing::info!(service = self.service.name, "{from} → {to}: {why}");
        }
        out.events.push(Transition { at: now, service: self.id, from, to, why: why.to_owned() });
        if let Some(outcome) = Outcome::of(&next).filter(|_| self.starting) {
            self.starting = false;
            out.ended.push((self.id, outcome));
        }
        why.clone_into(&mut self.why);
        self.state = next;
        self.since = now;
    }

    fn meaningless(&self, report: &str) {
        let phase = self.state.phase();
        tracing::debug!(service = self.service.name, "report {report:?} means nothing while {phase}");
    }
}

fn refusal(reason: &str, until: Moment, now: Moment) -> SummonError {
    SummonError::Failed { reason: reason.to_owned(), retry_in: until.since(now) }
}

/// The wait after that many failures in a row: doubled each time, up to [`LONGEST_BACK_OFF`].
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(u32::BITS - 1);
    FIRST_BACK_OFF.saturating_mul(1 << doublings).min(LONGEST_BACK_OFF)
}

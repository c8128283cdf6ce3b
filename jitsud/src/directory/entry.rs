//! One service: its state, who waits for it, and what is counted.
//!
//! Every change of state goes through [`Entry::set_state`]. The other functions are the reactions to inputs;
//! each looks at the state once and does nothing where the input has no meaning.

use std::collections::VecDeque;
use std::time::Duration;

use xen_sys::DomId;

use super::state::Early;
use super::{
    Afterwards, Death, Effect, Event, FIRST_BACK_OFF, Incarnation, LONGEST_BACK_OFF, MAX_WAITING, Moment,
    NO_ROOM_PAUSE, Outbox, Phase, SOUND_AFTER, Stage, State, Ticket, Timeline,
};
use crate::config::{Service, Stop};
use crate::summoner::{ServiceId, SummonError, Summoned};

/// One service of the directory.
#[derive(Debug)]
pub struct Entry {
    id: ServiceId,
    service: Service,
    state: State,
    since: Moment,
    /// The number of the current or last life; 0 before the first.
    life: u64,
    /// When the current or last life got ready.
    ready_since: Option<Moment>,
    /// Failures without a sound life between them.
    failures_in_a_row: u32,
    waiting: VecDeque<Waiter>,
    statistics: Statistics,
    timeline: Timeline,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    received: Moment,
}

/// What is counted for a service since the daemon started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Builds that were started.
    pub starts: u64,
    /// Requests, whatever came of them.
    pub requests: u64,
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
            state: State::Off,
            since: now,
            life: 0,
            ready_since: None,
            failures_in_a_row: 0,
            waiting: VecDeque::new(),
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

    /// The current or last life.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { service: self.id, number: self.life }
    }

    /// Requests that wait for an outcome.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What has been counted.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// The stages of the last start, complete or not.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    pub(super) fn timeline_mut(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// When [`Entry::timer`] has something to do.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Booting { until, .. } | State::Ready { until, .. } | State::ShuttingDown { until, .. } => {
                Some(*until)
            }
            State::Stopping { retry, .. } => *retry,
            State::Off | State::Building { .. } | State::Failed { .. } => None,
        }
    }

    pub(super) fn remember(&mut self, life: u64, counted: Statistics) {
        self.life = life;
        self.statistics = counted;
    }

    pub(super) fn take_over(&mut self, now: Moment, life: u64, domid: DomId, ready: bool, out: &mut Outbox) {
        if self.state != State::Off {
            return self.meaningless("taken over");
        }
        self.life = life;
        let why = "it has been running since before this daemon";
        if ready {
            self.ready_since = Some(now);
            let until = now.after(self.service.idle);
            self.set_state(now, State::Ready { domid, until }, why, out);
        } else {
            let until = now.after(self.service.boot_timeout);
            self.set_state(now, State::Booting { domid, until }, why, out);
        }
    }

    pub(super) fn summon(&mut self, now: Moment, received: Moment, ticket: Ticket, out: &mut Outbox) {
        self.statistics.requests += 1;
        self.statistics.last_request = Some(received);
        let idle = self.service.idle;
        match &mut self.state {
            State::Ready { until, .. } => {
                *until = now.after(idle);
                out.answer(ticket, Ok(self.summoned()));
            }
            State::Failed { reason, until }
            | State::Stopping { then: Afterwards::Failed { reason, until }, .. }
                if now < *until =>
            {
                out.answer(ticket, Err(refusal(reason, *until, now)));
            }
            // The back-off is over, but not what is left of the failed life.
            State::Stopping { then: then @ Afterwards::Failed { .. }, tries: 0, .. } => {
                *then = Afterwards::Off;
                self.wait(received, ticket, out);
            }
            State::Stopping { then: Afterwards::Failed { reason, until }, .. } => {
                out.answer(ticket, Err(refusal(reason, *until, now)));
            }
            State::Building { .. }
            | State::Booting { .. }
            | State::ShuttingDown { .. }
            | State::Stopping { then: Afterwards::Off, .. } => self.wait(received, ticket, out),
            State::Off | State::Failed { .. } => {
                self.wait(received, ticket, out);
                self.start(now, out);
            }
        }
    }

    pub(super) fn built(&mut self, now: Moment, domid: DomId, out: &mut Outbox) {
        let State::Building { early } = &mut self.state else {
            return self.meaningless("built");
        };
        let early = early.take();
        let until = now.after(self.service.boot_timeout);
        self.set_state(now, State::Booting { domid, until }, "the domain was built", out);
        match early {
            None => {}
            Some(Early::Ready(at)) => self.ready(now, at, out),
            Some(Early::Died(reason)) => self.fail(now, reason, out),
            Some(Early::Unwanted(why)) => self.destroy(now, Afterwards::Off, &why, out),
        }
    }

    pub(super) fn build_failed(&mut self, now: Moment, reason: String, out: &mut Outbox) {
        let State::Building { early } = &self.state else {
            return self.meaningless("build failed");
        };
        if matches!(early, Some(Early::Unwanted(_))) {
            self.set_state(now, State::Off, "it was not wanted any more, and could not be built", out);
            self.restart_if_wanted(now, out);
        } else {
            self.fail(now, reason, out);
        }
    }

    pub(super) fn no_room(&mut self, now: Moment, reason: String, out: &mut Outbox) {
        let State::Building { early } = &self.state else {
            return self.meaningless("no room");
        };
        // It was none.
        self.statistics.starts -= 1;
        if matches!(early, Some(Early::Unwanted(_))) {
            self.set_state(now, State::Off, "it was not wanted any more, and there was no room", out);
            return self.restart_if_wanted(now, out);
        }
        let until = now.after(NO_ROOM_PAUSE);
        self.answer_all(&Err(refusal(&reason, until, now)), out);
        self.set_state(now, State::Failed { reason: reason.clone(), until }, &reason, out);
    }

    pub(super) fn ready(&mut self, now: Moment, at: Moment, out: &mut Outbox) {
        match &mut self.state {
            State::Building { early } => {
                early.get_or_insert(Early::Ready(at));
            }
            State::Booting { domid, .. } => {
                let (domid, until) = (*domid, now.after(self.service.idle));
                self.ready_since = Some(now);
                self.timeline.note(Stage::GuestReady, at);
                self.set_state(now, State::Ready { domid, until }, "it accepts connections", out);
                if !self.waiting.is_empty() {
                    self.timeline.note(Stage::Answered, now);
                }
                self.answer_all(&Ok(self.summoned()), out);
            }
            _ => self.meaningless("ready"),
        }
    }

    pub(super) fn died(&mut self, now: Moment, death: Death, detail: &str, out: &mut Outbox) {
        let colon = if detail.is_empty() { "" } else { ": " };
        let early_reason = format!("its domain {} before it was ready{colon}{detail}", death.as_str());
        match &mut self.state {
            State::Building { early: Some(Early::Died(_) | Early::Unwanted(_)) } => {}
            State::Building { early } => *early = Some(Early::Died(early_reason)),
            State::Booting { .. } => self.fail(now, early_reason, out),
            // A guest may end itself when it has nothing to do. The next request starts it again.
            State::Ready { .. } if matches!(death, Death::Poweroff | Death::Reboot) => {
                self.destroy(now, Afterwards::Off, &format!("its domain {}", death.as_str()), out);
            }
            State::Ready { .. } => {
                self.fail(now, format!("its domain {}{colon}{detail}", death.as_str()), out);
            }
            State::ShuttingDown { .. } => {
                let why = format!("its domain {}", death.as_str());
                if !matches!(death, Death::Poweroff) {
                    tracing::warn!(service = self.service.name, "asked to shut down, {why}{colon}{detail}");
                }
                self.destroy(now, Afterwards::Off, &why, out);
            }
            _ => self.meaningless("died"),
        }
    }

    pub(super) fn stopped(&mut self, now: Moment, out: &mut Outbox) {
        let State::Stopping { then, .. } = &self.state else {
            return self.meaningless("stopped");
        };
        match then.clone() {
            Afterwards::Off => {
                self.set_state(now, State::Off, "its domain is gone", out);
                self.restart_if_wanted(now, out);
            }
            Afterwards::Failed { reason, until } => {
                self.set_state(now, State::Failed { reason, until }, "its domain is gone", out);
            }
        }
    }

    pub(super) fn stop_failed(&mut self, now: Moment, reason: &str, out: &mut Outbox) {
        let State::Stopping { then, retry, tries, .. } = &mut self.state else {
            return self.meaningless("stop failed");
        };
        *tries += 1;
        let (reason, until) =
            (format!("its last domain could not be destroyed: {reason}"), now.after(back_off(*tries)));
        tracing::error!(service = self.service.name, "{reason}");
        *retry = Some(until);
        *then = Afterwards::Failed { reason: reason.clone(), until };
        self.answer_all(&Err(refusal(&reason, until, now)), out);
    }

    pub(super) fn stop(&mut self, now: Moment, why: &str, error: &SummonError, out: &mut Outbox) {
        self.answer_all(&Err(error.clone()), out);
        self.failures_in_a_row = 0;
        match &mut self.state {
            State::Off => {}
            State::Failed { .. } => self.set_state(now, State::Off, why, out),
            State::Building { early } => *early = Some(Early::Unwanted(why.to_owned())),
            State::Booting { .. } => self.destroy(now, Afterwards::Off, why, out),
            State::Ready { .. } => self.end(now, why, out),
            State::ShuttingDown { .. } => {}
            State::Stopping { then, tries: 0, .. } => *then = Afterwards::Off,
            State::Stopping { .. } => {}
        }
    }

    pub(super) fn timer(&mut self, now: Moment, out: &mut Outbox) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &mut self.state {
            State::Booting { .. } => {
                let reason = format!(
                    "it did not become ready within {} s: it writes {} when it accepts connections",
                    self.service.boot_timeout.as_secs(),
                    self.service.wait_for_key
                );
                self.fail(now, reason, out);
            }
            State::Ready { .. } => {
                self.failures_in_a_row = 0;
                let why = format!("nobody asked for {} s", self.service.idle.as_secs());
                self.end(now, &why, out);
            }
            State::ShuttingDown { .. } => {
                let timeout = match self.service.stop {
                    Stop::Shutdown { timeout } => timeout.as_secs(),
                    Stop::Destroy => 0,
                };
                let why = format!("its domain did not switch itself off within {timeout} s");
                tracing::warn!(service = self.service.name, "{why}: it is destroyed");
                self.destroy(now, Afterwards::Off, &why, out);
            }
            State::Stopping { domid, retry, .. } => {
                *retry = None;
                let domid = *domid;
                out.effects.push(Effect::Destroy { incarnation: self.incarnation(), domid });
            }
            State::Off | State::Building { .. } | State::Failed { .. } => {}
        }
    }

    fn summoned(&self) -> Summoned {
        Summoned { address: self.service.address, ttl: self.service.ttl }
    }

    fn wait(&mut self, received: Moment, ticket: Ticket, out: &mut Outbox) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Waiter { ticket, received });
        } else {
            out.answer(ticket, Err(SummonError::Busy));
        }
    }

    fn answer_all(&mut self, outcome: &Result<Summoned, SummonError>, out: &mut Outbox) {
        for waiter in self.waiting.drain(..) {
            out.answer(waiter.ticket, outcome.clone());
        }
    }

    fn restart_if_wanted(&mut self, now: Moment, out: &mut Outbox) {
        if !self.waiting.is_empty() {
            self.start(now, out);
        }
    }

    fn start(&mut self, now: Moment, out: &mut Outbox) {
        self.life += 1;
        self.ready_since = None;
        self.statistics.starts += 1;
        self.timeline = Timeline::default();
        if let Some(first) = self.waiting.front() {
            self.timeline.note(Stage::QueryReceived, first.received);
        }
        self.timeline.note(Stage::BuildStarted, now);
        self.set_state(now, State::Building { early: None }, "it was asked for", out);
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
        self.answer_all(&Err(refusal(&reason, until, now)), out);
        if self.state.domid().is_some() {
            let then = Afterwards::Failed { reason: reason.clone(), until };
            self.destroy(now, then, &reason, out);
        } else {
            self.set_state(now, State::Failed { reason: reason.clone(), until }, &reason, out);
        }
    }

    /// Ends a life that nobody needs any more, in the way that the service wants. Only for [`State::Ready`]: who is
    /// still booting need not be able to shut down.
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
        out.events.push(Event { at: now, service: self.id, from, to, why: why.to_owned() });
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

//! When a life ends that nobody needs, or lasts for too long. Packets count: whether there have been any is looked at
//! when it matters, by the driver, which takes them from the guest in the same step.

use super::*;
use crate::directory::{CONNECTION_LIFE, LOOK_AGAIN, QUIET_BEFORE_EVICTION};

impl Entry {
    /// The deadline has come.
    pub(in super::super) fn timer(&mut self, now: Moment, out: &mut Outbox) {
        if self.may_be_told(now) {
            self.tell_all(now, out);
        }
        if self.end_of_state().is_none_or(|deadline| now < deadline) {
            return;
        }
        let too_old = self.ends_at().is_some_and(|at| now >= at);
        match &mut self.state {
            State::Off | State::Failed { .. } => self.start(now, Wish::Policy, out),
            State::AwaitingRoom { .. } => self.give_up_room(now, out),
            State::Booting { .. } => {
                let within = self.service.boot_timeout.as_secs();
                let sign = match self.service.listens_on {
                    Some(port) => format!("nothing answers at its TCP port {port}"),
                    None => format!("it writes {} when it accepts connections", self.service.wait_for_key),
                };
                let reason = format!("it did not become ready within {within} s: {sign}");
                self.fail(now, reason, out);
            }
            State::Ready { .. } | State::Paused { .. } if too_old => {
                let most = self.service.max_uptime.unwrap_or_default().as_secs();
                self.failures_in_a_row = 0;
                self.end(now, &format!("it has been up for {most} s"), out);
            }
            State::Ready { watch: Watch::Connections { .. }, .. } => {
                self.withdraw(now.before(CONNECTION_LIFE), true, Withdrawal::Idle, out);
            }
            State::Ready { .. } => {
                let quiet_since = now.before(self.service.idle);
                self.withdraw(quiet_since, self.pauses(), Withdrawal::Idle, out);
            }
            State::ShuttingDown { .. } => {
                let timeout = match self.service.stop {
                    Stop::Shutdown { timeout } => timeout.as_secs(),
                    Stop::Destroy | Stop::Pause => 0,
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
            State::Building { .. } | State::Paused { .. } => {}
        }
    }

    /// Whether it can be ended to make room for another.
    pub(in super::super) fn may_make_way(&self, now: Moment) -> bool {
        let there = match &self.state {
            State::Ready { watch, .. } => !matches!(watch, Watch::Withdrawing(_)),
            State::Paused { .. } => true,
            _ => false,
        };
        there
            && self.service.start != Start::Always
            && now.since(self.last_seen) >= QUIET_BEFORE_EVICTION
            && self.old_enough().is_none_or(|at| now >= at)
            && (self.service.is_woken() || self.cached_until.is_none_or(|at| now >= at))
    }

    /// Begins to make room for another.
    pub(in super::super) fn make_way(&mut self, now: Moment, out: &mut Outbox) {
        match &self.state {
            State::Ready { .. } => {
                self.withdraw(now.before(QUIET_BEFORE_EVICTION), false, Withdrawal::Room, out);
            }
            // Its packets are not its own any more.
            State::Paused { .. } => self.destroy(now, Afterwards::Off, FOR_ROOM, out),
            _ => {}
        }
    }

    /// The driver has found it quiet, and has taken its packets from it.
    pub(in super::super) fn withdrawn(&mut self, now: Moment, out: &mut Outbox) {
        let State::Ready { domid, watch } = &self.state else {
            return self.meaningless("withdrawn");
        };
        let domid = *domid;
        let Watch::Withdrawing(why @ (Withdrawal::Idle | Withdrawal::Room)) = *watch else {
            self.watch_on(now);
            return out.effects.push(Effect::Restore { incarnation: self.incarnation(), domid });
        };
        self.failures_in_a_row = 0;
        match why {
            Withdrawal::Room => self.end(now, FOR_ROOM, out),
            _ if self.pauses() => {
                let why = self.idle_for();
                self.set_state(now, State::Paused { domid }, &why, out);
                out.effects.push(Effect::Pause { incarnation: self.incarnation(), domid });
            }
            _ => {
                let why = self.idle_for();
                self.end(now, &why, out);
            }
        }
    }

    /// The driver has found that it is not quiet.
    pub(in super::super) fn busy(&mut self, now: Moment, last: Moment, open: usize) {
        if !matches!(self.state, State::Ready { watch: Watch::Withdrawing(_), .. }) {
            return self.meaningless("busy");
        }
        self.note_packets(now, last, open);
        self.watch_on(now);
    }

    /// The driver has seen its packets, whatever for.
    pub(in super::super) fn note_traffic(&mut self, now: Moment, last: Moment, open: usize) {
        self.note_packets(now, last, open);
        // What it was kept for has gone.
        if let State::Ready { watch: Watch::Connections { .. }, .. } = self.state
            && open == 0
        {
            self.watch_on(now);
        }
    }

    /// Lets it go on.
    pub(super) fn resume(&mut self, now: Moment, out: &mut Outbox) {
        let State::Paused { domid } = self.state else { return };
        self.last_seen = now;
        let watch = self.next_watch(now);
        self.set_state(now, State::Ready { domid, watch }, "somebody wants it", out);
        out.effects.push(Effect::Resume { incarnation: self.incarnation(), domid });
    }

    /// Looks at it again when its time has come.
    pub(super) fn watch_on(&mut self, now: Moment) {
        let next = self.next_watch(now);
        if let State::Ready { watch, .. } = &mut self.state {
            *watch = next;
        }
    }

    pub(super) fn next_watch(&self, now: Moment) -> Watch {
        if self.service.start == Start::Always {
            return Watch::Never;
        }
        let connected = self.traffic.open > 0 && !self.pauses();
        let patience = if connected { CONNECTION_LIFE } else { self.service.idle };
        // What the driver says may be older than that. It is not asked over and over all the same.
        let until = self.last_seen.after(patience).max(now.after(LOOK_AGAIN));
        let until = self.old_enough().map_or(until, |at| until.max(at));
        if connected { Watch::Connections { until } } else { Watch::Quiet { until } }
    }

    /// When it has been up for long enough to be ended.
    fn old_enough(&self) -> Option<Moment> {
        Some(self.ready_since?.after(self.service.min_uptime))
    }

    fn note_packets(&mut self, now: Moment, last: Moment, open: usize) {
        let last = last.min(now);
        self.traffic.last_packet = self.traffic.last_packet.max(Some(last));
        self.traffic.open = open;
        self.last_seen = self.last_seen.max(last);
    }

    fn withdraw(&mut self, quiet_since: Moment, ignore_connections: bool, why: Withdrawal, out: &mut Outbox) {
        let incarnation = self.incarnation();
        if let State::Ready { domid, watch } = &mut self.state {
            *watch = Watch::Withdrawing(why);
            let domid = *domid;
            out.effects.push(Effect::WithdrawIfIdle { incarnation, domid, quiet_since, ignore_connections });
        }
    }

    fn pauses(&self) -> bool {
        self.service.stop == Stop::Pause
    }

    fn idle_for(&self) -> String {
        format!("no query and no packet for {} s", self.service.idle.as_secs())
    }
}

/// Why one ends that was in nobody's way but another's.
const FOR_ROOM: &str = "it is idle, and another service needs the room";

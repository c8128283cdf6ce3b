//! What people and packets ask for.

use super::*;

impl Entry {
    /// A question has come.
    pub(in super::super) fn summon(
        &mut self,
        now: Moment,
        received: Moment,
        ticket: Ticket,
        out: &mut Outbox,
    ) {
        self.statistics.requests += 1;
        self.statistics.last_request = Some(received);
        match self.want(now, Wish::Query(received), out) {
            Err(refusal) => out.answer(ticket, Err(refusal)),
            Ok(()) if self.may_be_told(now) => {
                let summoned = self.summoned(now);
                out.answer(ticket, Ok(summoned));
            }
            Ok(()) => self.wait(ticket, out),
        }
    }

    /// A packet has come while it was not up.
    pub(in super::super) fn woken(&mut self, now: Moment, at: Moment, out: &mut Outbox) {
        self.statistics.wakes += 1;
        // Whoever sent it is told by what becomes of its packet.
        if let Err(refusal) = self.want(now, Wish::Packet(at), out) {
            tracing::debug!(service = self.service.name, "a packet does not wake it: {refusal}");
        }
    }

    /// An administrator wants it to run. Also ends a back-off.
    pub(in super::super) fn order(&mut self, now: Moment, out: &mut Outbox) {
        if let Err(refusal) = self.want(now, Wish::Order, out) {
            tracing::warn!(service = self.service.name, "it cannot be started: {refusal}");
        }
    }

    /// Somebody wants it to run, which it does or will do if that can be.
    fn want(&mut self, now: Moment, wish: Wish, out: &mut Outbox) -> Result<(), SummonError> {
        let ordered = wish == Wish::Order;
        if self.service.instance_of.is_some() && self.host.is_none() {
            return Err(SummonError::NoHost);
        }
        let may_start = ordered || self.wanted.is_some() || self.service.start != Start::Manual;
        match &mut self.state {
            State::Ready { watch, .. } => {
                self.last_seen = now;
                if let Watch::Withdrawing(why) = watch {
                    *why = Withdrawal::Unwanted;
                } else {
                    self.watch_on(now);
                }
            }
            State::Paused { .. } => self.resume(now, out),
            State::Building { early: None | Some(Early::Ready(_) | Early::Died(_)) }
            | State::AwaitingRoom { .. }
            | State::Booting { .. } => {}
            // There was an end to it, so that it is started again afterwards: as if it were off.
            _ if !may_start => return Err(SummonError::Manual),
            State::Failed { reason, until, no_room } if now < *until && !ordered => {
                let (reason, retry_in) = (reason.clone(), until.since(now));
                return Err(match no_room {
                    true => SummonError::NoRoom { reason, retry_in },
                    false => SummonError::Failed { reason, retry_in },
                });
            }
            State::Off | State::Failed { .. } => {
                if ordered {
                    self.failures_in_a_row = 0;
                }
                self.start(now, wish, out);
            }
            State::Stopping { then: Afterwards::Failed { reason, until }, tries, .. }
                if *tries > 0 || now < *until && !ordered =>
            {
                return Err(refusal(reason, *until, now));
            }
            // The back-off is over, but not what is left of the failed life.
            State::Stopping { then, .. } => {
                *then = Afterwards::Off;
                _ = self.wanted.get_or_insert(wish);
            }
            State::Building { .. } | State::ShuttingDown { .. } => _ = self.wanted.get_or_insert(wish),
        }
        Ok(())
    }

    /// There is room for the domain, and it is being built.
    pub(in super::super) fn committed(&mut self, now: Moment, out: &mut Outbox) {
        match &self.state {
            State::Building { early: None | Some(Early::Ready(_)) } | State::Booting { .. } => {
                self.committed = true;
                self.may_be_told_soon(now, out);
            }
            _ => self.meaningless("committed"),
        }
    }

    /// Nobody is to have it. An administrator's word holds until somebody asks for it.
    pub(in super::super) fn stop(&mut self, now: Moment, why: &str, error: &SummonError, out: &mut Outbox) {
        self.answer_all(&Err(error.clone()), out);
        self.failures_in_a_row = 0;
        (self.wanted, self.kept_off) = (None, true);
        match &mut self.state {
            State::Off => {}
            State::AwaitingRoom { .. } | State::Failed { .. } => self.set_state(now, State::Off, why, out),
            State::Building { early } => *early = Some(Early::Unwanted(why.to_owned())),
            State::Booting { .. } | State::Paused { .. } => self.destroy(now, Afterwards::Off, why, out),
            State::Ready { .. } => self.end(now, why, out),
            State::ShuttingDown { .. } => {}
            // One that had failed is off then, too.
            State::Stopping { then, tries: 0, .. } => *then = Afterwards::Off,
            State::Stopping { .. } => {}
        }
    }

    /// It is to be another one from now on.
    pub(in super::super) fn outdated(&mut self, now: Moment, out: &mut Outbox) {
        let why = "it is configured differently now";
        match &self.state {
            State::Booting { .. } | State::Paused { .. } => self.destroy(now, Afterwards::Off, why, out),
            State::Ready { .. } => self.end(now, why, out),
            _ => self.meaningless("outdated"),
        }
    }

    /// Starts it if somebody has asked for it while it was being ended.
    pub(in super::super) fn restart_if_wanted(&mut self, now: Moment, out: &mut Outbox) {
        if let Some(wish) = self.wanted
            && self.state == State::Off
        {
            self.start(now, wish, out);
        }
    }
}

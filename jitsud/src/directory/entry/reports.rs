//! What the driver reports of a life.

use super::*;
use crate::directory::{Death, MAX_SEARCHES, ROOM_TIMEOUT, Search, Standing};

impl Entry {
    /// An earlier daemon has made its domain.
    pub(in super::super) fn take_over(
        &mut self,
        now: Moment,
        life: u64,
        domid: DomId,
        standing: Standing,
        out: &mut Outbox,
    ) {
        if self.state != State::Off {
            return self.meaningless("taken over");
        }
        self.life = life;
        // The room is taken.
        self.committed = true;
        let why = "it has been there since before this daemon";
        if standing == Standing::Booting {
            let until = now.after(self.service.boot_timeout);
            return self.set_state(now, State::Booting { domid, until }, why, out);
        }
        self.ready_since = Some(now);
        self.last_seen = now;
        // What the daemon before has answered last is not known.
        self.cached_until = Some(now.after(self.service.ttl));
        if standing == Standing::Paused {
            return self.set_state(now, State::Paused { domid }, why, out);
        }
        let watch = self.next_watch(now);
        self.set_state(now, State::Ready { domid, watch }, why, out);
    }

    pub(in super::super) fn built(&mut self, now: Moment, domid: DomId, out: &mut Outbox) {
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

    pub(in super::super) fn build_failed(&mut self, now: Moment, reason: String, out: &mut Outbox) {
        let State::Building { early } = &self.state else {
            return self.meaningless("build failed");
        };
        if matches!(early, Some(Early::Unwanted(_))) {
            self.set_state(now, State::Off, "it was not wanted any more, and could not be built", out);
        } else {
            self.fail(now, reason, out);
        }
    }

    pub(in super::super) fn no_room(&mut self, now: Moment, reason: String, missing: Room, out: &mut Outbox) {
        let State::Building { early } = &self.state else {
            return self.meaningless("no room");
        };
        // It was none.
        self.statistics.starts -= 1;
        self.committed = false;
        if matches!(early, Some(Early::Unwanted(_))) {
            return self.set_state(now, State::Off, "it was not wanted any more, and there was no room", out);
        }
        let until = self.room_wanted_since.get_or_insert(now).after(ROOM_TIMEOUT);
        self.no_room_in_a_row += 1;
        let why = reason.clone();
        self.set_state(
            now,
            State::AwaitingRoom { until, reason, search: Search::Survey { missing } },
            &why,
            out,
        );
        if now >= until || self.no_room_in_a_row > MAX_SEARCHES {
            self.give_up_room(now, out);
        }
    }

    /// These are being ended for it.
    pub(in super::super) fn await_ends(&mut self, lives: Vec<Incarnation>) {
        if let State::AwaitingRoom { search, .. } = &mut self.state {
            *search = Search::Ending(lives);
        }
    }

    /// There may be room now.
    pub(in super::super) fn build_again(&mut self, now: Moment, out: &mut Outbox) {
        self.build(now, "there may be room for it now", out);
    }

    /// No room can be made for it, or it takes too long. It is not to blame, so that no back-off grows.
    pub(in super::super) fn give_up_room(&mut self, now: Moment, out: &mut Outbox) {
        let State::AwaitingRoom { reason, .. } = &self.state else { return };
        let (reason, until) = (reason.clone(), now.after(NO_ROOM_PAUSE));
        self.wanted = None;
        let error = SummonError::NoRoom { reason: reason.clone(), retry_in: NO_ROOM_PAUSE };
        self.answer_all(&Err(error), out);
        let why = format!("{reason}, and nobody can be ended for it");
        self.set_state(now, State::Failed { reason, until, no_room: true }, &why, out);
    }

    pub(in super::super) fn ready(&mut self, now: Moment, at: Moment, out: &mut Outbox) {
        match &mut self.state {
            State::Building { early } => {
                early.get_or_insert(Early::Ready(at));
            }
            State::Booting { domid, .. } => {
                let domid = *domid;
                self.ready_since = Some(now);
                self.last_seen = now;
                self.timeline.note(Stage::GuestReady, at);
                let watch = self.next_watch(now);
                self.set_state(now, State::Ready { domid, watch }, "it accepts connections", out);
                self.may_be_told_soon(now, out);
            }
            _ => self.meaningless("ready"),
        }
    }

    pub(in super::super) fn died(&mut self, now: Moment, death: Death, detail: &str, out: &mut Outbox) {
        let colon = if detail.is_empty() { "" } else { ": " };
        let early_reason = format!("its domain {} before it was ready{colon}{detail}", death.as_str());
        match &mut self.state {
            State::Building { early: Some(Early::Died(_) | Early::Unwanted(_)) } => {}
            State::Building { early } => *early = Some(Early::Died(early_reason)),
            State::Booting { .. } => self.fail(now, early_reason, out),
            // A guest may end itself when it has nothing to do, unless it is to run always. The next request starts it
            // again.
            State::Ready { .. }
                if matches!(death, Death::Poweroff | Death::Reboot)
                    && self.service.start != Start::Always =>
            {
                self.destroy(now, Afterwards::Off, &format!("its domain {}", death.as_str()), out);
            }
            State::Ready { .. } | State::Paused { .. } => {
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

    pub(in super::super) fn stopped(&mut self, now: Moment, out: &mut Outbox) {
        let State::Stopping { then, .. } = &self.state else {
            return self.meaningless("stopped");
        };
        let next = match then.clone() {
            Afterwards::Off => State::Off,
            Afterwards::Failed { reason, until } => State::Failed { reason, until, no_room: false },
        };
        self.set_state(now, next, "its domain is gone", out);
    }

    pub(in super::super) fn stop_failed(&mut self, now: Moment, reason: &str, out: &mut Outbox) {
        let State::Stopping { then, retry, tries, .. } = &mut self.state else {
            return self.meaningless("stop failed");
        };
        *tries += 1;
        let (reason, until) =
            (format!("its last domain could not be destroyed: {reason}"), now.after(back_off(*tries)));
        tracing::error!(service = self.service.name, "{reason}");
        *retry = Some(until);
        *then = Afterwards::Failed { reason: reason.clone(), until };
        self.wanted = None;
        self.answer_all(&Err(refusal(&reason, until, now)), out);
    }
}

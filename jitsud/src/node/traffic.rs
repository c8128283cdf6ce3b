//! Guests' packets: those for services that are not up, and what they say about whether the others are in use.

use super::Core;
use crate::capture::{Found, Idleness};
use crate::directory::{Entry, Incarnation, Input, Moment, State, Traffic};
use crate::text::chain;

impl Core {
    /// Takes in what packets for services that are not up have come, and starts those; and which guests have had their last
    /// connection.
    pub(super) fn packets(&mut self) {
        let now = Moment::now();
        let Found { woken, closed, listening } = self.captor.work(now);
        for service in listening {
            let entry = self.directory.entries().get(service.0);
            if let Some(incarnation) = entry.map(Entry::incarnation) {
                self.accepts_connections(incarnation, now);
            }
        }
        for service in closed {
            if let Some(entry) = self.directory.entries().get(service.0)
                && let Ok((last, 0)) = self.captor.traffic(now, service)
            {
                self.input(Input::Closed { incarnation: entry.incarnation(), last });
            }
        }
        for service in woken {
            self.input(Input::Woken { service, at: now });
            // Nothing may have changed; the packet is to be answered all the same.
            if let Some(entry) = self.directory.entries().get(service.0) {
                self.captor.follow(Moment::now(), service, entry.state());
            }
        }
    }

    /// Takes a guest's packets from it, unless it is in use.
    pub(super) fn withdraw_if_idle(
        &mut self,
        incarnation: Incarnation,
        quiet_since: Moment,
        ignore_connections: bool,
    ) {
        let now = Moment::now();
        let idleness = self.captor.withdraw(now, incarnation.service, quiet_since, ignore_connections);
        let idleness = idleness.unwrap_or_else(|error| {
            let domid = self.lives.get(&incarnation).and_then(|life| life.domid);
            tracing::error!(?domid, error = %chain(&error), "whether it is in use is not known: it runs on");
            Idleness::Busy { last: now, open: 0 }
        });
        self.input(match idleness {
            Idleness::Withdrawn => Input::Withdrawn { incarnation },
            Idleness::Busy { last, open } => Input::Busy { incarnation, last, open },
        });
    }

    /// Finds out about the packets of all guests that could be ended for others.
    pub(super) fn survey(&mut self) {
        let now = Moment::now();
        let traffic = self.directory.entries().iter().filter_map(|entry| {
            let incarnation = entry.incarnation();
            matches!(entry.state(), State::Ready { .. } | State::Paused { .. }).then_some(())?;
            let (last, open) = self.captor.traffic(now, incarnation.service).unwrap_or((now, 1));
            Some(Traffic { incarnation, last, open })
        });
        let traffic = traffic.collect();
        self.input(Input::Traffic(traffic));
    }
}

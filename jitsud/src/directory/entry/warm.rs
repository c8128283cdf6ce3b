//! What others answer about it, and how it is for them.

use super::*;
use crate::summoner::Temperature;

impl Entry {
    /// So many questions were answered while it was ready, the last one then.
    pub(in super::super) fn told(&mut self, now: Moment, count: u64, last: Moment) {
        self.statistics.requests += count;
        self.statistics.last_request = self.statistics.last_request.max(Some(last));
        self.cached_until = self.cached_until.max(Some(last.after(self.service.ttl)));
        self.last_seen = self.last_seen.max(last);
        if let State::Ready { watch: Watch::Quiet { .. } | Watch::Connections { .. }, .. } = self.state {
            self.watch_on(now);
        }
    }

    /// How it is for those who ask now.
    pub(in super::super) fn temperature(&self, now: Moment) -> Temperature {
        match &self.state {
            // Its packets are being taken from it: a question is a reason to give them back.
            State::Ready { watch: Watch::Withdrawing(_), .. } => Temperature::Tepid,
            // Nobody is told before that, which the front does not wait for.
            State::Ready { .. } if self.told_from.is_some_and(|from| now < from) => Temperature::Tepid,
            State::Ready { .. } => {
                let ttl = self.service.ttl;
                // Where packets would not start it anew, an answer that is cached for so long must not outlive it.
                let end = self.ends_at().filter(|_| !self.service.is_woken());
                Temperature::Warm { ttl, until: end.map_or(Moment(u64::MAX), |end| end.before(ttl)) }
            }
            _ if self.service.start == Start::Manual => Temperature::Tepid,
            State::Off => Temperature::Cold(Moment(0)),
            State::Failed { until, .. } => Temperature::Cold(*until),
            _ => Temperature::Tepid,
        }
    }
}

//! How fast guests may go: their changes, and the harm that these do to others' transactions.
//!
//! A guest that changes, again and again, what others' transactions rely on would keep these from ever
//! being committed. So whoever makes somebody else's commit fail pays with a point of *conflict
//! credit*, and whoever has none left is not listened to until there is a new point. As in oxenstored
//! (`tools/ocaml/xenstored/domains.ml`), one point is given in each interval to one guest, whoever has
//! waited longest; so guests that work together spoil no more than one alone.
//!
//! A guest's changes are counted too ([`Limits::writes_per_second`]): a change that has to be told to
//! many watchers costs the server more than it costs the guest.
//!
//! Time is the driver's, and only [`Paces::advance`] moves it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use xen_sys::DomId;

use crate::quota::Limits;

/// The pace of one guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    /// When all its changes so far would have been made at the allowed rate.
    pub even: Duration,
    /// It has gone past its burst, and rests until this is over.
    pub resting: bool,
    /// Points of conflict credit that it has used up.
    pub debt: u32,
}

/// The paces of all guests that have ever changed anything, and the clock.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Paces {
    pub now: Duration,
    pub guests: BTreeMap<DomId, Pace>,
    /// Without credit and not listened to, the longest waiting first.
    pub paused: VecDeque<DomId>,
    /// With less than all of their credit; they get theirs after those above.
    pub indebted: VecDeque<DomId>,
    /// When the next point is given; `None` while nobody waits for one.
    pub next_point: Option<Duration>,
}

impl Paces {
    /// A guest has changed something.
    pub fn wrote(&mut self, domid: DomId, limits: &Limits) {
        let (now, Some(interval)) = (self.now, write_interval(limits)) else {
            return;
        };
        let pace = self.guest(domid);
        pace.even = pace.even.max(now) + interval;
        pace.resting |= pace.even > now + interval * limits.write_burst.max(1);
    }

    /// A guest's change has made somebody else's commit fail.
    pub fn spoiled(&mut self, domid: DomId, limits: &Limits) {
        let burst = limits.conflict_burst.max(1);
        let pace = self.guest(domid);
        let before = pace.debt;
        pace.debt = before.saturating_add(1).min(burst.saturating_add(1));
        if before == 0 {
            self.indebted.push_back(domid);
        }
        if before < burst && before >= burst - 1 {
            self.paused.push_back(domid);
        }
        self.next_point.get_or_insert(self.now + limits.conflict_interval);
    }

    /// Whether a guest is not to be listened to now.
    pub fn paused(&self, domid: DomId) -> bool {
        self.guests.get(&domid).is_some_and(|pace| pace.resting) || self.paused.contains(&domid)
    }

    /// When [`advance`](Paces::advance) is of use for somebody who waits.
    pub fn next(&self, limits: &Limits) -> Option<Duration> {
        let rested = self.guests.values().filter(|pace| pace.resting).map(|pace| rested(pace, limits));
        let point = self.next_point.filter(|_| !self.paused.is_empty());
        rested.chain(point).min()
    }

    /// The clock now says `now`. Returns the guests that are listened to again.
    pub fn advance(&mut self, now: Duration, limits: &Limits) -> Vec<DomId> {
        self.now = self.now.max(now);
        let mut resumed = Vec::new();
        for (domid, pace) in &mut self.guests {
            if pace.resting && rested(pace, limits) <= self.now {
                pace.resting = false;
                resumed.push(*domid);
            }
        }
        while let Some(point) = self.next_point.filter(|point| *point <= self.now) {
            self.next_point = Some(point + limits.conflict_interval.max(Duration::from_millis(1)));
            self.give_point(limits, &mut resumed);
            if self.indebted.is_empty() {
                self.next_point = None;
            }
        }
        let now = self.now;
        self.guests.retain(|_, pace| pace.resting || pace.debt > 0 || pace.even > now);
        resumed.retain(|domid| !self.paused(*domid));
        resumed
    }

    /// Forgets a guest that is gone.
    pub fn forget(&mut self, domid: DomId) {
        self.guests.remove(&domid);
        self.paused.retain(|known| *known != domid);
        self.indebted.retain(|known| *known != domid);
        if self.indebted.is_empty() {
            self.next_point = None;
        }
    }

    fn give_point(&mut self, limits: &Limits, resumed: &mut Vec<DomId>) {
        let burst = limits.conflict_burst.max(1);
        let waited = self.paused.pop_front();
        let Some(domid) = waited.or_else(|| self.indebted.front().copied()) else {
            return;
        };
        let pace = self.guest(domid);
        pace.debt = pace.debt.saturating_sub(1);
        match pace.debt {
            debt if debt >= burst => self.paused.push_back(domid),
            debt => {
                // The queue turns, so that all who owe are served in turn.
                self.indebted.retain(|known| *known != domid);
                if debt > 0 {
                    self.indebted.push_back(domid);
                }
                resumed.extend(waited);
            }
        }
    }

    fn guest(&mut self, domid: DomId) -> &mut Pace {
        self.guests.entry(domid).or_insert(Pace { even: Duration::ZERO, resting: false, debt: 0 })
    }
}

/// The time that one change takes at the allowed rate; `None` if there is no limit.
fn write_interval(limits: &Limits) -> Option<Duration> {
    Duration::from_secs(1).checked_div(limits.writes_per_second)
}

/// When a guest that rests is done with it: half of its burst is then free again, so that it is not
/// woken for each single change.
fn rested(pace: &Pace, limits: &Limits) -> Duration {
    let interval = write_interval(limits).unwrap_or_default();
    pace.even.saturating_sub(interval * (limits.write_burst.max(1) / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DomId = DomId(5);
    const B: DomId = DomId(6);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_guest_that_spoils_too_much_waits_for_credit() {
        let limits = Limits::default();
        let mut paces = Paces::default();
        for _ in 0..4 {
            paces.spoiled(A, &limits);
            assert!(!paces.paused(A));
        }
        paces.spoiled(A, &limits);
        assert!(paces.paused(A) && !paces.paused(B));
        assert_eq!(paces.next(&limits), Some(ms(50)));
        assert_eq!(paces.advance(ms(49), &limits), []);
        assert_eq!(paces.advance(ms(50), &limits), [A]);
        // With one point, the next harm pauses it again; and there is one point each 50 ms.
        paces.spoiled(A, &limits);
        assert!(paces.paused(A));
        assert_eq!(paces.advance(ms(99), &limits), []);
        assert_eq!(paces.advance(ms(100), &limits), [A]);
        paces.advance(ms(100 + 4 * 50), &limits);
        assert_eq!(paces.guests.get(&A), None, "all is forgiven");
        assert_eq!(paces, Paces { now: ms(300), ..Paces::default() });
    }

    #[test]
    fn guests_that_work_together_gain_nothing() {
        let limits = Limits { conflict_burst: 1, ..Limits::default() };
        let mut paces = Paces::default();
        paces.spoiled(A, &limits);
        paces.spoiled(B, &limits);
        assert_eq!(paces.advance(ms(50), &limits), [A]);
        paces.spoiled(A, &limits);
        assert_eq!(paces.advance(ms(100), &limits), [B], "who has waited longer");
        assert_eq!(paces.advance(ms(10_000), &limits), [A]);
    }

    #[test]
    fn changes_have_a_rate() {
        let limits = Limits { writes_per_second: 100, write_burst: 10, ..Limits::default() };
        let mut paces = Paces::default();
        for _ in 0..10 {
            paces.wrote(A, &limits);
        }
        assert!(!paces.paused(A));
        paces.wrote(A, &limits);
        assert!(paces.paused(A) && !paces.paused(B));
        let until = paces.next(&limits).unwrap();
        assert_eq!(until, ms(60));
        assert_eq!(paces.advance(until - ms(1), &limits), []);
        assert_eq!(paces.advance(until, &limits), [A]);
        for _ in 0..5 {
            assert!(!paces.paused(A));
            paces.wrote(A, &limits);
        }
        let unlimited = Limits { writes_per_second: 0, ..Limits::default() };
        (0..10_000).for_each(|_| paces.wrote(B, &unlimited));
        assert!(!paces.paused(B));
    }

    #[test]
    fn the_dead_are_forgotten() {
        let limits = Limits { conflict_burst: 1, ..Limits::default() };
        let mut paces = Paces::default();
        paces.spoiled(A, &limits);
        paces.forget(A);
        assert_eq!(paces, Paces::default());
    }
}

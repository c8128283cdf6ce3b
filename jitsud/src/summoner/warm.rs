//! The services that run, for whoever answers questions about them: without a message to the core, which would have to be
//! woken for each. The core says who may be answered for, and until when; the front counts what it has answered, and the
//! core takes that in before it decides anything.
//!
//! Both are on one thread, so that nothing is answered between a look and what follows from it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use super::{ServiceId, Summoned};
use crate::directory::Moment;

/// A place for each service, in the order of the configuration. There are none before the core begins.
#[derive(Debug, Default)]
pub struct Warm {
    places: OnceLock<Box<[Place]>>,
    /// The instances that host names are bound to.
    hosts: Mutex<HashMap<String, ServiceId>>,
    /// Changes with everything that is said here.
    generation: AtomicU64,
    /// Some place has something to be taken in.
    told: AtomicBool,
}

#[derive(Debug)]
struct Place {
    address: Ipv4Addr,
    /// The last moment at which it may be answered for; 0 if it may not.
    until: AtomicU64,
    ttl_s: AtomicU32,
    /// From when on a question starts it; the end of time if it does not.
    starts_from: AtomicU64,
    /// Questions that were answered and have not been taken in,
    count: AtomicU64,
    /// and when the last one came.
    last: AtomicU64,
}

/// How a service is, for those who ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Temperature {
    /// It is ready.
    Warm {
        /// How long answers may be cached,
        ttl: Duration,
        /// if they are given up to then.
        until: Moment,
    },
    /// It is not ready, and a question does not start it: it is being started, or was not long ago in vain.
    Tepid,
    /// A question starts it from then on.
    Cold(Moment),
}

/// Questions that were answered at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// About which service.
    pub service: ServiceId,
    /// How many; at least one.
    pub count: u64,
    /// When the last one came.
    pub last: Moment,
}

impl Warm {
    /// Makes the places; for the core, once.
    pub fn begin(&self, addresses: impl Iterator<Item = Ipv4Addr>) {
        let place = |address| Place {
            address,
            until: AtomicU64::new(0),
            ttl_s: AtomicU32::new(0),
            starts_from: AtomicU64::new(0),
            count: AtomicU64::new(0),
            last: AtomicU64::new(0),
        };
        self.places.get_or_init(|| addresses.map(place).collect());
    }

    /// Says how a service is now; for the core.
    pub fn set(&self, service: ServiceId, temperature: Temperature) {
        let Some(place) = self.place(service) else { return };
        let (until, starts_from) = match temperature {
            Temperature::Warm { ttl, until } => {
                place.ttl_s.store(ttl.as_secs().try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
                (until.0, u64::MAX)
            }
            Temperature::Tepid => (0, u64::MAX),
            Temperature::Cold(from) => (0, from.0),
        };
        place.starts_from.store(starts_from, Ordering::Relaxed);
        if place.until.swap(until, Ordering::Relaxed) != until {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says which host name an instance is bound to from now on; for the core.
    pub fn bind(&self, instance: ServiceId, host: &str) {
        let mut hosts = self.hosts();
        hosts.retain(|_, bound| *bound != instance);
        hosts.insert(host.to_owned(), instance);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The instance that a host name is bound to; for the front.
    pub fn bound_to(&self, host: &str) -> Option<ServiceId> {
        self.hosts().get(host).copied()
    }

    /// Takes what has been answered since the last call; for the core.
    pub fn take(&self) -> impl Iterator<Item = Told> {
        let any = self.told.swap(false, Ordering::Relaxed);
        let places = self.places.get().filter(|_| any).map_or(&[][..], |places| places);
        places.iter().enumerate().filter_map(|(index, place)| {
            let count = place.count.swap(0, Ordering::Relaxed);
            let last = Moment(place.last.load(Ordering::Relaxed));
            (count > 0).then_some(Told { service: ServiceId(index), count, last })
        })
    }

    /// What can be answered about a service without asking the core; for the front.
    pub fn look(&self, service: ServiceId, now: Moment) -> Option<Summoned> {
        let place = self.place(service)?;
        let ttl = Duration::from_secs(place.ttl_s.load(Ordering::Relaxed).into());
        (now.0 <= place.until.load(Ordering::Relaxed)).then_some(Summoned { address: place.address, ttl })
    }

    /// The last moment at which a service may be answered for as it may be now; for the front.
    pub fn until(&self, service: ServiceId) -> Moment {
        Moment(self.place(service).map_or(0, |place| place.until.load(Ordering::Relaxed)))
    }

    /// A number that stays the same for as long as the same may be answered; for the front.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Notes that a question of that time has been answered so; for the front.
    pub fn tell(&self, service: ServiceId, at: Moment) {
        if let Some(place) = self.place(service) {
            place.count.fetch_add(1, Ordering::Relaxed);
            place.last.fetch_max(at.0, Ordering::Relaxed);
            self.told.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a question would start it; for the front.
    pub fn would_start(&self, service: ServiceId, now: Moment) -> bool {
        self.place(service).is_none_or(|place| now.0 >= place.starts_from.load(Ordering::Relaxed))
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, ServiceId>> {
        self.hosts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn place(&self, service: ServiceId) -> Option<&Place> {
        self.places.get()?.get(service.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_warm_is_answered_for_and_what_is_answered_is_taken_in_once() {
        let warm = Warm::default();
        let (one, other, none) = (ServiceId(0), ServiceId(1), ServiceId(2));
        assert_eq!((warm.look(one, Moment(1)), warm.would_start(one, Moment(1))), (None, true));
        let addresses = [1, 2].map(|host| Ipv4Addr::new(10, 0, 0, host));
        warm.begin(addresses.into_iter());
        assert_eq!((warm.look(one, Moment(1)), warm.look(none, Moment(1))), (None, None));
        let ttl = Duration::from_secs(60);
        warm.set(one, Temperature::Warm { ttl, until: Moment(100) });
        warm.set(other, Temperature::Cold(Moment(50)));
        let summoned = Some(Summoned { address: addresses[0], ttl });
        assert_eq!([1, 100, 101].map(|now| warm.look(one, Moment(now))), [summoned.clone(), summoned, None]);
        assert!(!warm.would_start(one, Moment(1)) && !warm.would_start(other, Moment(49)));
        assert!(warm.would_start(other, Moment(50)));

        assert_eq!(warm.take().count(), 0);
        for at in [7, 9, 8] {
            warm.tell(one, Moment(at));
        }
        warm.tell(none, Moment(9));
        let told: Vec<_> = warm.take().collect();
        assert_eq!(told, [Told { service: one, count: 3, last: Moment(9) }]);
        assert_eq!(warm.take().count(), 0);
        warm.bind(one, "a.test");
        warm.bind(other, "b.test");
        warm.bind(one, "c.test");
        assert_eq!(
            ["a.test", "b.test", "c.test"].map(|host| warm.bound_to(host)),
            [None, Some(other), Some(one)]
        );
        warm.set(one, Temperature::Tepid);
        assert_eq!((warm.look(one, Moment(1)), warm.would_start(one, Moment(1))), (None, false));
    }
}

//! The servers that are asked, and what is known of each.
//!
//! The one that answers soonest is asked. Each of the others is asked beside it now and then, about something that was
//! to be asked anyway: if it answers first, it goes first from then on. So one that was gone is found again without
//! anybody having to wait for it while it is not.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config;
use crate::directory::Moment;

/// Most servers.
const MAX_UPSTREAMS: usize = config::MAX_SERVERS;

/// How often a server that is not the first is asked beside the first.
const TRIAL: Duration = Duration::from_secs(30);

/// How many questions in a row a server may leave without an answer before it goes behind all others.
const TOLERATED: u32 = 3;

/// Shortest and longest time until the next server is asked. Those that were asked can answer still. Under the shortest
/// is a server that has the answer; one that has to find it needs longer, which is no reason to ask others.
const SHORTEST_WAIT: Duration = Duration::from_millis(300);
const LONGEST_WAIT: Duration = Duration::from_millis(1500);
/// Until there is a round trip to go by.
const FIRST_WAIT: Duration = Duration::from_millis(700);

/// One server.
#[derive(Clone, Debug)]
struct Upstream {
    address: SocketAddr,
    round_trip: Option<RoundTrip>,
    /// Questions without an answer, one after the other.
    silent: u32,
    /// When it is to be asked beside the first again.
    trial: Moment,
    /// It does not keep the spelling of names, as has been seen over TCP.
    respells: bool,
}

/// Mean and mean deviation (RFC 6298, section 2).
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    mean: Duration,
    deviation: Duration,
}

/// All of them.
#[derive(Clone, Default, Debug)]
pub struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// These, in the order in which they are preferred as long as nothing is known; [`MAX_UPSTREAMS`] of them at most,
    /// and each once. What is known of one that was there before is kept. Returns whether any is new or has gone.
    pub fn replace(&mut self, addresses: &[SocketAddr]) -> bool {
        let mut upstreams: Vec<Upstream> = Vec::new();
        for address in addresses {
            if upstreams.len() == MAX_UPSTREAMS || upstreams.iter().any(|other| other.address == *address) {
                continue;
            }
            let known = self.0.iter().find(|known| known.address == *address).cloned();
            upstreams.push(known.unwrap_or(Upstream {
                address: *address,
                round_trip: None,
                silent: 0,
                trial: Moment(0),
                respells: false,
            }));
        }
        let before = std::mem::replace(&mut self.0, upstreams);
        let is_there = |upstream: &Upstream| self.find(upstream.address).is_some();
        before.len() != self.0.len() || !before.iter().all(is_there)
    }

    /// Whom to ask, the best first. `in_house`: only those at addresses that mean something in one house only.
    pub fn order(&self, in_house: bool) -> Vec<SocketAddr> {
        let usable = self.0.iter().filter(|upstream| !in_house || is_private(upstream.address.ip()));
        let mut order: Vec<&Upstream> = usable.collect();
        // Stable: those of whom nothing is known stay in the order that they were written in.
        order.sort_by_key(|upstream| {
            let mean = upstream.round_trip.map_or(Duration::MAX, |round_trip| round_trip.mean);
            (upstream.silent >= TOLERATED, mean)
        });
        order.into_iter().map(|upstream| upstream.address).collect()
    }

    /// One of these that is to be asked beside the first, if it is time for one.
    pub fn trial(&mut self, order: &[SocketAddr], now: Moment) -> Option<SocketAddr> {
        let others = order.get(1..)?;
        let due = |upstream: &&mut Upstream| upstream.trial <= now && others.contains(&upstream.address);
        let upstream = self.0.iter_mut().find(due)?;
        upstream.trial = now.after(TRIAL);
        Some(upstream.address)
    }

    /// It has just been asked, so that there is no need for a trial.
    pub fn is_asked(&mut self, address: SocketAddr, now: Moment) {
        if let Some(upstream) = self.find_mut(address) {
            upstream.trial = now.after(TRIAL);
        }
    }

    /// How long to wait for a server before another is asked, too.
    pub fn wait(&self, address: SocketAddr) -> Duration {
        let round_trip = self.find(address).and_then(|upstream| upstream.round_trip);
        round_trip.map_or(FIRST_WAIT, |RoundTrip { mean, deviation }| {
            (mean + 4 * deviation).clamp(SHORTEST_WAIT, LONGEST_WAIT)
        })
    }

    /// Whether the server changes how names are spelt.
    pub fn respells(&self, address: SocketAddr) -> bool {
        self.find(address).is_some_and(|upstream| upstream.respells)
    }

    /// It has been seen to, where nobody else can have answered in its place.
    pub fn has_respelt(&mut self, address: SocketAddr) {
        if let Some(upstream) = self.find_mut(address) {
            upstream.respells = true;
        }
    }

    /// The server has answered within that time.
    pub fn has_answered(&mut self, address: SocketAddr, within: Duration) {
        let Some(upstream) = self.find_mut(address) else { return };
        upstream.silent = 0;
        upstream.round_trip = Some(match upstream.round_trip {
            None => RoundTrip { mean: within, deviation: within / 2 },
            Some(RoundTrip { mean, deviation }) => RoundTrip {
                mean: (7 * mean + within) / 8,
                deviation: (3 * deviation + mean.abs_diff(within)) / 4,
            },
        });
    }

    /// The server has not answered in time.
    pub fn is_silent(&mut self, address: SocketAddr) {
        if let Some(upstream) = self.find_mut(address) {
            upstream.silent = upstream.silent.saturating_add(1);
        }
    }

    /// The server does not do what it is there for, or cannot be reached: it is asked when the others have not answered.
    pub fn is_useless(&mut self, address: SocketAddr) {
        if let Some(upstream) = self.find_mut(address) {
            upstream.silent = upstream.silent.max(TOLERATED);
        }
    }

    fn find(&self, address: SocketAddr) -> Option<&Upstream> {
        self.0.iter().find(|upstream| upstream.address == address)
    }

    fn find_mut(&mut self, address: SocketAddr) -> Option<&mut Upstream> {
        self.0.iter_mut().find(|upstream| upstream.address == address)
    }
}

/// Whether the address means something in one house only.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

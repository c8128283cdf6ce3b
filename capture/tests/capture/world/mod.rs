//! A small network with a virtual clock: clients with ordinary retransmission, a bridge, guests that boot in random
//! times, fail, crash and are stopped, and a driver as the real one has to be, with delays between all its steps.
//!
//! Both ways of delivering are tried: through the tap, once the bridge sends the guest's frames to its vif
//! ([`Way::Tap`]), and straight to the vif, before that ([`Way::Vif`]).

mod driver;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::IpAddr;

use capture::{Capture, Counters, Fate, Limits, Moment, ServiceId};

use crate::build::*;

/// How held frames get to a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Tap,
    Vif,
}

/// Where the bridge sends a service's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fdb {
    Tap,
    Vif,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    /// A client sends its SYN for the nth time, or its nth datagram.
    Send { client: usize, nth: usize },
    /// The driver reads a frame from the tap.
    TapRead,
    /// A timer of the capture.
    Timer,
    /// Something of a service, in one of its lives.
    Of { service: usize, life: u32, step: driver::Step },
}

/// Transmissions of a SYN, ms after the first: the first ones of RFC 6298.
const TRIES: [u64; 6] = [0, 1000, 3000, 7000, 15_000, 31_000];

/// Datagrams of a client that sends some.
const DATAGRAMS: usize = 12;

struct Client {
    udp: bool,
    service: usize,
    /// What became of each transmission that the capture has seen, or of the guest's if it went there.
    fates: Vec<Outcome>,
    /// The transmission that the guest has accepted; numbers of datagrams in the order in which they came.
    got: Vec<usize>,
    refused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Captured(Fate),
    /// The bridge gave it to the guest.
    Direct,
    /// The bridge gave it to a guest that was dead.
    Dead,
}

/// What is known when all is over.
#[derive(Default, Debug)]
pub struct Tally {
    pub clients: usize,
    pub refused: usize,
    pub lost_to_the_dead: usize,
    /// How often a frame in which phase had which fate.
    pub seen: BTreeMap<(String, String), u64>,
}

struct World {
    random: Random,
    way: Way,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    capture: Capture,
    services: Vec<driver::Service>,
    clients: Vec<Client>,
    /// Frames in the tap, and which client each is from.
    tap: VecDeque<(Vec<u8>, usize)>,
    reading: bool,
    timer: Option<u64>,
    tally: Tally,
}

/// Runs one world to its end and checks it.
pub fn run(seed: u64, way: Way) -> Tally {
    let mut random = Random(seed);
    let count = 1 + random.below(3) as u8;
    let mut world = World {
        way,
        now: 0,
        events: BinaryHeap::new(),
        scheduled: 0,
        capture: captured(count, Limits::default()),
        services: (0..count).map(|_| driver::Service::new()).collect(),
        clients: Vec::new(),
        tap: VecDeque::new(),
        reading: false,
        timer: None,
        tally: Tally::default(),
        random,
    };
    for _ in 0..6 {
        let at = world.random.below(8_000_000);
        let service = world.random.below(count.into()) as usize;
        world.client(at, service);
    }
    if world.random.below(2) == 0 {
        world.named(world.random.0 % 5_000_000, 0);
    }
    world.run();
    world.check();
    world.tally
}

impl World {
    fn after(&mut self, us: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((self.now + us, self.scheduled, event)));
    }

    /// Somewhere between these, in µs.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.random.below(most - least + 1)
    }

    /// A new client that begins so many µs from now.
    fn client(&mut self, after: u64, service: usize) {
        let client = self.clients.len();
        let udp = self.random.below(4) == 0;
        self.clients.push(Client { udp, service, fates: Vec::new(), got: Vec::new(), refused: false });
        if udp {
            let gap = self.between(1_000, 20_000);
            for nth in 0..DATAGRAMS {
                self.after(after + gap * nth as u64, Event::Send { client, nth });
            }
        } else {
            for (nth, ms) in TRIES.into_iter().enumerate() {
                self.after(after + ms * 1000, Event::Send { client, nth });
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment(self.now * 1000)
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            match event {
                Event::Send { client, nth } => self.send(client, nth),
                Event::TapRead => self.read_tap(),
                Event::Timer => {
                    self.timer = None;
                    self.with_capture(|capture, now, log| capture.advance(now, log));
                }
                Event::Of { service, life, step } => self.step(service, life, step),
            }
            self.arm();
        }
    }

    /// A client's frame arrives at the bridge.
    fn send(&mut self, client: usize, nth: usize) {
        let Client { udp, service, ref got, refused, .. } = self.clients[client];
        if !udp && (!got.is_empty() || refused) {
            return;
        }
        let (from, to) = (crate::build::client(client as u32), v4(service as u8));
        let frame = if udp { udp_nth(from, to, nth) } else { syn_at(from, to, client as u32, nth as u32) };
        if nth == 0 {
            self.tally.clients += 1;
        }
        match self.services[service].fdb {
            Fdb::Tap => {
                self.tap.push_back((frame, client));
                self.wake_reader();
            }
            Fdb::Vif => {
                let alive = self.services[service].alive;
                self.clients[client].fates.push(if alive { Outcome::Direct } else { Outcome::Dead });
                self.at_guest(service, &frame);
            }
        }
    }

    fn wake_reader(&mut self) {
        if !self.reading {
            self.reading = true;
            let delay = self.between(1, 60);
            self.after(delay, Event::TapRead);
        }
    }

    fn read_tap(&mut self) {
        self.reading = false;
        if let Some((frame, client)) = self.tap.pop_front() {
            let fate = self.with_capture(|capture, now, log| capture.frame(now, &frame, log));
            self.clients[client].fates.push(Outcome::Captured(fate));
            let phase = self.services[self.clients[client].service].phase;
            let phase = format!("{phase:?}").split(' ').next().unwrap_or_default().to_string();
            *self.tally.seen.entry((phase, format!("{fate:?}"))).or_default() += 1;
        }
        if !self.tap.is_empty() {
            self.wake_reader();
        }
        self.tap_read();
    }

    /// Calls the capture and does what it wants done.
    fn with_capture<T>(&mut self, call: impl FnOnce(&mut Capture, Moment, &mut Log) -> T) -> T {
        let now = self.moment();
        let mut log = Log::default();
        let result = call(&mut self.capture, now, &mut log);
        for (ServiceId(service), _) in log.summons {
            let delay = self.between(1, 200);
            self.named(delay, service.into());
        }
        for (ServiceId(service), frame) in log.delivered {
            let service = usize::from(service);
            // The bridge does not send a frame back to the port that it came from.
            let arrives = self.way == Way::Vif || self.services[service].fdb == Fdb::Vif;
            assert!(arrives, "delivered to the tap before the entry was moved");
            self.at_guest(service, &frame);
        }
        for frame in log.sent {
            self.answered(&frame);
        }
        assert_eq!(log.conflicts, []);
        result
    }

    /// A frame arrives at a guest.
    fn at_guest(&mut self, service: usize, frame: &[u8]) {
        assert_eq!(frame[..6], mac_of_service(service as u8).0);
        let (client, udp) = (number(frame[26..30].try_into().expect("four bytes")), frame[23] == 17);
        let nth = if udp { frame[42] } else { frame[69] };
        if !self.services[service].alive {
            self.tally.lost_to_the_dead += 1;
            self.services[service].lost.push(client);
        } else if udp || self.clients[client].got.is_empty() {
            self.clients[client].got.push(nth.into());
        }
    }

    /// A frame goes out to the network: in this world only to say no.
    fn answered(&mut self, frame: &[u8]) {
        assert!(matches!(frame[23], 1 | 6), "neither ICMP nor TCP: {frame:x?}");
        let client = number(frame[30..34].try_into().expect("four bytes"));
        self.clients[client].refused = true;
    }

    fn arm(&mut self) {
        let Some(next) = self.capture.next() else { return };
        let at = next.0.div_ceil(1000).max(self.now);
        if self.timer.is_none_or(|timer| at < timer) {
            self.timer = Some(at);
            self.after(at - self.now, Event::Timer);
        }
    }

    fn check(&mut self) {
        let counters = self.capture.counters();
        let Counters { replayed, evicted, expired, given_up, .. } = counters;
        assert_eq!((evicted, expired), (0, 0));
        assert_eq!(counters.fate(Fate::Held), replayed + given_up);
        for fate in Fate::ALL {
            let known = matches!(fate, Fate::Held | Fate::Again | Fate::Passed | Fate::Refused);
            assert!(known || counters.fate(fate) == 0, "{fate:?}: {counters:?}");
        }
        for (client, number) in self.clients.iter().zip(0..) {
            let Client { udp, fates, got, refused, service } = client;
            let told = format!("client {number}: {fates:?}, got {got:?}");
            let lost = self.services[*service].lost.contains(&number);
            let held = fates.iter().any(|fate| matches!(fate, Outcome::Captured(Fate::Held)));
            self.tally.refused += usize::from(*refused);
            if *udp {
                assert!(got.is_sorted_by(|a, b| a < b) || self.way == Way::Tap, "out of order, {told}");
                let passed = fates.iter().filter(|fate| **fate != Outcome::Dead).count();
                assert!(got.len() == passed || lost || *refused, "missing, {told}");
                continue;
            }
            assert!(!got.is_empty() || *refused, "never served, {told}");
            assert!(!*refused || given_up > 0 || fates.contains(&Outcome::Captured(Fate::Refused)), "{told}");
            // What was held is what was accepted: no client had to send again for want of care here.
            if let [accepted] = got[..]
                && held
                && !lost
            {
                let fate = fates[accepted];
                let kept = matches!(fate, Outcome::Captured(Fate::Held | Fate::Again));
                assert!(kept || self.way == Way::Tap && fate == Outcome::Direct, "{told}");
            }
        }
    }
}

fn udp_nth(from: std::net::SocketAddr, to: std::net::SocketAddr, nth: usize) -> Vec<u8> {
    udp(from, to, &[nth as u8, 0, 0, 0])
}

/// Which client has this address.
fn number(address: [u8; 4]) -> usize {
    let IpAddr::V4(first) = client(0).ip() else { panic!("IPv4") };
    (u32::from_be_bytes(address) - u32::from(first)) as usize
}

#[test]
fn every_connection_is_served_at_every_point_of_the_life_cycle() {
    let mut total = Tally::default();
    for seed in 0..1200 {
        let way = if seed % 2 == 0 { Way::Vif } else { Way::Tap };
        let tally = run(seed, way);
        total.clients += tally.clients;
        total.refused += tally.refused;
        total.lost_to_the_dead += tally.lost_to_the_dead;
        for (key, count) in tally.seen {
            *total.seen.entry(key).or_default() += count;
        }
    }
    println!("{total:#?}");
    for (phase, fate) in [
        ("Down", "Held"),
        ("Starting", "Held"),
        ("Starting", "Again"),
        ("Forwarding", "Passed"),
        ("Forwarding", "Held"),
        ("Stopping", "Held"),
        ("Failed", "Refused"),
        ("Failed", "Held"),
    ] {
        let count = total.seen.get(&(phase.to_string(), fate.to_string())).copied().unwrap_or(0);
        assert!(count >= 10, "{fate} in {phase}: {count} frames");
    }
    assert!(total.clients > 10_000 && total.refused > 100, "{total:?}");
}

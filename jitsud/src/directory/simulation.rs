//! A world of services that fail in every way, run by seeds: whatever the order of reports, what the module's
//! documentation promises holds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use super::tests::{BOOT_TIMEOUT, IDLE, STOP_TIMEOUT, config};
use super::*;
use crate::config::Stop;

const SERVICES: usize = 3;
const REQUESTS: u64 = 400;
/// The service that is asked to switch itself off before it is destroyed.
const GENTLE: ServiceId = ServiceId(1);
const MS: u64 = 1_000_000;

/// SplitMix64 (Steele, Lea, Flood 2014): tiny, and good enough for choosing what goes wrong.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The outside of the directory: domains, and reports under way.
struct World {
    random: Random,
    now: u64,
    /// Reports with their time and a number that keeps the order of equals.
    reports: BinaryHeap<Reverse<(u64, u64)>>,
    inputs: BTreeMap<u64, Input>,
    /// The life that has a builder at work or a domain, by service.
    alive: BTreeMap<usize, Incarnation>,
    next_domid: u16,
    open_tickets: HashSet<Ticket>,
    builds: u64,
    shutdowns: u64,
    outcomes: [u64; 4],
}

impl World {
    fn new(seed: u64) -> Self {
        World {
            random: Random(seed),
            now: 0,
            reports: BinaryHeap::new(),
            inputs: BTreeMap::new(),
            alive: BTreeMap::new(),
            next_domid: 1,
            open_tickets: HashSet::new(),
            builds: 0,
            shutdowns: 0,
            outcomes: [0; 4],
        }
    }

    fn report(&mut self, at: u64, input: Input) {
        let number = self.inputs.last_key_value().map_or(0, |(number, _)| number + 1);
        self.reports.push(Reverse((at, number)));
        self.inputs.insert(number, input);
    }

    fn soon(&mut self, milliseconds: u64) -> u64 {
        self.now + self.random.below(milliseconds * MS)
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Build { incarnation } => self.build(incarnation),
            Effect::ShutDown { incarnation, domid: _ } => {
                assert_eq!(self.alive.get(&incarnation.service.0), Some(&incarnation), "asks a stranger");
                assert_eq!(incarnation.service, GENTLE, "a service that is to be destroyed");
                // It may not listen, take too long, or not do as it was told.
                let at = self.soon(2 * STOP_TIMEOUT.as_millis() as u64);
                let deaths = [Some(Death::Poweroff), Some(Death::Poweroff), Some(Death::Crash), None];
                if let Some(death) = deaths[self.random.below(4) as usize] {
                    self.report(at, Input::Died { incarnation, death, detail: String::new() });
                }
                self.shutdowns += 1;
            }
            Effect::Destroy { incarnation, domid: _ } => {
                assert_eq!(self.alive.get(&incarnation.service.0), Some(&incarnation), "destroys a stranger");
                let at = self.soon(2000);
                let reason = "EBUSY".to_owned();
                if self.random.chance(10) {
                    self.report(at, Input::StopFailed { incarnation, reason });
                } else {
                    self.report(at, Input::Stopped { incarnation });
                }
            }
            Effect::Answer { ticket, outcome } => {
                assert!(self.open_tickets.remove(&ticket), "{ticket:?} was answered twice");
                self.outcomes[match outcome {
                    Ok(_) => 0,
                    Err(SummonError::Failed { .. }) => 1,
                    Err(SummonError::Busy) => 2,
                    Err(SummonError::ShuttingDown) => 3,
                }] += 1;
            }
        }
    }

    fn build(&mut self, incarnation: Incarnation) {
        let before = self.alive.insert(incarnation.service.0, incarnation);
        assert_eq!(before, None, "a second domain for {:?}", incarnation.service);
        self.builds += 1;
        let at = self.soon(50);
        if self.random.chance(10) {
            return self.report(at, Input::NoRoom { incarnation, reason: "no room".to_owned() });
        }
        if self.random.chance(15) {
            return self.report(at, Input::BuildFailed { incarnation, reason: "no memory".to_owned() });
        }
        let domid = DomId(self.next_domid);
        self.next_domid += 1;
        self.report(at, Input::Built { incarnation, domid });
        // The guest's reports may overtake the builder's, come too late, twice, or never.
        for _ in 0..self.random.below(3) {
            let at = match self.random.below(3) {
                0 => self.soon(40),
                1 => self.soon(500),
                _ => self.soon(BOOT_TIMEOUT.as_millis() as u64 + 2000),
            };
            self.report(at, Input::Ready { incarnation, at: Moment(at) });
        }
        if self.random.chance(40) {
            let deaths = [Death::Crash, Death::Poweroff, Death::Vanished, Death::Watchdog];
            let death = deaths[self.random.below(4) as usize];
            let longest = [60, 1000, IDLE.as_millis() as u64][self.random.below(3) as usize];
            let at = self.soon(longest);
            self.report(at, Input::Died { incarnation, death, detail: String::new() });
        }
    }

    /// Delivers what comes next; `false` when nothing will ever come.
    fn step(&mut self, directory: &mut Directory) -> bool {
        let report = self.reports.peek().map(|Reverse((at, _))| *at);
        let timer = directory.next_deadline().map(|deadline| deadline.0);
        let input = match (report, timer) {
            (None, None) => return false,
            (Some(at), timer) if timer.is_none_or(|timer| at <= timer) => {
                self.now = self.now.max(at);
                let Some(Reverse((_, number))) = self.reports.pop() else { return false };
                self.inputs.remove(&number).unwrap()
            }
            (_, timer) => {
                self.now = self.now.max(timer.unwrap());
                Input::Timer
            }
        };
        match &input {
            Input::NoRoom { incarnation, .. } => {
                self.builds -= 1;
                self.alive.remove(&incarnation.service.0);
            }
            Input::BuildFailed { incarnation, .. } | Input::Stopped { incarnation } => {
                self.alive.remove(&incarnation.service.0);
            }
            Input::Summon { ticket, .. } => assert!(self.open_tickets.insert(*ticket)),
            _ => {}
        }
        let late = subject(&input).is_some_and(|incarnation| {
            directory.entries()[incarnation.service.0].incarnation() != incarnation
        });
        let before = if late { format!("{directory:?}") } else { String::new() };
        let effects = directory.handle(Moment(self.now), input);
        if late {
            assert_eq!((effects.as_slice(), format!("{directory:?}")), (&[][..], before));
        }
        for effect in effects {
            self.execute(effect);
        }
        for (index, entry) in directory.entries().iter().enumerate() {
            assert!(entry.waiting() <= MAX_WAITING);
            let may = entry.state().phase().may_have_domain();
            assert_eq!(may, self.alive.contains_key(&index), "{:?}", entry.state());
        }
        assert!(directory.events().count() <= MAX_EVENTS);
        let due = directory.next_deadline();
        assert!(due.is_none_or(|due| report.is_some() || due.0 >= self.now), "a deadline was missed");
        true
    }
}

/// The life that a report is about.
fn subject(input: &Input) -> Option<Incarnation> {
    match input {
        Input::Built { incarnation, .. }
        | Input::BuildFailed { incarnation, .. }
        | Input::NoRoom { incarnation, .. }
        | Input::Ready { incarnation, .. }
        | Input::Died { incarnation, .. }
        | Input::Stopped { incarnation }
        | Input::StopFailed { incarnation, .. } => Some(*incarnation),
        Input::Summon { .. } | Input::Stop { .. } | Input::Shutdown | Input::Timer => None,
    }
}

#[test]
fn a_world_of_failures() {
    let (mut outcomes, mut shutdowns) = ([0; 4], 0);
    let mut config = config(SERVICES);
    config.services[GENTLE.0].stop = Stop::Shutdown { timeout: STOP_TIMEOUT };
    for seed in 0..300 {
        let mut world = World::new(seed);
        let mut directory = Directory::new(&config, Moment(0));
        // Some seeds ask often, so that queues fill; others leave time for idleness.
        let spread = [1, 1_000, 3_600_000][seed as usize % 3];
        for ticket in 0..REQUESTS {
            let at = world.soon(spread);
            let service = ServiceId(world.random.below(SERVICES as u64) as usize);
            let service = if spread == 1 { ServiceId(0) } else { service };
            let received = Moment(at);
            world.report(at, Input::Summon { service, received, ticket: Ticket(ticket) });
            if world.random.chance(2) {
                world.report(at, Input::Stop { service });
            }
        }
        let shut_down = seed % 5 == 0;
        if shut_down {
            let at = world.soon(spread);
            world.report(at, Input::Shutdown);
        }
        let mut steps = 0;
        while world.step(&mut directory) {
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: it never comes to rest");
        }
        assert!(directory.is_quiet(), "seed {seed}: {directory:?}");
        assert!(world.alive.is_empty() && world.open_tickets.is_empty(), "seed {seed}");
        let starts: u64 = directory.entries().iter().map(|entry| entry.statistics().starts).sum();
        assert_eq!(starts, world.builds, "seed {seed}");
        assert_eq!(world.outcomes.iter().sum::<u64>(), REQUESTS, "seed {seed}");
        assert!(shut_down || world.outcomes[3] == 0, "seed {seed}");
        shutdowns += world.shutdowns;
        outcomes.iter_mut().zip(world.outcomes).for_each(|(sum, count)| *sum += count);
    }
    // Every kind of outcome was seen, or this has tested nothing.
    assert!(outcomes.iter().all(|count| *count > 10), "{outcomes:?}");
    assert!(shutdowns > 10, "{shutdowns}");
}

//! The outside of the directory: a driver, Xen with too little memory, guests and their clients.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use super::{ALWAYS, GENTLE, PAUSING};
use crate::config::{Answer, Config, Start};
use crate::directory::tests::{BOOT_TIMEOUT, IDLE, STOP_TIMEOUT};
use crate::directory::*;
use crate::summoner::Warm;

pub const SERVICES: usize = 6;
const MS: u64 = 1_000_000;
/// Of memory, in pages. All services together want 75.
const MEMORY: u64 = 45;

/// SplitMix64 (Steele, Lea, Flood 2014): tiny, and good enough for choosing what goes wrong.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What is counted, to see that it has happened at all.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    pub builds: u64,
    /// By kind: in order, failed, busy, shutting down, no room, manual.
    pub outcomes: [u64; 6],
    shutdowns: u64,
    pauses: u64,
    resumes: u64,
    restores: u64,
    /// Victims of others, and who was built at last after it had waited.
    evicted: u64,
    made_room: u64,
    /// Withdrawals that were refused because of a connection, and one that was given up after it had been silent.
    connected: u64,
    dead: u64,
    too_old: u64,
    answered_at_start: u64,
    /// Answered by the front, without the directory.
    told: u64,
    always: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        self.builds += other.builds;
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, count)| *sum += count);
        self.shutdowns += other.shutdowns;
        self.pauses += other.pauses;
        self.resumes += other.resumes;
        self.restores += other.restores;
        self.evicted += other.evicted;
        self.made_room += other.made_room;
        self.connected += other.connected;
        self.dead += other.dead;
        self.too_old += other.too_old;
        self.answered_at_start += other.answered_at_start;
        self.told += other.told;
        self.always += other.always;
    }

    pub fn check(&self) {
        let Seen { builds, outcomes, shutdowns, pauses, resumes, restores, .. } = *self;
        let Seen { evicted, made_room, connected, dead, too_old, answered_at_start, told, always, .. } =
            *self;
        let counts = [
            builds,
            shutdowns,
            pauses,
            resumes,
            restores,
            evicted,
            made_room,
            connected,
            dead,
            too_old,
            answered_at_start,
            told,
            always,
        ];
        assert!(counts.iter().chain(&outcomes).all(|count| *count > 10), "{self:?}");
    }
}

/// A builder at work, or a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Life {
    incarnation: Incarnation,
    committed: bool,
    /// Its packets go to the driver.
    withdrawn: bool,
    paused: bool,
    /// The driver has been asked whether it is quiet, and has not answered.
    asked: bool,
    last: u64,
    open: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Happening {
    Report(Input),
    /// A client sends something, opens a connection, or closes one.
    Packet(usize),
    Open(usize),
    Close(Incarnation),
}

pub struct World {
    pub random: Random,
    pub now: u64,
    pub seen: Seen,
    config: Config,
    /// What will happen: its time, and a number that keeps the order of equals.
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    /// By service.
    alive: BTreeMap<usize, Life>,
    next_domid: u16,
    open_tickets: HashMap<Ticket, ServiceId>,
    /// When there was last a sign of life that the directory knows of, by service.
    signs: [u64; SERVICES],
    /// Until when answers may be cached, by service.
    cached: [u64; SERVICES],
    surveyed: bool,
    /// Who may be answered for without the directory.
    pub warm: Arc<Warm>,
}

impl World {
    pub fn new(seed: u64, config: Config) -> Self {
        World {
            random: Random(seed),
            now: 0,
            seen: Seen::default(),
            config,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            alive: BTreeMap::new(),
            next_domid: 1,
            open_tickets: HashMap::new(),
            signs: [0; SERVICES],
            cached: [0; SERVICES],
            surveyed: false,
            warm: Arc::default(),
        }
    }

    pub fn rooms(&self) -> impl Iterator<Item = Room> + use<> {
        (0..SERVICES).map(room)
    }

    pub fn report(&mut self, at: u64, input: Input) {
        self.will(at, Happening::Report(input));
    }

    fn will(&mut self, at: u64, happening: Happening) {
        let number = self.happenings.last_key_value().map_or(0, |(number, _)| number + 1);
        self.queue.push(Reverse((at, number)));
        self.happenings.insert(number, happening);
    }

    pub fn soon(&mut self, milliseconds: u64) -> u64 {
        self.now + self.random.below(milliseconds * MS)
    }

    /// What else happens around that time.
    pub fn disturb(&mut self, at: u64, service: ServiceId) {
        match self.random.below(100) {
            0..2 => self.report(at, Input::Stop { service }),
            2..10 => self.report(at, Input::Start { service }),
            10..50 => {
                for _ in 0..=self.random.below(3) {
                    let later = at + self.random.below(3 * IDLE.as_nanos() as u64);
                    self.will(later, Happening::Packet(service.0));
                }
            }
            50..90 => {
                let later = at + self.random.below(IDLE.as_nanos() as u64);
                self.will(later, Happening::Open(service.0));
            }
            _ => {}
        }
    }

    pub fn run(&mut self, directory: &mut Directory) {
        let mut steps = 0;
        while self.step(directory) {
            steps += 1;
            assert!(steps < 100_000, "it never comes to rest: {directory:?}");
        }
    }

    pub fn at_rest(&self) {
        assert!(self.alive.is_empty() && self.open_tickets.is_empty() && !self.surveyed, "{:?}", self.alive);
    }

    /// Delivers what comes next; `false` when nothing will ever come.
    fn step(&mut self, directory: &mut Directory) -> bool {
        let next = self.queue.peek().map(|Reverse((at, _))| *at);
        let timer = directory.next_deadline().map(|deadline| deadline.0);
        let happening = match (next, timer) {
            (None, None) => return false,
            (Some(at), timer) if timer.is_none_or(|timer| at <= timer) => {
                self.now = self.now.max(at);
                let Some(Reverse((_, number))) = self.queue.pop() else { return false };
                self.happenings.remove(&number).unwrap()
            }
            (_, timer) => {
                self.now = self.now.max(timer.unwrap());
                Happening::Report(Input::Timer)
            }
        };
        let Some(input) = self.become_input(happening) else { return true };
        if self.tell(&input, directory) {
            return true;
        }
        self.note(&input, directory);
        let late = subject(&input).is_some_and(|incarnation| {
            directory.entries()[incarnation.service.0].incarnation() != incarnation
        });
        if late {
            directory.take_in(Moment(self.now));
        }
        let before = if late { format!("{directory:?}") } else { String::new() };
        let effects = directory.handle(Moment(self.now), input.clone());
        if late {
            assert_eq!((effects.as_slice(), format!("{directory:?}")), (&[][..], before));
        }
        self.check_causes(&input, &effects, directory);
        for effect in effects {
            self.execute(effect, directory);
        }
        self.check_states(directory);
        let due = directory.next_deadline();
        assert!(due.is_none_or(|due| next.is_some() || due.0 >= self.now), "a deadline was missed");
        true
    }

    /// The front answers a question about who is ready, mostly.
    fn tell(&mut self, input: &Input, directory: &Directory) -> bool {
        let Input::Summon { service, .. } = *input else { return false };
        let Some(summoned) = self.warm.look(service, Moment(self.now)) else { return false };
        if self.random.chance(20) {
            return false;
        }
        let entry = &directory.entries()[service.0];
        assert_eq!((entry.state().phase(), summoned.address), (Phase::Ready, entry.service().address));
        let until = self.now + summoned.ttl.as_nanos() as u64;
        assert!(entry.service().is_woken() || entry.ends_at().is_none_or(|end| until <= end.0));
        self.warm.tell(service, Moment(self.now));
        self.signs[service.0] = self.now;
        self.cached[service.0] = self.cached[service.0].max(until);
        self.seen.told += 1;
        self.seen.outcomes[0] += 1;
        true
    }

    /// What the directory hears of it, if anything.
    fn become_input(&mut self, happening: Happening) -> Option<Input> {
        let (service, opens) = match happening {
            Happening::Report(input) => return Some(input),
            Happening::Packet(service) => (service, false),
            Happening::Open(service) => (service, true),
            Happening::Close(incarnation) => {
                let now = self.now;
                let life = self.alive.get_mut(&incarnation.service.0)?;
                // Who stands still notices nothing.
                if life.incarnation != incarnation || life.open == 0 || life.withdrawn {
                    return None;
                }
                life.open -= 1;
                life.last = now;
                return (life.open == 0).then_some(Input::Closed { incarnation, last: Moment(now) });
            }
        };
        let at = Moment(self.now);
        match self.alive.get_mut(&service).filter(|life| !life.withdrawn && life.committed) {
            Some(life) => {
                life.last = self.now;
                if opens {
                    life.open += 1;
                    let incarnation = life.incarnation;
                    // Some clients never say that they have gone.
                    if self.random.chance(80) {
                        let longest = [1000, 600_000, 10_000_000][self.random.below(3) as usize];
                        let close = self.soon(longest);
                        self.will(close, Happening::Close(incarnation));
                    }
                }
                None
            }
            None => Some(Input::Woken { service: ServiceId(service), at }),
        }
    }

    /// Keeps the books.
    fn note(&mut self, input: &Input, directory: &Directory) {
        let now = self.now;
        match input {
            Input::NoRoom { incarnation, .. } => {
                self.seen.builds -= 1;
                self.alive.remove(&incarnation.service.0);
            }
            Input::BuildFailed { incarnation, .. } | Input::Stopped { incarnation } => {
                self.alive.remove(&incarnation.service.0);
            }
            Input::Committed { incarnation } => {
                self.life(*incarnation).committed = true;
            }
            Input::Withdrawn { incarnation } | Input::Busy { incarnation, .. } => {
                if let Some(life) = self.alive.get_mut(&incarnation.service.0) {
                    life.asked = false;
                }
                if let Input::Busy { last, .. } = input {
                    self.sign(*incarnation, last.0, directory);
                }
            }
            Input::Closed { incarnation, last } => self.sign(*incarnation, last.0, directory),
            Input::Traffic(seen) => {
                self.surveyed = false;
                for traffic in seen {
                    self.sign(traffic.incarnation, traffic.last.0, directory);
                }
            }
            Input::Summon { ticket, service, .. } => {
                assert_eq!(self.open_tickets.insert(*ticket, *service), None);
                self.signs[service.0] = now;
            }
            Input::Woken { service, .. } | Input::Start { service } => self.signs[service.0] = now,
            Input::Ready { incarnation, .. } | Input::Built { incarnation, .. } => {
                let entry = &directory.entries()[incarnation.service.0];
                let gets_on = matches!(entry.state().phase(), Phase::Building | Phase::Booting);
                if entry.incarnation() == *incarnation && gets_on {
                    self.signs[incarnation.service.0] = now;
                }
            }
            _ => {}
        }
    }

    fn sign(&mut self, incarnation: Incarnation, at: u64, directory: &Directory) {
        let index = incarnation.service.0;
        if directory.entries()[index].incarnation() == incarnation {
            self.signs[index] = self.signs[index].max(at);
        }
    }

    fn life(&mut self, incarnation: Incarnation) -> &mut Life {
        let life = self.alive.get_mut(&incarnation.service.0).expect("a life");
        assert_eq!(life.incarnation, incarnation, "a stranger");
        life
    }

    /// Who is ended, and why: idleness and others' needs leave connections alone, and take the least recently used.
    fn check_causes(&mut self, input: &Input, effects: &[Effect], directory: &Directory) {
        let entry = |service: ServiceId| &directory.entries()[service.0];
        let mut victims = Vec::new();
        for effect in effects {
            let (Effect::Destroy { incarnation, .. }
            | Effect::ShutDown { incarnation, .. }
            | Effect::Pause { incarnation, .. }
            | Effect::WithdrawIfIdle { incarnation, .. }) = effect
            else {
                continue;
            };
            let ends = !matches!(effect, Effect::Pause { .. } | Effect::WithdrawIfIdle { .. });
            let now = self.now;
            let life = *self.life(*incarnation);
            let service = &self.config.services[incarnation.service.0];
            match input {
                Input::Withdrawn { .. } => {
                    assert!(life.withdrawn && life.committed);
                    assert_ne!(service.start, Start::Always);
                    if ends && life.open > 0 {
                        assert!(
                            Moment(now).since(Moment(life.last)) >= CONNECTION_LIFE,
                            "connections are cut"
                        );
                        self.seen.dead += 1;
                    }
                }
                Input::Traffic(_) => victims.push(*incarnation),
                Input::Timer if ends => {
                    let why = directory.events().last().map_or("", |event| event.why.as_str());
                    self.seen.too_old += u64::from(why.starts_with("it has been up for"));
                }
                _ => {}
            }
        }
        let Input::Traffic(seen) = input else { return };
        for victim in &victims {
            let known = seen.iter().find(|traffic| traffic.incarnation == *victim).expect("known traffic");
            let quiet = self.now - self.signs[victim.service.0];
            assert!(known.open == 0 && quiet >= QUIET_BEFORE_EVICTION.as_nanos() as u64);
            assert_ne!(self.config.services[victim.service.0].start, Start::Always);
            assert!(!self.is_promised(victim.service), "its address is cached, and packets do not start it");
            for other in seen {
                let older = self.signs[other.incarnation.service.0] < self.signs[victim.service.0];
                let state = entry(other.incarnation.service).state();
                let left =
                    matches!(state, State::Ready { watch: Watch::Quiet { .. }, .. } | State::Paused { .. });
                let service = other.incarnation.service;
                let candidate = left && other.open == 0 && service.0 < 4 && !self.is_promised(service);
                assert!(!(older && candidate), "{victim:?} goes before {other:?}");
            }
            self.seen.evicted += 1;
        }
    }

    /// Whether somebody may still have its address in a cache, and cannot start it.
    fn is_promised(&self, service: ServiceId) -> bool {
        !self.config.services[service.0].is_woken() && self.now < self.cached[service.0]
    }

    fn execute(&mut self, effect: Effect, directory: &Directory) {
        match effect {
            Effect::Build { incarnation } => self.build(incarnation, directory),
            Effect::ShutDown { incarnation, domid: _ } => {
                self.life(incarnation).withdrawn = true;
                assert_eq!(incarnation.service, GENTLE, "a service that is to be destroyed");
                // It may not listen, take too long, or not do as it was told.
                let at = self.soon(2 * STOP_TIMEOUT.as_millis() as u64);
                let deaths = [Some(Death::Poweroff), Some(Death::Poweroff), Some(Death::Crash), None];
                if let Some(death) = deaths[self.random.below(4) as usize] {
                    self.report(at, Input::Died { incarnation, death, detail: String::new() });
                }
                self.seen.shutdowns += 1;
            }
            Effect::Destroy { incarnation, domid: _ } => {
                let life = self.life(incarnation);
                (life.withdrawn, life.paused) = (true, false);
                let at = self.soon(2000);
                let reason = "EBUSY".to_owned();
                if self.random.chance(10) {
                    self.report(at, Input::StopFailed { incarnation, reason });
                } else {
                    self.report(at, Input::Stopped { incarnation });
                }
            }
            Effect::WithdrawIfIdle { incarnation, quiet_since, ignore_connections, .. } => {
                // It is slower than any driver, so that there is time for somebody to ask.
                let at = self.soon(5000);
                let life = self.life(incarnation);
                assert!(!life.asked && !life.withdrawn);
                life.asked = true;
                let (last, open) = (Moment(life.last), life.open);
                if last <= quiet_since && (open == 0 || ignore_connections) {
                    life.withdrawn = true;
                    self.report(at, Input::Withdrawn { incarnation });
                } else {
                    self.seen.connected += u64::from(open > 0);
                    self.report(at, Input::Busy { incarnation, last, open });
                }
            }
            Effect::Restore { incarnation, .. } => {
                let life = self.life(incarnation);
                assert!(life.withdrawn && !life.paused);
                life.withdrawn = false;
                self.seen.restores += 1;
            }
            Effect::Pause { incarnation, .. } => {
                let life = self.life(incarnation);
                assert!(life.withdrawn && !life.paused);
                life.paused = true;
                assert_eq!(incarnation.service, PAUSING);
                self.seen.pauses += 1;
                if self.random.chance(5) {
                    let (now, death) = (self.now, Death::Vanished);
                    self.report(now, Input::Died { incarnation, death, detail: String::new() });
                }
            }
            Effect::Resume { incarnation, .. } => {
                let life = self.life(incarnation);
                assert!(life.withdrawn && life.paused);
                (life.withdrawn, life.paused) = (false, false);
                self.seen.resumes += 1;
            }
            Effect::Survey => {
                assert!(!self.surveyed, "a second survey");
                self.surveyed = true;
                // Packets go on while it is under way.
                let traffic = |life: &Life| Traffic {
                    incarnation: life.incarnation,
                    last: Moment(life.last),
                    open: life.open,
                };
                let seen = self.alive.values().filter(|life| life.committed).map(traffic).collect();
                let at = self.soon(5);
                self.report(at, Input::Traffic(seen));
            }
            Effect::Answer { ticket, outcome } => self.answered(ticket, &outcome, directory),
        }
    }

    fn answered(&mut self, ticket: Ticket, outcome: &Result<Summoned, SummonError>, directory: &Directory) {
        let service = self.open_tickets.remove(&ticket).expect("a ticket that is not answered twice");
        if let Ok(summoned) = outcome {
            let cached = &mut self.cached[service.0];
            *cached = (*cached).max(self.now + summoned.ttl.as_nanos() as u64);
            let life = self.alive.get(&service.0).expect("an address behind which there is something");
            let entry = &directory.entries()[service.0];
            match entry.state().phase() {
                Phase::Ready => {}
                Phase::Building | Phase::Booting => {
                    assert!(life.committed && entry.service().answer == Answer::Start);
                    self.seen.answered_at_start += 1;
                }
                phase => panic!("it is {phase}, and its address was told"),
            }
        }
        self.seen.outcomes[match outcome {
            Ok(_) => 0,
            Err(SummonError::Failed { .. }) => 1,
            Err(SummonError::Busy) => 2,
            Err(SummonError::ShuttingDown) => 3,
            Err(SummonError::NoRoom { .. }) => 4,
            Err(SummonError::Manual) => 5,
            Err(SummonError::NoInstance { .. } | SummonError::NoHost) => {
                unreachable!("there are no instances")
            }
            Err(SummonError::TooMany { .. }) => panic!("the directory knows of no clients"),
        }] += 1;
    }

    fn build(&mut self, incarnation: Incarnation, directory: &Directory) {
        let index = incarnation.service.0;
        let taken: u64 = self.alive.keys().map(|service| room(*service).pages).sum();
        let (committed, withdrawn, paused, asked) = (false, false, false, false);
        let life = Life { incarnation, committed, withdrawn, paused, asked, last: self.now, open: 0 };
        assert_eq!(self.alive.insert(index, life), None, "a second domain for {index}");
        self.seen.builds += 1;
        self.seen.always += u64::from(self.config.services[index].start == Start::Always);
        let missing = (taken + room(index).pages).saturating_sub(MEMORY);
        let now = self.now;
        let no_room = |pages| {
            let (reason, missing) = ("no room".to_owned(), Room { pages, ..Room::default() });
            Input::NoRoom { incarnation, reason, missing }
        };
        if missing > 0 {
            return self.report(now, no_room(missing));
        }
        self.seen.made_room += u64::from(directory.entries()[index].waited_for_room());
        self.report(now, Input::Committed { incarnation });
        let at = self.now + 1 + self.random.below(50 * MS);
        if self.random.chance(5) {
            return self.report(at, no_room(room(index).pages));
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
        if self.random.chance(30) {
            let deaths = [Death::Crash, Death::Poweroff, Death::Vanished, Death::Watchdog];
            let death = deaths[self.random.below(4) as usize];
            let longest = [60, 1000, IDLE.as_millis() as u64][self.random.below(3) as usize];
            let at = self.soon(longest);
            self.report(at, Input::Died { incarnation, death, detail: String::new() });
        }
    }

    /// What holds between any two inputs.
    fn check_states(&self, directory: &Directory) {
        let due = |input: fn(&Input) -> bool, of: Incarnation| {
            self.happenings.values().any(|happening| {
                matches!(happening, Happening::Report(report) if subject(report) == Some(of) && input(report))
            })
        };
        for (index, entry) in directory.entries().iter().enumerate() {
            assert!(entry.waiting() <= MAX_WAITING);
            let (state, of) = (entry.state(), entry.incarnation());
            assert_eq!(state.phase().may_have_domain(), self.alive.contains_key(&index), "{state:?}");
            let paused = self.alive.get(&index).is_some_and(|life| life.paused);
            assert_eq!(matches!(state, State::Paused { .. }), paused, "{state:?}");
            let waits = match state {
                State::Off | State::Failed { .. } | State::Paused { .. } => {
                    assert_eq!(entry.waiting(), 0, "nobody will tell them: {state:?}");
                    true
                }
                State::Building { .. } => due(
                    |input| {
                        matches!(
                            input,
                            Input::Built { .. } | Input::BuildFailed { .. } | Input::NoRoom { .. }
                        )
                    },
                    of,
                ),
                State::Ready { watch: Watch::Withdrawing(_), .. } => {
                    due(|input| matches!(input, Input::Withdrawn { .. } | Input::Busy { .. }), of)
                }
                State::Ready { watch: Watch::Never, .. } => index == ALWAYS.0,
                State::AwaitingRoom { search: Search::Survey { .. }, .. } => {
                    self.surveyed && entry.deadline().is_some()
                }
                State::AwaitingRoom { .. }
                | State::Booting { .. }
                | State::Ready { .. }
                | State::ShuttingDown { .. } => entry.deadline().is_some(),
                State::Stopping { retry, .. } => {
                    retry.is_some()
                        || due(|input| matches!(input, Input::Stopped { .. } | Input::StopFailed { .. }), of)
                }
            };
            assert!(waits, "nothing is due: {state:?}");
        }
        assert!(directory.events().count() <= MAX_EVENTS);
        check_starts(directory);
    }
}

/// Every start is under way, or has one outcome; every one that succeeded is in the histograms.
fn check_starts(directory: &Directory) {
    let (starts, entries) = (directory.starts(), directory.entries());
    let lives: u64 = entries.iter().map(|entry| entry.incarnation().number).sum();
    let starting = |entry: &&Entry| {
        matches!(entry.state().phase(), Phase::Building | Phase::AwaitingRoom | Phase::Booting)
    };
    let under_way = entries.iter().filter(starting).count() as u64;
    assert_eq!((starts.begun(), starts.under_way()), (lives, under_way));
    let (ready, built) = (starts.stage(Stage::GuestReady), starts.stage(Stage::BuildStarted));
    assert_eq!((ready.count(), built.count()), (starts.ended(Outcome::Ready), starts.ended(Outcome::Ready)));
}

fn room(service: usize) -> Room {
    Room { pages: 10 + service as u64, ..Room::default() }
}

/// The life that a report is about.
fn subject(input: &Input) -> Option<Incarnation> {
    match input {
        Input::Committed { incarnation }
        | Input::Built { incarnation, .. }
        | Input::BuildFailed { incarnation, .. }
        | Input::NoRoom { incarnation, .. }
        | Input::Ready { incarnation, .. }
        | Input::Withdrawn { incarnation }
        | Input::Busy { incarnation, .. }
        | Input::Closed { incarnation, .. }
        | Input::Died { incarnation, .. }
        | Input::Stopped { incarnation }
        | Input::Outdated { incarnation }
        | Input::StopFailed { incarnation, .. } => Some(*incarnation),
        Input::Summon { .. }
        | Input::SummonForHost { .. }
        | Input::Woken { .. }
        | Input::Start { .. }
        | Input::Traffic(_)
        | Input::Stop { .. }
        | Input::Shutdown
        | Input::Timer => None,
    }
}

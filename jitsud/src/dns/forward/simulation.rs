//! Clients, a table and servers on a bad network, with a virtual clock and a seed: datagrams are lost, late and doubled,
//! servers lie, truncate, fall silent and come back, and somebody guesses. Whatever happens, each question is answered
//! once, within [`PATIENCE`], with what the true server has said or with a failure; and nothing grows.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::cache::MAX_BYTES;
use super::core::{Asked, AttemptId, Core, Effect, MAX_WAITING, PATIENCE, Ticket, Via};
use super::numbers::Numbers;
use super::question::Question;
use super::wire;
use crate::directory::Moment;
use crate::random::Random;

const SEEDS: u64 = 150;
const STEPS: u32 = 1500;
const SERVERS: u32 = 3;

/// The data of a true answer begins like this; that of a guess does not.
const TRUE: u8 = 203;

#[derive(Clone, Copy)]
enum Server {
    Well,
    Slow,
    Silent,
    Refusing,
    Failing,
    Truncating,
    Respelling,
    Nonsense,
    Unreachable,
}

/// At which socket, and the message; `None` if the socket fails.
type Arrival = (AttemptId, Option<Vec<u8>>);

struct World {
    random: Random,
    core: Core,
    now: Moment,
    servers: HashMap<SocketAddr, Server>,
    /// What arrives when.
    arrivals: BTreeMap<(Moment, u64), Arrival>,
    serial: u64,
    /// When each who waits has asked, and what.
    waiting: HashMap<Ticket, (Moment, Question)>,
    answered: u32,
}

#[test]
fn every_question_is_answered_once_in_time_and_truly() {
    let mut answered = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
            world.check(seed);
        }
        world.pass(PATIENCE);
        assert!(world.waiting.is_empty(), "seed {seed}: {} without a reply", world.waiting.len());
        let figures = world.core.figures();
        assert_eq!((figures.waiting, figures.sockets), (0, 0), "seed {seed}");
        assert_eq!(world.core.deadline(), None, "seed {seed}");
        answered += world.answered;
    }
    // Were the network so bad that there are hardly any true answers, nothing would be shown.
    assert!(answered > SEEDS as u32 * STEPS / 4, "only {answered} true answers");
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let servers: Vec<SocketAddr> =
            (0..SERVERS).map(|last| (Ipv4Addr::new(10, 0, 0, last as u8), 53).into()).collect();
        let mut key = [0; 16];
        key.fill_with(|| random.number() as u8);
        World {
            core: Core::new(&servers, Numbers::new(&key)),
            random,
            now: Moment(1),
            servers: servers.into_iter().map(|server| (server, Server::Well)).collect(),
            arrivals: BTreeMap::new(),
            serial: 0,
            waiting: HashMap::new(),
            answered: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            ..70 => self.ask(),
            70..72 => self.change(),
            _ => {
                let milliseconds = self.random.below(120).into();
                self.pass(Duration::from_millis(milliseconds));
            }
        }
    }

    fn check(&self, seed: u64) {
        let figures = self.core.figures();
        assert!(figures.waiting <= MAX_WAITING && figures.waiting == self.waiting.len(), "seed {seed}");
        assert!(figures.sockets <= 2 * figures.waiting, "seed {seed}: {} sockets", figures.sockets);
        assert!(figures.kept_bytes <= MAX_BYTES, "seed {seed}");
        let oldest = self.waiting.values().map(|(since, _)| *since).min();
        assert!(oldest.is_none_or(|since| self.now.since(since) <= PATIENCE), "seed {seed}");
    }

    fn ask(&mut self) {
        let client =
            IpAddr::from([192, 168, 1, 1 + (self.random.below(16) * self.random.below(16) / 15) as u8]);
        // Few names and many: some are asked for by several at once.
        let name = match self.random.below(2) {
            0 => format!("\x05host{}\x07example\0", self.random.below(10)),
            _ => format!("\x06host{:02}\x07example\0", self.random.below(100)),
        };
        let mut message = (self.random.number() as u16).to_be_bytes().to_vec();
        message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(name.as_bytes());
        message.extend([0, 1, 0, 1]);
        let over_tcp = self.random.below(8) == 0;
        let question = Question::read(&message, client, over_tcp).unwrap();
        let mut effects = Vec::new();
        match self.core.ask(question.clone(), self.now, &mut effects) {
            Asked::Now(reply) => self.judge(&question, &reply),
            Asked::Later(ticket) => assert!(self.waiting.insert(ticket, (self.now, question)).is_none()),
        }
        self.take(effects);
    }

    fn change(&mut self) {
        let addresses: Vec<SocketAddr> = self.servers.keys().copied().collect();
        let mut sorted = addresses;
        sorted.sort();
        let server = sorted[self.random.below(SERVERS) as usize];
        let mood = match self.random.below(20) {
            0 => Server::Slow,
            1 => Server::Silent,
            2 => Server::Refusing,
            3 => Server::Failing,
            4 => Server::Truncating,
            5 => Server::Respelling,
            6 => Server::Nonsense,
            7 => Server::Unreachable,
            _ => Server::Well,
        };
        self.servers.insert(server, mood);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            let due = self.core.deadline();
            let arrival = self.arrivals.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = due.into_iter().chain(arrival).min().filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            let mut effects = Vec::new();
            if arrival == Some(next) {
                let (_, (attempt, message)) = self.arrivals.pop_first().unwrap();
                match message {
                    Some(message) => self.core.received(attempt, &message, self.now, &mut effects),
                    None => self.core.failed(attempt, self.now, &mut effects),
                }
            } else {
                self.core.tick(self.now, &mut effects);
            }
            self.take(effects);
        }
        self.now = end;
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open { attempt, server, via, message } => self.serve(attempt, server, via, &message),
                // What is on its way to a closed socket arrives all the same, and must do nothing.
                Effect::Close(_) => {}
                Effect::Reply(ticket, reply) => {
                    let (_, question) = self.waiting.remove(&ticket).expect("a reply that nobody waits for");
                    self.judge(&question, &reply);
                }
            }
        }
    }

    fn judge(&mut self, question: &Question, reply: &[u8]) {
        let end = wire::question_end(reply).unwrap();
        assert_eq!(reply[..2], question.id.to_be_bytes());
        assert_eq!(reply[12..end], *question.asked);
        let records = wire::walk(reply, end).unwrap();
        match (reply[3] & 0x0f, reply[2] & 2 != 0, &records[..]) {
            (0, false, [record]) => {
                assert_eq!(reply[record.data.clone()], truth(&question.asked), "a lie has come through");
                self.answered += 1;
            }
            (0, true, []) => assert!(!question.over_tcp),
            (2, false, []) => {}
            other => panic!("{other:?}"),
        }
    }

    /// What the server does about a message, and what somebody else does who has heard that there is one.
    fn serve(&mut self, attempt: AttemptId, server: SocketAddr, via: Via, message: &[u8]) {
        let mood = self.servers[&server];
        let tcp = via == Via::Tcp;
        let mut reply = message.to_vec();
        reply[2] |= 0x80;
        // Without EDNS.
        let end = wire::question_end(&reply).unwrap();
        reply.truncate(end);
        reply[11] = 0;
        let with_data = |reply: &mut Vec<u8>, data: [u8; 4]| {
            reply[7] = 1;
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
            reply.extend(data);
        };
        if !tcp && self.random.below(3) == 0 {
            for _ in 0..self.random.below(12) {
                let mut guess = reply.clone();
                // All is known but the number and the spelling.
                guess[..2].copy_from_slice(&(self.random.number() as u16 | 1).to_be_bytes());
                if guess[..2] == message[..2] {
                    continue;
                }
                with_data(&mut guess, [6, 6, 6, 6]);
                self.arrive(attempt, Some(guess), 2);
            }
        }
        let mut delay = 30;
        match mood {
            Server::Well => with_data(&mut reply, truth(&message[12..end])),
            Server::Slow => {
                with_data(&mut reply, truth(&message[12..end]));
                delay = 2500;
            }
            Server::Silent => return,
            Server::Refusing => reply[3] = 5,
            Server::Failing => reply[3] = 2,
            Server::Truncating if !tcp => reply[2] |= 2,
            Server::Truncating => with_data(&mut reply, truth(&message[12..end])),
            Server::Respelling => {
                reply[12..end - 4].make_ascii_lowercase();
                with_data(&mut reply, truth(&message[12..end]));
            }
            Server::Nonsense => {
                let cut = self.random.below(reply.len() as u32) as usize;
                reply.truncate(cut);
            }
            Server::Unreachable => return self.arrive(attempt, None, 5),
        }
        if tcp {
            // A connection loses nothing, but it may break.
            let broken = self.random.below(20) == 0;
            return self.arrive(attempt, (!broken).then_some(reply), delay * 2);
        }
        for _ in 0..[0, 1, 1, 1, 1, 1, 1, 2][self.random.below(8) as usize] {
            self.arrive(attempt, Some(reply.clone()), delay);
        }
    }

    fn arrive(&mut self, attempt: AttemptId, message: Option<Vec<u8>>, within: u32) {
        let delay = Duration::from_millis(1 + u64::from(self.random.below(within)));
        self.serial += 1;
        self.arrivals.insert((self.now.after(delay), self.serial), (attempt, message));
    }
}

/// What is true about a question.
fn truth(asked: &[u8]) -> [u8; 4] {
    let sum = asked
        .iter()
        .fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.to_ascii_lowercase().into()));
    let [high, low] = sum.to_be_bytes();
    [TRUE, 0, high, low]
}

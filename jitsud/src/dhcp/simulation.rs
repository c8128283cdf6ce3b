//! Clients and a server on a bad network, by virtual time: what holds for every seed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::DhcpMessageType;

use super::tests::{Message, read_question};
use super::*;
use crate::directory::Moment;
use crate::random::Random;

const CLIENTS: u8 = 4;

/// How long the network is bad, and how long it is good afterwards.
const BAD: Duration = Duration::from_secs(4 * 60 * 60);
const GOOD: Duration = Duration::from_secs(2 * 60 * 60);

/// The longest pause between questions, and what an exchange needs.
const RECOVERY: Duration = Duration::from_secs(70);

/// Most messages of a client in any minute. It says the most when it has to ask twice for each address that it is
/// offered and is then refused: three messages each time, about 0, 6, 16 and 34 s after the first, and a few for
/// what was before.
const PER_MINUTE: usize = 16;

const SECOND: Duration = Duration::from_secs(1);

/// A network with a server on it. What arrives, arrives in the order of time.
struct World {
    random: Random,
    now: Moment,
    clients: Vec<Client>,
    /// Replies on their way.
    replies: BTreeMap<(Moment, u32), Vec<u8>>,
    number: u32,
    /// What the server has agreed to: to whom, and until when.
    agreed: HashMap<Mac, (Ipv4Addr, Moment)>,
    said: Vec<VecDeque<Moment>>,
    bad: bool,
    expired: usize,
    leased: usize,
}

fn mac(client: usize) -> Mac {
    Mac([0x00, 0x16, 0x3e, 0, 0, client as u8])
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let client = |number: u8| Identity { mac: mac(number.into()), name: format!("s{number}") };
        let clients = (0..CLIENTS).map(client).collect::<Vec<_>>();
        let clients = clients.into_iter().map(|who| Client::new(who, Moment(0), &mut random)).collect();
        World {
            random,
            now: Moment(0),
            clients,
            replies: BTreeMap::new(),
            number: 0,
            agreed: HashMap::new(),
            said: vec![VecDeque::new(); CLIENTS.into()],
            bad: true,
            expired: 0,
            leased: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.bad && self.random.below(100) < percent
    }

    fn run(&mut self, until: Moment) {
        loop {
            let timer = self.clients.iter().map(Client::deadline).min().unwrap();
            let arrival = self.replies.keys().next().copied();
            let next = arrival.map_or(timer, |(at, _)| at.min(timer));
            if next > until {
                self.now = until;
                return;
            }
            self.now = next.max(self.now);
            if let Some(key) = arrival.filter(|(at, _)| *at <= self.now) {
                let bytes = self.replies.remove(&key).unwrap();
                if let Some(reply) = Reply::parse(&bytes) {
                    for client in 0..self.clients.len() {
                        let output = self.clients[client].receive(self.now, &reply, &mut self.random);
                        self.carry_out(client, output);
                    }
                }
            } else {
                for client in 0..self.clients.len() {
                    let output = self.clients[client].timer(self.now, &mut self.random);
                    self.carry_out(client, output);
                }
            }
        }
    }

    fn carry_out(&mut self, client: usize, output: Output) {
        match output.event {
            Some(Event::Leased(lease)) => {
                let agreed = self.agreed.get(&mac(client)).map(|(address, _)| *address);
                assert_eq!(Some(lease.addressing.address), agreed, "nobody has agreed to that");
                self.leased += 1;
            }
            Some(Event::Expired) => self.expired += 1,
            Some(Event::Refused) | None => {}
        }
        let Some(question) = output.send else { return };
        let said = &mut self.said[client];
        said.push_back(self.now);
        while said.front().is_some_and(|at| self.now.since(*at) > 60 * SECOND) {
            said.pop_front();
        }
        assert!(said.len() <= PER_MINUTE, "{} messages in a minute", said.len());
        if !self.chance(40) {
            self.serve(client, &question);
        }
        if self.chance(20) {
            self.attack(client, &question);
        }
    }

    /// What the server makes of a question.
    fn serve(&mut self, client: usize, question: &[u8]) {
        let (kind, xid, wish, server) = read_question(question);
        let own = Ipv4Addr::new(192, 168, 7, 1);
        if server.is_some_and(|server| server != own) {
            return;
        }
        // After a refusal, the address is another one.
        let third = if self.chance(10) { 8 } else { 7 };
        let address = match wish {
            Some(wish) if kind == DhcpMessageType::Request => wish,
            _ => Ipv4Addr::new(192, 168, third, 20 + client as u8),
        };
        let reply = match kind {
            DhcpMessageType::Discover => 2,
            _ if self.chance(20) => 6,
            _ => {
                self.agreed.insert(mac(client), (address, self.now));
                5
            }
        };
        let message = Message::new(reply, xid).at(28, &mac(client).0).at(16, &address.octets());
        let bytes = message.with(51, &600_u32.to_be_bytes()).bytes();
        if self.chance(10) {
            self.send(bytes.clone());
        }
        self.send(bytes);
    }

    /// Replies that nobody should make anything of: cut, with other bits, for others, of other servers.
    fn attack(&mut self, client: usize, question: &[u8]) {
        let (_, xid, ..) = read_question(question);
        let kind = [2, 5, 6][self.random.below(3) as usize];
        let message = Message::new(kind, xid).at(28, &mac(client).0);
        let mut bytes = match self.random.below(4) {
            // With a wrong number, nothing in it counts.
            0 => message.at(4, &(xid ^ 0x8000).to_be_bytes()).bytes(),
            // For a client that is not there, or one that did not ask this.
            1 => message.at(33, &[(client as u8 + 1) % (CLIENTS + 2)]).bytes(),
            2 => message.with(54, &[10, 0, 0, 1]).with(53, &[5]).at(16, &[10, 0, 0, 66]).bytes(),
            _ => (0..600).map(|_| self.random.number() as u8).collect(),
        };
        let length = bytes.len() as u32 + 1;
        if self.random.below(2) == 0 {
            bytes.truncate(self.random.below(length) as usize);
        }
        self.send(bytes);
    }

    fn send(&mut self, bytes: Vec<u8>) {
        let slow = if self.chance(10) { 10_000 } else { 10 };
        let at = self.now.after(Duration::from_millis(self.random.below(slow).into()));
        self.number += 1;
        self.replies.insert((at, self.number), bytes);
    }
}

#[test]
fn on_a_bad_network_nobody_shouts_and_on_a_good_one_everybody_has_a_lease() {
    let mut leased = 0;
    let mut expired = 0;
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.run(Moment(0).after(BAD));
        leased += world.leased;
        expired += world.expired;

        world.bad = false;
        // Whoever is prolonging a lease may wait for as long as that runs.
        let recovered = world.now.after(Duration::from_secs(600) + RECOVERY);
        world.run(recovered);
        let (before, lost) = (world.leased, world.expired);
        for client in 0..world.clients.len() {
            let lease = world.clients[client].lease().unwrap_or_else(|| panic!("seed {seed}: no lease"));
            let (address, at) = world.agreed[&mac(client)];
            assert_eq!(lease.addressing.address, address, "seed {seed}");
            assert!(world.now.since(at) < Duration::from_secs(600), "seed {seed}: it has expired");
        }
        world.run(recovered.after(GOOD));
        assert_eq!(world.expired, lost, "seed {seed}: a lease was lost on a good network");
        // Every 5 minutes, for each client.
        let prolonged = world.leased - before;
        let expected = usize::from(CLIENTS) * 24;
        assert!(prolonged.abs_diff(expected) <= usize::from(CLIENTS), "seed {seed}: {prolonged} times");
    }
    assert!(leased > 10_000 && expired > 100, "not bad enough: {leased} leases, {expired} expired");
}

#[test]
fn without_a_server_a_client_says_little() {
    let mut world = World::new(1);
    world.clients.truncate(1);
    let mut messages = 0;
    while world.now < Moment(0).after(24 * 60 * 60 * SECOND) {
        world.now = world.clients[0].deadline();
        messages += usize::from(world.clients[0].timer(world.now, &mut world.random).send.is_some());
    }
    // One in 64 s.
    assert!((1300..1400).contains(&messages), "{messages}");
}

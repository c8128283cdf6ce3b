//! Clients of a server that is flooded at times, on a network that loses, delays and reorders.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use jitsu_rt_core::backlog::MOMENT;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{IpCidr, TcpControl};

use crate::link::{Cable, Card, Quality, Random};
use crate::server::{ADDRESS, CLIENT_MAC, PORT, Segment, Server, instant, parse, syn};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const QUESTION: &[u8] = b"what becomes of me?";
/// Sockets of the server.
const SOCKETS: usize = 4;

/// What a run is like. Times are in ms.
#[derive(Debug)]
struct Plan {
    quality: Quality,
    /// When forged SYNs come, and how many in 100 ms.
    flood: (u64, u64),
    rate: u64,
    /// Whether the forged sources could be neighbours.
    near: bool,
}

/// A client's connection.
struct Talk {
    handle: SocketHandle,
    port: u16,
    begins: u64,
    /// Its SYNs.
    syns: u32,
    /// When the connection was opened, for the client.
    open: Option<u64>,
    asked: bool,
    answered: bool,
    /// It was open for the client, whose answer was lost until the server had forgotten it.
    forgotten: bool,
}

/// What runs have been about.
#[derive(Default, Debug)]
struct Tally {
    served: usize,
    /// Not served.
    forgotten: usize,
    /// Those whose first SYN came in the flood, and after it.
    meanwhile: usize,
    afterwards: usize,
    /// SYNs that were sent again.
    again: u32,
    forged: u64,
}

impl Plan {
    fn new(random: &mut Random) -> Self {
        let quality = match random.below(3) {
            0 => Quality { delay: (1, 1 + random.below(40)), loss: 0 },
            1 => Quality { delay: (1, 1 + random.below(100)), loss: 6 + random.below(20) },
            _ => Quality { delay: (0, 0), loss: 0 },
        };
        let begins = random.below(3000);
        let flood = (begins, begins + random.below(8000));
        Plan { quality, flood, rate: [0, 1, 10, 40][random.below(4) as usize], near: random.below(2) == 0 }
    }

    fn forged(&self, random: &mut Random) -> Segment {
        let from = if self.near {
            [10, 0, 0, 3 + random.below(250) as u8]
        } else {
            [172, 16, random.below(256) as u8, random.below(256) as u8]
        };
        let sequence = random.below(1 << 31) as i32;
        Segment { from: from.into(), sequence, ..syn(1 + random.below(60_000) as u16) }
    }
}

impl Talk {
    fn is_over(&self) -> bool {
        self.answered || self.forgotten
    }

    fn step(&mut self, now: u64, interface: &mut Interface, socket: &mut Socket<'static>) {
        if now < self.begins || self.is_over() {
            return;
        }
        if socket.state() == State::Closed && self.syns > 0 {
            self.forgotten = true;
            return;
        }
        if socket.state() == State::Closed {
            socket.connect(interface.context(), (ADDRESS, PORT), self.port).expect("it can connect");
        }
        if self.open.is_none() && socket.may_send() {
            self.open = Some(now);
        }
        if !self.asked && socket.can_send() {
            self.asked = true;
            assert_eq!(socket.send_slice(QUESTION), Ok(QUESTION.len()));
        }
        if socket.recv_queue() == QUESTION.len() {
            let mut answer = [0; QUESTION.len()];
            assert_eq!((socket.recv_slice(&mut answer), &answer[..]), (Ok(answer.len()), QUESTION));
            self.answered = true;
            socket.close();
        }
    }
}

fn run(seed: u64) -> Tally {
    let mut random = Random(seed);
    let plan = Plan::new(&mut random);
    let mut card = Card { mtu: 1514, ..Card::default() };
    let mut config = Config::new(CLIENT_MAC.into());
    config.random_seed = random.below(u64::MAX);
    let mut interface = Interface::new(config, &mut card, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(CLIENT.into(), 24)).expect("room for one");
    });
    let mut sockets = SocketSet::new(vec![]);
    let mut talks: Vec<_> = (0..1 + random.below(6) as u16)
        .map(|number| {
            let buffer = || SocketBuffer::new(vec![0; 4096]);
            let handle = sockets.add(Socket::new(buffer(), buffer()));
            let begins = random.below(plan.flood.1 + 3000);
            let port = 60_001 + number;
            Talk {
                handle,
                port,
                begins,
                syns: 0,
                open: None,
                asked: false,
                answered: false,
                forgotten: false,
            }
        })
        .collect();
    let mut server = Server::new(seed, SOCKETS);
    let mut there = Cable::new(plan.quality, seed ^ 1);
    let mut back = Cable::new(plan.quality, seed ^ 2);
    let mut tally = Tally::default();
    let mut forge = plan.flood.0;
    let mut now = 0;
    while !talks.iter().all(Talk::is_over) {
        assert!(now < 300_000, "seed {seed}: not all are served: {plan:?}");
        card.come.extend(back.take(now));
        interface.poll(instant(now), &mut card, &mut sockets);
        for talk in &mut talks {
            talk.step(now, &mut interface, sockets.get_mut(talk.handle));
        }
        interface.poll(instant(now), &mut card, &mut sockets);
        for frame in card.sent.drain(..) {
            if let Some((_, tcp)) = parse(&frame)
                && tcp.control == TcpControl::Syn
                && let Some(talk) = talks.iter_mut().find(|talk| talk.port == tcp.src_port)
            {
                talk.syns += 1;
            }
            there.send(now, frame);
        }

        server.card.come.extend(there.take(now));
        if now >= forge && plan.rate > 0 && now < plan.flood.1 {
            // Before the clients' and behind them.
            for _ in 0..plan.rate {
                let frame = plan.forged(&mut random).frame();
                if random.below(2) == 0 {
                    server.card.come.push_back(frame);
                } else {
                    server.card.come.push_front(frame);
                }
            }
            tally.forged += plan.rate;
            forge = now + 100;
        }
        server.poll(now);
        let connected: Vec<_> = server.ports().into_iter().filter(|port| *port > 60_000).collect();
        let different: HashSet<_> = connected.iter().collect();
        assert_eq!(different.len(), connected.len(), "seed {seed}: one SYN, two connections: {plan:?}");
        for frame in std::mem::take(&mut server.card.sent) {
            match parse(&frame) {
                None => back.send(now, frame),
                Some((to, tcp)) if to == CLIENT => {
                    let talk = talks.iter().find(|talk| talk.port == tcp.dst_port);
                    // A client that has got what it wanted may be forgotten before its last segments come.
                    let over = talk.is_some_and(Talk::is_over);
                    // It was open, and what the client has answered was lost.
                    let lost = plan.quality.loss > 0 && talk.is_some_and(|talk| talk.open.is_some());
                    let may_be = tcp.control != TcpControl::Rst || over || lost;
                    assert!(may_be, "seed {seed}, {now} ms: {tcp}; {plan:?}");
                    back.send(now, frame);
                }
                Some((_, tcp)) => assert!(tcp.control == TcpControl::Syn, "{tcp}: nobody is told"),
            }
        }

        let begins = talks.iter().map(|talk| talk.begins).filter(|at| *at > now);
        let floods = (plan.rate > 0 && now < plan.flood.1).then_some(forge.max(plan.flood.0));
        let client = interface.poll_at(instant(now), &sockets);
        let client = client.map(|at| (at.total_micros() as u64).div_ceil(1000));
        let cables = [there.next(), back.next(), server.next(now), floods, client];
        now = begins.chain(cables.into_iter().flatten()).min().map_or(now + 1000, |next| next.max(now + 1));
    }
    for talk in &talks {
        let open = talk.open.expect("nobody is refused");
        if plan.quality.loss == 0 && (plan.rate == 0 || talk.begins > plan.flood.1) {
            // With as many clients as this there may be no room for one of them for a while.
            assert!(talk.syns <= 2 || talks.len() > SOCKETS, "seed {seed}: {} SYNs: {plan:?}", talk.syns);
            let late = talk.begins > plan.flood.1 + MOMENT.total_millis();
            assert!(talk.syns == 1 || !late || talks.len() > SOCKETS, "seed {seed}: a second SYN: {plan:?}");
        }
        tally.again += talk.syns - 1;
        tally.meanwhile += usize::from(plan.rate > 0 && (plan.flood.0..plan.flood.1).contains(&talk.begins));
        tally.afterwards += usize::from(plan.rate > 0 && (plan.flood.1..open).contains(&talk.begins));
    }
    tally.forgotten = talks.iter().filter(|talk| talk.forgotten).count();
    Tally { served: talks.len() - tally.forgotten, ..tally }
}

#[test]
fn no_client_is_refused() {
    let mut total = Tally::default();
    for seed in 0..1000 {
        let Tally { served, forgotten, meanwhile, afterwards, again, forged } = run(seed);
        total.served += served;
        total.forgotten += forgotten;
        total.meanwhile += meanwhile;
        total.afterwards += afterwards;
        total.again += again;
        total.forged += forged;
    }
    println!("{total:#?}");
    let Tally { served, forgotten, meanwhile, afterwards, again, forged } = total;
    assert!(served > 3000 && meanwhile > 500 && afterwards > 500, "{total:?}");
    assert!(forgotten * 500 < served, "{total:?}");
    assert!(again > 500 && forged > 100_000, "{total:?}");
}

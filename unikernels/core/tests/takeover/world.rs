//! Clients of all kinds that come before, while and after a guest takes connections over.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use handover::Record;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol, IpCidr, Ipv4Packet, TcpPacket};

use crate::guest::{Guest, IP, OFFER, PORT, byte};
use crate::link::{Cable, Card, Quality, Random};
use crate::node::{Node, Way, is_open};

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
/// A client on the guest's network, and one behind its gateway.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 7);

/// What runs have been about: connections.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    clients: usize,
    /// Reset by their clients before anybody took them over.
    reset_before: usize,
    /// Taken over: their clients had answered, or not yet.
    open: usize,
    half_open: usize,
    /// Taken over with data, as much as the window had room for, all that would come.
    with_data: usize,
    window_full: usize,
    ended: usize,
    scaled: usize,
    /// Begun after that.
    later: usize,
    /// Of clients behind the gateway.
    far: usize,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.clients += other.clients;
        self.reset_before += other.reset_before;
        self.open += other.open;
        self.half_open += other.half_open;
        self.with_data += other.with_data;
        self.window_full += other.window_full;
        self.ended += other.ended;
        self.scaled += other.scaled;
        self.later += other.later;
        self.far += other.far;
    }

    fn count(&mut self, record: &Record) {
        self.open += usize::from(is_open(record));
        self.half_open += usize::from(!is_open(record));
        self.with_data += usize::from(!record.data.is_empty());
        self.window_full += usize::from(record.data.len() == usize::from(OFFER.window));
        self.ended += usize::from(record.state == handover::State::CloseWait);
        self.scaled += usize::from(record.window_scales.is_some_and(|scales| scales.theirs > 0));
    }
}

/// One connection of a client.
struct Talk {
    handle: SocketHandle,
    port: u16,
    begins: u64,
    /// When it resets the connection, if it does.
    aborts: Option<u64>,
    /// Whether it closes when it has asked all.
    closes_early: bool,
    /// Whether it waits for answers.
    patient: bool,
    questions: Vec<(u32, u32)>,
    asked: usize,
    /// What it still wants to send.
    outgoing: Vec<u8>,
    /// Which answer comes, and how far it has come.
    answer: (usize, u32),
    done: bool,
}

/// What a run is like.
#[derive(Debug)]
struct Plan {
    quality: Quality,
    boot: u64,
    taking: (u64, u64),
    mss: u16,
    receive: usize,
    timestamps: bool,
    sack: bool,
    far: bool,
}

fn instant(now: u64) -> Instant {
    Instant::from_millis(now as i64)
}

impl Plan {
    fn new(random: &mut Random) -> Self {
        let quality = match random.below(4) {
            0 => Quality { delay: (0, 0), loss: 0 },
            1 => Quality { delay: (20, 20), loss: 0 },
            2 => Quality { delay: (1, 1 + random.below(40)), loss: 0 },
            _ => Quality { delay: (1, 1 + random.below(150)), loss: 8 + random.below(20) },
        };
        let taking = (random.below(4), random.below(4));
        Plan {
            quality,
            boot: [0, random.below(10), random.below(300), random.below(5000)][random.below(4) as usize],
            taking,
            mss: [536, 1460, 536 + random.below(925) as u16][random.below(3) as usize],
            receive: [2000, 8000, 100_000, 1_000_000][random.below(4) as usize],
            timestamps: random.below(2) == 0,
            sack: random.below(4) > 0,
            far: random.below(4) == 0,
        }
    }

    /// Whether nothing is lost, and frames stay in order.
    fn is_orderly(&self) -> bool {
        self.quality.loss == 0 && self.quality.delay.0 == self.quality.delay.1
    }

    fn talk(&self, random: &mut Random, handle: SocketHandle, port: u16) -> Talk {
        let begins = random.below(self.boot + 5) * u64::from(random.below(3) > 0);
        let questions: Vec<_> = match random.below(6) {
            // More than the window has room for.
            0 => (0..300 + random.below(300))
                .map(|_| (random.below(3) as u32, random.below(1000) as u32))
                .collect(),
            1 => vec![(60_000 + random.below(100_000) as u32, random.below(1000) as u32)],
            _ => (0..1 + random.below(4))
                .map(|_| (random.below(5000) as u32, random.below(1 << 20) as u32))
                .collect(),
        };
        Talk {
            handle,
            port,
            begins,
            aborts: (random.below(10) == 0).then(|| begins + random.below(self.boot + 400)),
            closes_early: random.below(3) == 0,
            patient: random.below(2) == 0,
            questions,
            asked: 0,
            outgoing: vec![],
            answer: (0, 0),
            done: false,
        }
    }
}

impl Talk {
    fn step(&mut self, now: u64, interface: &mut Interface, socket: &mut Socket<'static>, address: Ipv4Addr) {
        if now < self.begins || self.done {
            return;
        }
        if now == self.begins && socket.state() == State::Closed {
            let local = (address, self.port);
            socket.connect(interface.context(), (IP.address, PORT), local).expect("it can connect");
        }
        if self.aborts.is_some_and(|at| now >= at) {
            socket.abort();
            self.done = true;
            return;
        }
        while let Some(question) = self.questions.get(self.asked)
            && self.outgoing.len() < 4096
            && (!self.patient || self.answer.0 == self.asked)
        {
            self.asked += 1;
            self.outgoing.extend([question.0, question.1].map(u32::to_be_bytes).concat());
        }
        if socket.can_send() && !self.outgoing.is_empty() {
            let sent = socket.send_slice(&self.outgoing).expect("it can send");
            self.outgoing.drain(..sent);
        }
        let all_asked = self.asked == self.questions.len() && self.outgoing.is_empty();
        if all_asked && self.closes_early && socket.may_send() {
            socket.close();
        }
        while socket.can_recv() {
            let mut bytes = [0; 4096];
            let length = socket.recv_slice(&mut bytes).expect("it can receive");
            bytes[..length].iter().for_each(|byte| self.take(*byte));
        }
        self.skip_empty();
        if self.answer.0 == self.questions.len() {
            self.done = true;
            socket.close();
        }
        let ended = !self.done && !socket.is_open();
        assert!(!ended, "port {}: the connection has gone in the middle", self.port);
    }

    fn take(&mut self, value: u8) {
        self.skip_empty();
        let (number, place) = self.answer;
        let (_, at) = *self.questions.get(number).expect("no more than was asked for");
        assert_eq!(value, byte(at + place), "port {}: byte {place} of answer {number}", self.port);
        self.answer.1 += 1;
    }

    fn skip_empty(&mut self) {
        while let Some((many, _)) = self.questions[..self.asked].get(self.answer.0)
            && self.answer.1 == *many
        {
            self.answer = (self.answer.0 + 1, 0);
        }
    }
}

/// Port and kind of a client's frames' segments.
fn tcp_of(frame: &[u8]) -> Option<(u16, u16, TcpPacket<&[u8]>)> {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(&frame[14..]).expect("an IPv4 packet");
    assert!(ip.verify_checksum());
    let length = usize::from(ip.total_len());
    let tcp = TcpPacket::new_checked(&frame[34..14 + length]).expect("a segment");
    assert!(tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
    Some((tcp.src_port(), tcp.dst_port(), tcp))
}

fn run(seed: u64) -> Tally {
    let mut random = Random(seed);
    let plan = Plan::new(&mut random);
    let address = if plan.far { FAR } else { NEAR };
    let mut card = Card { mtu: usize::from(plan.mss) + 54, ..Card::default() };
    let mut config = Config::new(MAC.into());
    config.random_seed = random.below(u64::MAX);
    let mut interface = Interface::new(config, &mut card, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        // The one behind the gateway is the gateway, too.
        addresses.push(IpCidr::new(address.into(), if plan.far { 0 } else { 24 })).expect("room");
        addresses.push(IpCidr::new(Ipv4Addr::new(10, 0, 0, 254).into(), 24)).expect("room");
    });
    let mut sockets = SocketSet::new(vec![]);
    let mut talks: Vec<_> = (0..1 + random.below(3) as u16)
        .map(|number| {
            let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
            let mut socket = Socket::new(buffer(plan.receive), buffer(8192));
            if plan.timestamps {
                socket.set_tsval_generator(Some(|| 77));
            }
            plan.talk(&mut random, sockets.add(socket), 50_000 + number)
        })
        .collect();

    let mut node = Node::new(handover::Offer { sack: plan.sack, ..OFFER });
    let mut guest: Option<Guest> = None;
    let (mut to_node, mut to_client) =
        (Cable::new(plan.quality, seed ^ 1), Cable::new(plan.quality, seed ^ 2));
    let mut records = None;
    let mut tally = Tally { clients: talks.len(), ..Tally::default() };
    let mut seen = HashSet::new();
    let mut now = 0;
    loop {
        assert!(now < 600_000, "seed {seed}: never served: {plan:?}");
        // The client.
        card.come.extend(to_client.take(now));
        interface.poll(instant(now), &mut card, &mut sockets);
        for talk in &mut talks {
            talk.step(now, &mut interface, sockets.get_mut(talk.handle), address);
        }
        interface.poll(instant(now), &mut card, &mut sockets);
        for frame in card.sent.drain(..) {
            if let Some((port, _, tcp)) = tcp_of(&frame)
                && tcp.segment_len() > 0
                // One byte looks whether a closed window is open again.
                && tcp.payload().len() != 1
                && plan.is_orderly()
            {
                let first = seen.insert((port, tcp.seq_number().0, tcp.segment_len()));
                assert!(first, "seed {seed}: client's port {port} at {now} ms says again {tcp}; {plan:?}");
            }
            to_node.send(now, frame);
        }
        // The node and the guest, in their order.
        node.advance(now);
        to_node.take(now).into_iter().for_each(|frame| node.frame(now, frame));
        if node.way == Way::Node && now >= plan.boot {
            let handed = node.hand_over();
            handed.iter().for_each(|record| tally.count(record));
            tally.reset_before = node.reset;
            records = Some(handed);
        }
        if now >= plan.boot + plan.taking.0
            && let Some(records) = records.take()
        {
            let mut booted = Guest::new(now, seed, OFFER.connections);
            let outcome = booted.take_over(now, &records);
            assert_eq!((outcome.taken, outcome.refused), (records.len(), 0), "seed {seed}: {plan:?}");
            guest = Some(booted);
        }
        if node.way == Way::Held && now >= plan.boot + plan.taking.0 + plan.taking.1 {
            node.taken();
        }
        if let Some(guest) = &mut guest {
            guest.card.come.extend(node.to_guest.drain(..));
            guest.poll(now);
            for frame in guest.card.sent.drain(..) {
                let tcp = tcp_of(&frame);
                // With what the records say there is nobody to ask for.
                assert!(tcp.is_some() || node.way == Way::Guest, "seed {seed}: ARP at {now} ms; {plan:?}");
                if let Some((_, port, tcp)) = tcp
                    && tcp.segment_len() > 0
                    && plan.is_orderly()
                {
                    let first = seen.insert((port, tcp.seq_number().0, tcp.segment_len()));
                    assert!(first, "seed {seed}: the guest says again {tcp}; {plan:?}");
                }
                node.to_client.push(frame);
            }
        }
        for frame in node.to_client.drain(..) {
            if let Some((_, port, tcp)) = tcp_of(&frame)
                && let Some(talk) = talks.iter().find(|talk| talk.port == port)
            {
                // Both ends may have forgotten a connection when its last segments, overtaken, arrive.
                let over = talk.done || talk.aborts.is_some_and(|at| now >= at);
                assert!(!tcp.rst() || over, "seed {seed}: port {port} is reset at {now} ms: {tcp}; {plan:?}");
                assert!(tcp.payload().len() <= usize::from(plan.mss));
            }
            to_client.send(now, frame);
        }
        let done = talks.iter().all(|talk| talk.done);
        let is_over = |state: State| matches!(state, State::Listen | State::TimeWait);
        if done && guest.as_ref().is_some_and(|guest| guest.states().into_iter().all(is_over)) {
            break;
        }
        // An aborted client that nobody tells of may leave its connection open at the guest.
        if done && guest.is_some() && talks.iter().any(|talk| talk.aborts.is_some_and(|at| now > at + 30_000))
        {
            break;
        }
        now = next(now, &plan, &talks, &node, &mut guest, [&to_node, &to_client])
            .into_iter()
            .chain(
                interface.poll_at(instant(now), &sockets).map(|at| (at.total_micros() as u64).div_ceil(1000)),
            )
            .min()
            .map_or(now + 1000, |next| next.max(now + 1));
    }
    tally.later = talks.iter().filter(|talk| talk.begins > plan.boot).count();
    tally.far = if plan.far { talks.len() } else { 0 };
    tally
}

/// When something happens next.
fn next(
    now: u64,
    plan: &Plan,
    talks: &[Talk],
    node: &Node,
    guest: &mut Option<Guest>,
    cables: [&Cable; 2],
) -> Option<u64> {
    let claims = [plan.boot, plan.boot + plan.taking.0, plan.boot + plan.taking.0 + plan.taking.1];
    let plans = talks.iter().flat_map(|talk| [Some(talk.begins), talk.aborts]).flatten().chain(claims);
    let cables = cables.into_iter().filter_map(Cable::next);
    let guest = guest.as_mut().and_then(|guest| guest.next(now));
    plans.filter(|at| *at > now).chain(cables).chain(node.next()).chain(guest).min()
}

#[test]
fn no_client_notices_that_its_guest_was_not_there() {
    let mut total = Tally::default();
    for seed in 0..1500 {
        total.add(run(seed));
    }
    println!("{total:#?}");
    let Tally { clients, reset_before, open, half_open, with_data, window_full, ended, later, scaled, far } =
        total;
    assert!(clients > 2500 && far > 200, "{total:?}");
    for count in [reset_before, open, half_open, with_data, window_full, ended, later, scaled] {
        assert!(count >= 30, "{total:?}");
    }
}

//! The guest: a server that answers so many bytes as it is asked for, again and again.

use std::net::Ipv4Addr;

use handover::{Offer, Record};
use jitsu_rt_core::backlog::Backlog;
use jitsu_rt_core::ip::IpConfig;
use jitsu_rt_core::takeover::{Outcome, STACK, take_over};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::link::Card;

pub const MAC: EthernetAddress = EthernetAddress([0, 0x16, 0x3e, 0, 0, 1]);
pub const IP: IpConfig = IpConfig {
    address: Ipv4Addr::new(10, 0, 0, 1),
    prefix_len: 24,
    gateway: Some(Ipv4Addr::new(10, 0, 0, 254)),
};
pub const PORT: u16 = 80;

/// Its receive buffer, and so the window.
const RECEIVE: usize = 2048;

/// What the node promises for it.
pub const OFFER: Offer = Offer { ports: [PORT, 0, 0, 0], connections: 4, window: RECEIVE as u16, ..STACK };

/// Bytes of a question: how many bytes are wanted, and where they begin.
pub const QUESTION: usize = 8;

/// What is answered at this place.
pub fn byte(at: u32) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

pub struct Guest {
    pub card: Card,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    backlog: Backlog,
    servers: Vec<Server>,
}

struct Server {
    handle: SocketHandle,
    question: Vec<u8>,
    /// The rest of the answer.
    at: u32,
    left: u32,
}

fn instant(now: u64) -> Instant {
    Instant::from_millis(now as i64)
}

impl Guest {
    /// It has booted and listens.
    pub fn new(now: u64, seed: u64, connections: u16) -> Self {
        let mut card = Card { mtu: 1514, ..Card::default() };
        let mut config = Config::new(MAC.into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut card, instant(now));
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IP.address.into(), IP.prefix_len)).expect("room for one");
        });
        let gateway = IP.gateway.expect("a gateway");
        interface.routes_mut().add_default_ipv4_route(gateway).expect("room for one");
        let mut sockets = SocketSet::new(vec![]);
        let mut server = || {
            let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
            let mut socket = Socket::new(buffer(RECEIVE), buffer(4096));
            socket.listen(PORT).expect("a new socket");
            Server { handle: sockets.add(socket), question: vec![], at: 0, left: 0 }
        };
        let servers = (0..connections).map(|_| server()).collect();
        Guest { card, interface, sockets, backlog: Backlog::default(), servers }
    }

    pub fn take_over(&mut self, now: u64, records: &[Record]) -> Outcome {
        let outcome = take_over(records, (MAC, &IP), &mut self.interface, &mut self.sockets, instant(now));
        self.backlog.note(&self.sockets, instant(now));
        outcome
    }

    pub fn poll(&mut self, now: u64) {
        loop {
            self.backlog.ingress(instant(now), &mut self.interface, &mut self.card, &mut self.sockets);
            self.egress(now);
            for server in &mut self.servers {
                server.step(self.sockets.get_mut(server.handle));
            }
            self.egress(now);
            if !self.backlog.is_waiting() {
                break;
            }
        }
    }

    fn egress(&mut self, now: u64) {
        let Guest { interface, card, sockets, .. } = self;
        while interface.poll_egress(instant(now), card, sockets) == PollResult::SocketStateChanged {}
    }

    /// When it is to be polled next.
    pub fn next(&mut self, now: u64) -> Option<u64> {
        let network = self.interface.poll_at(instant(now), &self.sockets);
        let next = network.into_iter().chain(self.backlog.poll_at(&self.sockets)).min()?;
        Some((next.total_micros() as u64).div_ceil(1000).max(now + 1))
    }

    /// The states of its sockets.
    pub fn states(&self) -> Vec<State> {
        self.servers.iter().map(|server| self.sockets.get::<Socket<'_>>(server.handle).state()).collect()
    }
}

impl Server {
    fn step(&mut self, socket: &mut Socket<'static>) {
        if matches!(socket.state(), State::Closed) {
            socket.listen(PORT).expect("a closed socket");
            (self.question, self.left) = (vec![], 0);
        }
        loop {
            while self.left > 0 && socket.can_send() {
                let piece: Vec<u8> = (self.at..self.at + self.left.min(1000)).map(byte).collect();
                let sent = socket.send_slice(&piece).expect("it can send") as u32;
                (self.at, self.left) = (self.at + sent, self.left - sent);
            }
            if self.left > 0 || !socket.can_recv() {
                break;
            }
            let mut rest = [0; QUESTION];
            let rest = &mut rest[..QUESTION - self.question.len()];
            let length = socket.recv_slice(rest).expect("it can receive");
            self.question.extend(&rest[..length]);
            if let Some((many, at)) = self.question.split_first_chunk::<4>()
                && let Ok(at) = at.try_into()
            {
                (self.left, self.at) = (u32::from_be_bytes(*many), u32::from_be_bytes(at));
                self.question.clear();
            }
        }
        if self.left == 0 && socket.state() == State::CloseWait && !socket.can_recv() {
            socket.close();
        }
    }
}

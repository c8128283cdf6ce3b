//! The node, as far as it has to do with one service's frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use handover::{Record, State, pack, unpack};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr,
    TcpPacket, TcpRepr,
};

use crate::connection::{Connection, Next, Secrets};
use crate::guest;
use crate::moment::Moment;

/// Where frames for the service go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The node answers: there is no guest.
    Node,
    /// They are held: the guest is taking connections over.
    Held,
    /// To the guest.
    Guest,
}

pub struct Node {
    pub way: Way,
    offer: handover::Offer,
    connections: BTreeMap<SocketAddr, Connection>,
    held: Vec<Vec<u8>>,
    pub to_client: Vec<Vec<u8>>,
    pub to_guest: Vec<Vec<u8>>,
    /// Connections that clients have reset.
    pub reset: usize,
}

fn moment(now: u64) -> Moment {
    Moment(now * 1_000_000)
}

impl Node {
    pub fn new(offer: handover::Offer) -> Self {
        Node {
            way: Way::Node,
            offer,
            connections: BTreeMap::new(),
            held: vec![],
            to_client: vec![],
            to_guest: vec![],
            reset: 0,
        }
    }

    /// A frame has come from a client.
    pub fn frame(&mut self, now: u64, frame: Vec<u8>) {
        let ethernet = EthernetFrame::new_checked(&frame[..]).expect("a frame");
        match (self.way, ethernet.ethertype()) {
            // A client behind a router: it is the router that asks, and not by the client's address.
            (Way::Guest, EthernetProtocol::Arp) if frame[28] == 192 => self.answer_arp(&frame),
            (Way::Guest, _) => self.to_guest.push(frame),
            (_, EthernetProtocol::Arp) if ethernet.dst_addr().is_broadcast() => self.answer_arp(&frame),
            // As with the real one: an answer to the guest's question does not find it.
            (_, EthernetProtocol::Arp) => {}
            (Way::Held, _) => self.held.push(frame),
            (Way::Node, _) => self.segment(now, &frame),
        }
    }

    fn answer_arp(&mut self, question: &[u8]) {
        let mut answer = question.to_vec();
        answer[21] = 2;
        answer.copy_within(6..12, 0);
        answer[6..12].copy_from_slice(&guest::MAC.0);
        answer.copy_within(22..32, 32);
        answer[22..28].copy_from_slice(&guest::MAC.0);
        answer[28..32].copy_from_slice(&guest::IP.address.octets());
        if question[38..42] == guest::IP.address.octets() {
            self.to_client.push(answer);
        }
    }

    fn segment(&mut self, now: u64, frame: &[u8]) {
        let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
        let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("an IPv4 packet");
        let tcp = TcpPacket::new_checked(ip.payload()).expect("a segment");
        let remote: SocketAddr = (ip.src_addr(), tcp.src_port()).into();
        let local: SocketAddr = (ip.dst_addr(), tcp.dst_port()).into();
        if let Some(connection) = self.connections.get_mut(&remote) {
            match connection.segment(&tcp) {
                Next::Quiet => {}
                Next::Reply => self.reply(now, remote),
                Next::Gone => {
                    self.reset += 1;
                    self.connections.remove(&remote);
                }
                Next::Reset(_) => panic!("a client acknowledges what was never sent"),
            }
        } else if tcp.syn() && !tcp.ack() {
            let iss = remote.port().into();
            let secrets = Secrets { iss: u32::wrapping_mul(iss, 0x9e37_79b9), timestamp_offset: 7 };
            let ends = (ethernet.src_addr(), remote, local);
            let opened = Connection::open(moment(now), 0, ends, &tcp, secrets, &self.offer);
            self.connections.extend(opened.map(|connection| (remote, connection)));
            self.reply(now, remote);
        }
    }

    /// Time has passed.
    pub fn advance(&mut self, now: u64) {
        let due = |connection: &Connection| connection.timer.is_some_and(|at| at <= moment(now));
        let due: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| due(connection))
            .map(|(remote, _)| *remote)
            .collect();
        for remote in due {
            match self.connections.get_mut(&remote).map(|connection| connection.timer(moment(now))) {
                Some(Next::Reply) => self.reply(now, remote),
                Some(Next::Gone) => _ = self.connections.remove(&remote),
                _ => {}
            }
        }
    }

    pub fn next(&self) -> Option<u64> {
        let timers = self.connections.values().filter_map(|connection| connection.timer);
        timers.min().map(|at| at.0.div_ceil(1_000_000))
    }

    fn reply(&mut self, now: u64, remote: SocketAddr) {
        let connection = &self.connections[&remote];
        let segment = connection.reply(moment(now));
        self.to_client.push(frame(connection.mac, &connection.record, &segment));
    }

    /// The guest claims its address: its connections, by way of XenStore's values.
    pub fn hand_over(&mut self) -> Vec<Record> {
        self.way = Way::Held;
        let connections = std::mem::take(&mut self.connections);
        let records: Vec<_> = connections.into_values().map(|connection| connection.record).collect();
        let (mut values, packed) = pack(&records);
        assert_eq!(packed, records.len());
        if records.is_empty() {
            return records;
        }
        values[0].remove(0);
        unpack(&values.concat()).expect("records")
    }

    /// The guest has them.
    pub fn taken(&mut self) {
        self.way = Way::Guest;
        self.to_guest.append(&mut self.held);
    }
}

/// A frame with a segment of the service's end.
pub fn frame(to: EthernetAddress, record: &Record, segment: &TcpRepr<'_>) -> Vec<u8> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (record.local, record.remote) else {
        panic!("IPv4")
    };
    let ip = Ipv4Repr {
        src_addr: *local.ip(),
        dst_addr: *remote.ip(),
        next_header: IpProtocol::Tcp,
        payload_len: segment.buffer_len(),
        hop_limit: 64,
    };
    let mut frame = vec![0; 34 + segment.buffer_len()];
    EthernetRepr { src_addr: guest::MAC, dst_addr: to, ethertype: EthernetProtocol::Ipv4 }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &Default::default());
    let mut tcp = TcpPacket::new_unchecked(&mut frame[34..]);
    segment.emit(&mut tcp, &ip.src_addr.into(), &ip.dst_addr.into(), &Default::default());
    frame
}

/// Whether a record is of a connection whose client has answered.
pub fn is_open(record: &Record) -> bool {
    record.state != State::SynReceived
}

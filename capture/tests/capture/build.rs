//! Frames as hosts on the link send them, and a sink that writes everything down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use capture::{Capture, EthernetAddress, Limits, Moment, Record, Service, ServiceId, Sink};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet,
    Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr, NdiscRepr, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber, TcpTimestampRepr, UdpPacket, UdpRepr,
};

pub const KEY: capture::Key = *b"sixteen bytes ok";

/// Checksums that are filled in.
fn caps() -> ChecksumCapabilities {
    ChecksumCapabilities::default()
}

pub fn ms(ms: u64) -> Moment {
    Moment(ms * 1_000_000)
}

/// Service `n`: 10.0.1.n and fd00::1:n.
pub fn service(n: u8) -> Service {
    Service::new(mac_of_service(n), [v4(n).ip(), v6(n).ip()])
}

pub fn mac_of_service(n: u8) -> EthernetAddress {
    EthernetAddress([0, 0x16, 0x3e, 0, 1, n])
}

/// Port 80 of service `n`.
pub fn v4(n: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 1, n), 80).into()
}

pub fn v6(n: u8) -> SocketAddr {
    (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n.into()), 80).into()
}

/// A client's port 40000.
pub fn client(n: u32) -> SocketAddr {
    (Ipv4Addr::from(0x0a10_0000 + n), 40000).into()
}

pub fn client6(n: u16) -> SocketAddr {
    (Ipv6Addr::new(0xfd00, 0, 0, n, 0, 0, 2, 1), 40000).into()
}

pub fn captured(count: u8, limits: Limits) -> Capture {
    Capture::new((0..count).map(service).collect(), limits, KEY).expect("good services")
}

/// The link address of whoever has this IP address.
pub fn mac_of(address: IpAddr) -> EthernetAddress {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [10, 0, 1, n] => mac_of_service(n),
            [_, b, c, d] => EthernetAddress([2, 0, 0, b, c, d]),
        },
        IpAddr::V6(address) => match address.segments() {
            [0xfd00, 0, 0, 0, 0, 0, 1, n] => mac_of_service(n as u8),
            [_, _, _, n, .., m] => EthernetAddress([2, 0, 6, (n >> 8) as u8, n as u8, m as u8]),
        },
    }
}

/// A frame with an IP packet whose payload `emit` writes.
pub fn packet(
    from: IpAddr,
    to: IpAddr,
    protocol: IpProtocol,
    length: usize,
    hops: u8,
    emit: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let ip = IpRepr::new(from.into(), to.into(), protocol, length, hops);
    let mut frame = vec![0; 14 + ip.header_len() + length];
    let ethertype = if from.is_ipv4() { EthernetProtocol::Ipv4 } else { EthernetProtocol::Ipv6 };
    EthernetRepr { src_addr: mac_of(from), dst_addr: mac_of(to), ethertype }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    ip.emit(&mut frame[14..], &caps());
    emit(&mut frame[14 + ip.header_len()..]);
    frame
}

pub fn tcp(from: SocketAddr, to: SocketAddr, repr: &TcpRepr<'_>) -> Vec<u8> {
    packet(from.ip(), to.ip(), IpProtocol::Tcp, repr.buffer_len(), 64, |payload| {
        let mut packet = TcpPacket::new_unchecked(payload);
        repr.emit(&mut packet, &from.ip().into(), &to.ip().into(), &caps());
    })
}

/// A segment with nothing set but these.
pub fn plain(
    from: SocketAddr,
    to: SocketAddr,
    control: TcpControl,
    seq: u32,
    ack: Option<u32>,
) -> TcpRepr<'static> {
    TcpRepr {
        src_port: from.port(),
        dst_port: to.port(),
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
        window_len: 64240,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

/// A SYN as Linux sends it; `tsval` tells one transmission from another.
pub fn syn_at(from: SocketAddr, to: SocketAddr, seq: u32, tsval: u32) -> Vec<u8> {
    let repr = TcpRepr {
        window_scale: Some(7),
        max_seg_size: Some(1460),
        sack_permitted: true,
        timestamp: Some(TcpTimestampRepr::new(tsval, 0)),
        ..plain(from, to, TcpControl::Syn, seq, None)
    };
    tcp(from, to, &repr)
}

pub fn syn(from: SocketAddr, to: SocketAddr, seq: u32) -> Vec<u8> {
    syn_at(from, to, seq, 1)
}

pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr { src_port: from.port(), dst_port: to.port() };
    packet(from.ip(), to.ip(), IpProtocol::Udp, 8 + payload.len(), 64, |bytes| {
        let mut packet = UdpPacket::new_unchecked(bytes);
        let emit = |bytes: &mut [u8]| bytes.copy_from_slice(payload);
        repr.emit(&mut packet, &from.ip().into(), &to.ip().into(), payload.len(), emit, &caps());
    })
}

pub fn ping(from: IpAddr, to: IpAddr, seq_no: u16) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let repr = Icmpv6Repr::EchoRequest { ident: 7, seq_no, data: b"ping" };
            packet(from, to, IpProtocol::Icmpv6, repr.buffer_len(), 64, |bytes| {
                repr.emit(&source, &destination, &mut Icmpv6Packet::new_unchecked(bytes), &caps());
            })
        }
        _ => {
            let repr = Icmpv4Repr::EchoRequest { ident: 7, seq_no, data: b"ping" };
            packet(from, to, IpProtocol::Icmp, repr.buffer_len(), 64, |bytes| {
                repr.emit(&mut Icmpv4Packet::new_unchecked(bytes), &caps());
            })
        }
    }
}

/// An ARP packet in a frame to `to`.
pub fn arp(
    operation: ArpOperation,
    to: EthernetAddress,
    sender_mac: EthernetAddress,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: sender_mac,
        source_protocol_addr: sender,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let mut frame = vec![0; 14 + repr.buffer_len()];
    EthernetRepr { src_addr: sender_mac, dst_addr: to, ethertype: EthernetProtocol::Arp }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    repr.emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

pub fn who_has(sender: IpAddr, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(target)) = (sender, target) else { panic!("ARP is for IPv4") };
    arp(ArpOperation::Request, EthernetAddress::BROADCAST, mac_of(sender), from, target)
}

/// Neighbour discovery from `mac`, which sends it to the link address `to`.
pub fn neighbour(
    mac: EthernetAddress,
    to: EthernetAddress,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    message: NdiscRepr<'_>,
) -> Vec<u8> {
    let repr = Icmpv6Repr::Ndisc(message);
    let mut frame =
        packet(source.into(), destination.into(), IpProtocol::Icmpv6, repr.buffer_len(), 255, |bytes| {
            repr.emit(&source, &destination, &mut Icmpv6Packet::new_unchecked(bytes), &caps());
        });
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&mac.0);
    frame
}

/// The group that hosts ask when they look for an address, and its link address.
pub fn solicited_node(target: Ipv6Addr) -> (Ipv6Addr, EthernetAddress) {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    (group, EthernetAddress([0x33, 0x33, 0xff, a, b, c]))
}

/// All that came out.
#[derive(Default, Debug)]
pub struct Log {
    pub sent: Vec<Vec<u8>>,
    pub delivered: Vec<(ServiceId, Vec<u8>)>,
    pub summons: Vec<(ServiceId, IpAddr)>,
    pub conflicts: Vec<(ServiceId, IpAddr, EthernetAddress)>,
    pub kept: Vec<Record>,
}

impl Sink for Log {
    fn send(&mut self, frame: &[u8]) {
        self.sent.push(frame.to_vec());
    }

    fn deliver(&mut self, service: ServiceId, frame: &[u8]) {
        self.delivered.push((service, frame.to_vec()));
    }

    fn summon(&mut self, service: ServiceId, source: IpAddr) {
        self.summons.push((service, source));
    }

    fn conflict(&mut self, service: ServiceId, address: IpAddr, mac: EthernetAddress) {
        self.conflicts.push((service, address, mac));
    }

    fn kept(&mut self, record: &Record) {
        self.kept.push(record.clone());
    }
}

impl Log {
    /// The frames delivered, whoever to, and forgets them.
    pub fn take_delivered(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.delivered).into_iter().map(|(_, frame)| frame).collect()
    }
}

/// Knuth's MMIX generator; a seed tells all.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

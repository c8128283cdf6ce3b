//! Going on with connections that the node has opened on this guest's behalf (the crate `handover`).
//!
//! smoltcp cannot make a socket that is connected from the start. But a listening one gets there by the client's
//! segments, and a connection's record says what these were: they are played to it once more ([`replay`]). Then it is
//! a socket as any other, and nothing is left of how it came about: connections that were taken over cost no more
//! than others, and others nothing at all.
//!
//! The client's link address is learned too. To ask for it would take a second: the answer would not come here as long
//! as the address is not this guest's, and smoltcp asks once in a second.

mod replay;
mod seed;

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use handover::{MOST_PORTS, Offer, Record, State};
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{AnySocket, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use self::replay::Stage;
use crate::ip::IpConfig;

/// What smoltcp's sockets are like on Ethernet, for a unikernel that says in its image that it takes connections over.
/// Ports, connections and window are its own: the window is what its sockets' receive buffers have room for.
pub const STACK: Offer = Offer {
    ports: [0; MOST_PORTS],
    connections: 0,
    // The headers of IPv4 and of TCP have 20 bytes each.
    mss: MTU as u16 - 40,
    window: 0,
    // It scales only where a window has more than 16 bits.
    window_scale: 0,
    sack: true,
    timestamps: false,
};

/// Bytes of an IP packet on Ethernet.
const MTU: usize = 1500;

/// What has become of records.
#[derive(PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    /// Connections that sockets go on with.
    pub taken: usize,
    /// Connections that no socket was free for, or whose promises this stack cannot keep.
    pub refused: usize,
    /// What tells the clients of these, as frames.
    pub resets: Vec<Vec<u8>>,
}

/// Takes connections over by sockets that listen on their ports, open connections first.
///
/// `interface` has the address `ip` on an Ethernet device with the link address `mac`; its IP packets have at most 1500
/// bytes, and its sockets no timestamps.
pub fn take_over(
    records: &[Record],
    (mac, ip): (EthernetAddress, &IpConfig),
    interface: &mut Interface,
    sockets: &mut SocketSet<'static>,
    now: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let is_open = |record: &&Record| record.state != State::SynReceived;
    let (open, half_open): (Vec<_>, Vec<_>) = records.iter().partition(is_open);
    for record in open.into_iter().chain(half_open) {
        learn(record, (mac, ip), interface, now);
        if listener(record, ip, sockets).is_some_and(|socket| replay::replay(record, socket, now)) {
            outcome.taken += 1;
        } else {
            outcome.refused += 1;
            outcome.resets.extend(reset(record, mac));
        }
    }
    outcome
}

/// A socket that waits for a connection as this one.
fn listener<'s>(
    record: &Record,
    ip: &IpConfig,
    sockets: &'s mut SocketSet<'static>,
) -> Option<&'s mut tcp::Socket<'static>> {
    let port = record.local.port();
    let tcp = sockets.iter_mut().filter_map(|(_, socket)| tcp::Socket::downcast_mut(socket));
    let mut listening = tcp.filter(|socket| socket.is_listening() && socket.listen_endpoint().port == port);
    if record.local.ip() == ip.address { listening.next() } else { None }
}

/// Tells the interface the link address that the client is reached at.
fn learn(record: &Record, (mac, ip): (EthernetAddress, &IpConfig), interface: &mut Interface, now: Instant) {
    let IpAddr::V4(remote) = record.remote.ip() else { return };
    let theirs = EthernetAddress(record.mac);
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: theirs,
        source_protocol_addr: ip.next_hop(remote),
        target_hardware_addr: mac,
        target_protocol_addr: ip.address,
    };
    let frame = frame(theirs, mac, EthernetProtocol::Arp, arp.buffer_len(), |payload| {
        arp.emit(&mut ArpPacket::new_unchecked(payload));
    });
    let mut none = SocketSet::new(vec![]);
    interface.poll_ingress_single(now, &mut Stage::ethernet(frame), &mut none);
}

/// What tells a client that nobody goes on with its connection; nothing if it has not answered yet.
fn reset(record: &Record, mac: EthernetAddress) -> Option<Vec<u8>> {
    let (IpAddr::V4(local), IpAddr::V4(remote)) = (record.local.ip(), record.remote.ip()) else {
        return None;
    };
    if record.state == State::SynReceived {
        return None;
    }
    let tcp = TcpRepr {
        seq_number: TcpSeqNumber(record.snd_nxt as i32),
        src_port: record.local.port(),
        dst_port: record.remote.port(),
        ..segment(TcpControl::Rst)
    };
    let ip = Ipv4Repr {
        src_addr: local,
        dst_addr: remote,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let length = ip.buffer_len() + tcp.buffer_len();
    Some(frame(mac, EthernetAddress(record.mac), EthernetProtocol::Ipv4, length, |packet| {
        emit(&ip, &tcp, packet, &ChecksumCapabilities::default());
    }))
}

fn frame(
    from: EthernetAddress,
    to: EthernetAddress,
    ethertype: EthernetProtocol,
    length: usize,
    emit: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_HEADER_LEN + length];
    EthernetRepr { src_addr: from, dst_addr: to, ethertype }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    emit(&mut frame[ETHERNET_HEADER_LEN..]);
    frame
}

/// Writes a packet with a segment.
fn emit(ip: &Ipv4Repr, tcp: &TcpRepr<'_>, packet: &mut [u8], checksums: &ChecksumCapabilities) {
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut *packet), checksums);
    let mut segment = TcpPacket::new_unchecked(&mut packet[ip.buffer_len()..]);
    tcp.emit(&mut segment, &ip.src_addr.into(), &ip.dst_addr.into(), checksums);
}

/// A segment with nothing set.
fn segment(control: TcpControl) -> TcpRepr<'static> {
    TcpRepr {
        src_port: 0,
        dst_port: 0,
        control,
        seq_number: TcpSeqNumber(0),
        ack_number: None,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

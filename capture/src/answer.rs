//! Frames that are sent in a guest's stead, as bytes. Each is written into a buffer of zeros.

use std::net::{IpAddr, Ipv4Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IPV6_HEADER_LEN, IPV6_LINK_LOCAL_ALL_NODES, Icmpv4DstUnreachable, Icmpv4Message,
    Icmpv4Packet, Icmpv6DstUnreachable, Icmpv6Message, Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr,
    NdiscNeighborFlags, NdiscRepr, TcpControl, TcpPacket, TcpRepr,
};

use crate::frame::{Arp, Neighbour, Packet};

/// Room for any of them, in bytes: an ICMPv6 error is as long as the shortest MTU (RFC 4443, section 2.4 (c)).
pub(crate) const ROOM: usize = ETHERNET_HEADER_LEN + IPV6_MTU;

const IPV6_MTU: usize = 1280;

/// Longest ICMPv4 error, with its IP header (RFC 1812, section 4.3.2.3).
const ICMPV4_ERROR: usize = 576;
const IPV4_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// Hops that answers may take; what Linux and RFC 1700 have.
const HOPS: u8 = 64;

/// RFC 4861, section 7.1.
const NEIGHBOUR_HOPS: u8 = 255;

/// Who sends a frame to whom on the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub from: EthernetAddress,
    pub to: EthernetAddress,
}

/// The answer to an ARP request or probe, to the asker alone.
pub(crate) fn arp_reply<'b>(buffer: &'b mut [u8; ROOM], mac: EthernetAddress, asked: &Arp) -> &'b [u8] {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: mac,
        source_protocol_addr: asked.target,
        target_hardware_addr: asked.sender_mac,
        target_protocol_addr: asked.sender,
    };
    arp(buffer, Link { from: mac, to: asked.sender_mac }, repr)
}

/// An ARP announcement (RFC 5227, section 1.1): everybody corrects what he has cached.
pub(crate) fn arp_announcement(buffer: &mut [u8; ROOM], mac: EthernetAddress, address: Ipv4Addr) -> &[u8] {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    arp(buffer, Link { from: mac, to: EthernetAddress::BROADCAST }, repr)
}

/// The answer to a neighbour solicitation that came from `asker` (RFC 4861, section 7.2.4). Whoever makes sure that
/// nobody has the address has none yet, so that all nodes are told.
pub(crate) fn advertisement<'b>(
    buffer: &'b mut [u8; ROOM],
    mac: EthernetAddress,
    asked: &Neighbour,
    asker: EthernetAddress,
) -> &'b [u8] {
    let (to, destination, solicited) = if asked.source.is_unspecified() {
        (all_nodes(), IPV6_LINK_LOCAL_ALL_NODES, NdiscNeighborFlags::empty())
    } else {
        (asked.mac.unwrap_or(asker), asked.source, NdiscNeighborFlags::SOLICITED)
    };
    let flags = NdiscNeighborFlags::OVERRIDE | solicited;
    let advert = NdiscRepr::NeighborAdvert { flags, target_addr: asked.target, lladdr: Some(mac.into()) };
    let icmp = Icmpv6Repr::Ndisc(advert);
    let addresses = Addresses { source: asked.target.into(), destination: destination.into() };
    let hops = NEIGHBOUR_HOPS;
    ip(buffer, Link { from: mac, to }, addresses, IpProtocol::Icmpv6, hops, icmp.buffer_len(), |payload| {
        let mut packet = Icmpv6Packet::new_unchecked(payload);
        icmp.emit(&asked.target, &destination, &mut packet, &ChecksumCapabilities::default());
    })
}

/// RFC 2464, section 7, for ff02::1.
fn all_nodes() -> EthernetAddress {
    EthernetAddress([0x33, 0x33, 0, 0, 0, 1])
}

/// What a host says of a segment that belongs to no connection (RFC 9293, section 3.5.2, group 1); nothing of an
/// RST. `link` is the answer's.
pub(crate) fn reset<'b>(
    buffer: &'b mut [u8; ROOM],
    link: Link,
    about: &Packet<'_>,
    tcp: &TcpPacket<&[u8]>,
) -> Option<&'b [u8]> {
    if tcp.rst() {
        return None;
    }
    let (seq_number, ack_number) = if tcp.ack() {
        (tcp.ack_number(), None)
    } else {
        (Default::default(), Some(tcp.seq_number() + tcp.segment_len()))
    };
    let repr = TcpRepr {
        src_port: tcp.dst_port(),
        dst_port: tcp.src_port(),
        control: TcpControl::Rst,
        seq_number,
        ack_number,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    Some(segment(buffer, link, Addresses::answer(about), &repr))
}

/// A TCP segment.
pub(crate) fn segment<'b>(
    buffer: &'b mut [u8; ROOM],
    link: Link,
    addresses: Addresses,
    repr: &TcpRepr<'_>,
) -> &'b [u8] {
    ip(buffer, link, addresses, IpProtocol::Tcp, HOPS, repr.buffer_len(), |payload| {
        let (source, destination) = (addresses.source.into(), addresses.destination.into());
        let mut packet = TcpPacket::new_unchecked(payload);
        repr.emit(&mut packet, &source, &destination, &ChecksumCapabilities::default());
    })
}

/// What is out of reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OutOfReach {
    Host,
    Port,
}

/// An ICMP error with as much of the packet as it may have. `link` is the answer's.
pub(crate) fn unreachable<'b>(
    buffer: &'b mut [u8; ROOM],
    link: Link,
    about: &Packet<'_>,
    what: OutOfReach,
) -> &'b [u8] {
    let addresses = Addresses::answer(about);
    match (addresses.source, addresses.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let quoted = quote(about, IPV6_MTU - IPV6_HEADER_LEN - ICMP_HEADER);
            let length = ICMP_HEADER + quoted.len();
            ip(buffer, link, addresses, IpProtocol::Icmpv6, HOPS, length, |payload| {
                let mut icmp = Icmpv6Packet::new_unchecked(payload);
                icmp.set_msg_type(Icmpv6Message::DstUnreachable);
                icmp.set_msg_code(match what {
                    OutOfReach::Host => Icmpv6DstUnreachable::AddrUnreachable.into(),
                    OutOfReach::Port => Icmpv6DstUnreachable::PortUnreachable.into(),
                });
                icmp.payload_mut().copy_from_slice(quoted);
                icmp.fill_checksum(&source, &destination);
            })
        }
        _ => {
            let quoted = quote(about, ICMPV4_ERROR - IPV4_HEADER - ICMP_HEADER);
            let length = ICMP_HEADER + quoted.len();
            ip(buffer, link, addresses, IpProtocol::Icmp, HOPS, length, |payload| {
                let mut icmp = Icmpv4Packet::new_unchecked(payload);
                icmp.set_msg_type(Icmpv4Message::DstUnreachable);
                icmp.set_msg_code(match what {
                    OutOfReach::Host => Icmpv4DstUnreachable::HostUnreachable.into(),
                    OutOfReach::Port => Icmpv4DstUnreachable::PortUnreachable.into(),
                });
                icmp.data_mut().copy_from_slice(quoted);
                icmp.fill_checksum();
            })
        }
    }
}

fn quote<'a>(about: &Packet<'a>, most: usize) -> &'a [u8] {
    &about.bytes[..about.bytes.len().min(most)]
}

/// The IP addresses of a packet, of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl Addresses {
    /// Those of an answer to a packet.
    fn answer(to: &Packet<'_>) -> Self {
        Addresses { source: to.destination, destination: to.source }
    }
}

fn arp(buffer: &mut [u8; ROOM], link: Link, repr: ArpRepr) -> &[u8] {
    let length = ETHERNET_HEADER_LEN + repr.buffer_len();
    let frame = ethernet(&mut buffer[..length], link, EthernetProtocol::Arp);
    repr.emit(&mut ArpPacket::new_unchecked(frame));
    &buffer[..length]
}

/// A packet of so many bytes of payload, which `emit` writes. The buffer holds zeros.
fn ip(
    buffer: &mut [u8; ROOM],
    link: Link,
    addresses: Addresses,
    protocol: IpProtocol,
    hops: u8,
    length: usize,
    emit: impl FnOnce(&mut [u8]),
) -> &[u8] {
    let Addresses { source, destination } = addresses;
    let repr = IpRepr::new(source.into(), destination.into(), protocol, length, hops);
    let total = ETHERNET_HEADER_LEN + repr.header_len() + length;
    let ethertype = if source.is_ipv4() { EthernetProtocol::Ipv4 } else { EthernetProtocol::Ipv6 };
    let packet = ethernet(&mut buffer[..total], link, ethertype);
    repr.emit(&mut *packet, &ChecksumCapabilities::default());
    emit(&mut packet[repr.header_len()..]);
    &buffer[..total]
}

/// Writes the header; returns what follows it.
fn ethernet(frame: &mut [u8], link: Link, ethertype: EthernetProtocol) -> &mut [u8] {
    EthernetRepr { src_addr: link.from, dst_addr: link.to, ethertype }
        .emit(&mut EthernetFrame::new_unchecked(&mut *frame));
    &mut frame[ETHERNET_HEADER_LEN..]
}

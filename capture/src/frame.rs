//! Frames as bytes. What strangers send is checked here and nowhere else.
//!
//! A frame that is taken apart here has lengths that fit, right checksums (also of what it carries), an Ethernet
//! and an IP source that can be one host's, and no more extension headers than [`MOST_EXTENSIONS`]. Packets of
//! several fragments have no checksum that could be looked at; only their first fragment tells a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4Message,
    Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6ExtHeader, Ipv6FragmentHeader,
    Ipv6Packet, NdiscNeighborFlags, NdiscOption, NdiscOptionType, TcpPacket, UdpPacket,
};

/// Longest frame that is looked at, in bytes: an Ethernet header and 1500 bytes.
pub const LONGEST: usize = 1514;

/// Extension headers of IPv6 that are looked past; senders have use for two or three (RFC 8200, section 4.1).
const MOST_EXTENSIONS: usize = 6;

/// The header of an IPv6 extension that splits packets, in bytes (RFC 8200, section 4.5).
const FRAGMENT_HEADER: usize = 8;

/// Neighbour discovery is of the same link only if nobody has forwarded it (RFC 4861, section 7.1).
const NEVER_FORWARDED: u8 = 255;

/// Why a frame is no further looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unusable {
    /// It is of no protocol that is answered or held.
    Unknown,
    /// It contradicts its protocol.
    Malformed,
}

impl From<smoltcp::wire::Error> for Unusable {
    fn from(_: smoltcp::wire::Error) -> Self {
        Unusable::Malformed
    }
}

/// What a frame is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content<'a> {
    Arp(Arp),
    Neighbour(Neighbour),
    Packet(Packet<'a>),
}

/// An ARP packet (RFC 826) for IPv4 over Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arp {
    pub request: bool,
    pub sender_mac: EthernetAddress,
    /// Unspecified in a probe (RFC 5227, section 1.1).
    pub sender: Ipv4Addr,
    pub target: Ipv4Addr,
}

/// A neighbour solicitation or advertisement (RFC 4861, sections 4.3 and 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Neighbour {
    pub solicitation: bool,
    /// Unspecified while the sender makes sure that nobody has the address (RFC 4862, section 5.4).
    pub source: Ipv6Addr,
    pub target: Ipv6Addr,
    /// The source's or target's link-layer address option.
    pub mac: Option<EthernetAddress>,
}

/// An IP packet from one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Packet<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub kind: Kind<'a>,
    /// All of it, without what Ethernet has added to fill its shortest frame.
    pub bytes: &'a [u8],
}

/// What an IP packet carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind<'a> {
    Tcp(TcpPacket<&'a [u8]>),
    /// A datagram to this port.
    Udp(u16),
    /// An ICMP echo request.
    Echo,
    /// A part of a packet. If it is the first of a UDP datagram, the port; TCP has no use for fragments, and a SYN
    /// in pieces is meant for somebody's filter (RFC 1858).
    Fragment(Option<u16>),
    /// Anything else, ICMP's errors among it.
    Other,
}

/// The addresses and the protocol of a frame.
pub(crate) fn header(frame: &[u8]) -> Result<EthernetFrame<&[u8]>, Unusable> {
    let ethernet = EthernetFrame::new_checked(frame)?;
    if frame.len() > LONGEST || ethernet.src_addr().is_multicast() {
        return Err(Unusable::Malformed);
    }
    Ok(ethernet)
}

/// What is in a frame.
pub(crate) fn content<'a>(ethernet: &EthernetFrame<&'a [u8]>) -> Result<Content<'a>, Unusable> {
    match ethernet.ethertype() {
        EthernetProtocol::Arp => arp(ethernet.payload()),
        EthernetProtocol::Ipv4 => ipv4(ethernet.payload()),
        EthernetProtocol::Ipv6 => ipv6(ethernet.payload()),
        EthernetProtocol::Unknown(_) => Err(Unusable::Unknown),
    }
}

fn arp(bytes: &[u8]) -> Result<Content<'_>, Unusable> {
    let packet = ArpPacket::new_checked(bytes)?;
    // Other kinds of hardware and protocol are none of ours.
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: sender_mac,
        source_protocol_addr: sender,
        target_protocol_addr: target,
        ..
    }) = ArpRepr::parse(&packet)
    else {
        return Err(Unusable::Unknown);
    };
    let request = match operation {
        ArpOperation::Request => true,
        ArpOperation::Reply => false,
        ArpOperation::Unknown(_) => return Err(Unusable::Unknown),
    };
    if !sender_mac.is_unicast() || sender.is_multicast() || sender.is_broadcast() {
        return Err(Unusable::Malformed);
    }
    Ok(Content::Arp(Arp { request, sender_mac, sender, target }))
}

fn ipv4(bytes: &[u8]) -> Result<Content<'_>, Unusable> {
    let packet = Ipv4Packet::new_checked(bytes)?;
    let source = packet.src_addr();
    let one_host = !(source.octets()[0] == 0 || source.octets()[0] >= 224 || source.is_loopback());
    if packet.version() != 4 || !packet.verify_checksum() || !one_host {
        return Err(Unusable::Malformed);
    }
    let (source, destination) = (IpAddr::V4(source), IpAddr::V4(packet.dst_addr()));
    let payload = packet.payload();
    let kind = if packet.more_frags() || packet.frag_offset() != 0 {
        first_fragment(packet.next_header(), packet.frag_offset(), payload)?
    } else if packet.next_header() == IpProtocol::Icmp {
        let icmp = Icmpv4Packet::new_checked(payload)?;
        if !icmp.verify_checksum() {
            return Err(Unusable::Malformed);
        }
        if icmp.msg_type() == Icmpv4Message::EchoRequest { Kind::Echo } else { Kind::Other }
    } else {
        transport(packet.next_header(), source, destination, payload)?
    };
    let bytes = &bytes[..usize::from(packet.total_len())];
    Ok(Content::Packet(Packet { source, destination, kind, bytes }))
}

fn ipv6(bytes: &[u8]) -> Result<Content<'_>, Unusable> {
    let packet = Ipv6Packet::new_checked(bytes)?;
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    if packet.version() != 6 || source.is_multicast() {
        return Err(Unusable::Malformed);
    }
    let (mut protocol, mut payload) = (packet.next_header(), packet.payload());
    let mut fragment = None;
    for _ in 0..MOST_EXTENSIONS {
        match protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                let header = Ipv6ExtHeader::new_checked(payload)?;
                protocol = header.next_header();
                payload = &payload[header.payload().len() + 2..];
            }
            IpProtocol::Ipv6Frag => {
                let (header, rest) = payload.split_at_checked(FRAGMENT_HEADER).ok_or(Unusable::Malformed)?;
                protocol = IpProtocol::from(header[0]);
                payload = rest;
                let header = Ipv6FragmentHeader::new_checked(&header[2..])?;
                // One that is all of its packet is treated as if it were none (RFC 6946).
                if header.more_frags() || header.frag_offset() != 0 {
                    fragment = Some(header.frag_offset());
                    break;
                }
            }
            _ => break,
        }
    }
    if protocol == IpProtocol::Icmpv6 && fragment.is_none() {
        let icmp = Icmpv6Packet::new_unchecked(payload);
        if payload.len() < 4 || !icmp.verify_checksum(&source, &destination) {
            return Err(Unusable::Malformed);
        }
        if matches!(icmp.msg_type(), Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert) {
            return neighbour(&packet, payload).map(Content::Neighbour);
        }
    }
    if source.is_unspecified() || source.is_loopback() || source.to_ipv4_mapped().is_some() {
        return Err(Unusable::Malformed);
    }
    let (source, destination) = (IpAddr::V6(source), IpAddr::V6(destination));
    let kind = match (fragment, protocol) {
        (Some(offset), protocol) => first_fragment(protocol, offset, payload)?,
        (None, IpProtocol::Icmpv6) if Icmpv6Message::from(payload[0]) == Icmpv6Message::EchoRequest => {
            Kind::Echo
        }
        (None, protocol) => transport(protocol, source, destination, payload)?,
    };
    let bytes = &bytes[..packet.total_len()];
    Ok(Content::Packet(Packet { source, destination, kind, bytes }))
}

/// Checks as RFC 4861 has them in sections 7.1.1 and 7.1.2.
fn neighbour(packet: &Ipv6Packet<&[u8]>, icmp: &[u8]) -> Result<Neighbour, Unusable> {
    let message = Icmpv6Packet::new_checked(icmp)?;
    let solicitation = message.msg_type() == Icmpv6Message::NeighborSolicit;
    let (source, destination, target) = (packet.src_addr(), packet.dst_addr(), message.target_addr());
    let wanted = if solicitation {
        NdiscOptionType::SourceLinkLayerAddr
    } else {
        NdiscOptionType::TargetLinkLayerAddr
    };
    let mut options = message.payload();
    let mut mac = None;
    while !options.is_empty() {
        let option = NdiscOption::new_checked(options)?;
        let address = option.link_layer_addr();
        if option.option_type() == wanted
            && let Some(address) = address.as_bytes().first_chunk::<6>()
        {
            mac = Some(EthernetAddress(*address));
        }
        options = &options[usize::from(option.data_len()) * 8..];
    }
    let right = packet.hop_limit() == NEVER_FORWARDED && message.msg_code() == 0 && !target.is_multicast();
    let rule = match (solicitation, source.is_unspecified()) {
        (true, true) => is_solicited_node(destination) && mac.is_none(),
        (true, false) => true,
        (false, unspecified) => {
            let solicited = message.neighbor_flags().contains(NdiscNeighborFlags::SOLICITED);
            !(unspecified || destination.is_multicast() && solicited)
        }
    };
    if !right || !rule || mac.is_some_and(|mac| !mac.is_unicast()) {
        return Err(Unusable::Malformed);
    }
    Ok(Neighbour { solicitation, source, target, mac })
}

/// RFC 4291, section 2.7.1.
fn is_solicited_node(address: Ipv6Addr) -> bool {
    address.octets()[..13] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]
}

fn first_fragment<'a>(protocol: IpProtocol, offset: u16, payload: &[u8]) -> Result<Kind<'a>, Unusable> {
    if offset != 0 || protocol != IpProtocol::Udp {
        return Ok(Kind::Fragment(None));
    }
    // Its length is the whole datagram's, which is not here.
    let header = payload.first_chunk::<8>().ok_or(Unusable::Malformed)?;
    Ok(Kind::Fragment(Some(u16::from_be_bytes([header[2], header[3]]))))
}

fn transport<'a>(
    protocol: IpProtocol,
    source: IpAddr,
    destination: IpAddr,
    payload: &'a [u8],
) -> Result<Kind<'a>, Unusable> {
    let (from, to) = (source.into(), destination.into());
    match protocol {
        IpProtocol::Tcp => {
            let tcp = TcpPacket::new_checked(payload)?;
            if tcp.src_port() == 0 || tcp.dst_port() == 0 || !tcp.verify_checksum(&from, &to) {
                return Err(Unusable::Malformed);
            }
            Ok(Kind::Tcp(tcp))
        }
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(payload)?;
            // With IPv6 there is always a checksum (RFC 8200, section 8.1).
            let summed = udp.checksum() != 0 || source.is_ipv4();
            if udp.dst_port() == 0 || !summed || !udp.verify_checksum(&from, &to) {
                return Err(Unusable::Malformed);
            }
            Ok(Kind::Udp(udp.dst_port()))
        }
        _ => Ok(Kind::Other),
    }
}

//! ARP and neighbour discovery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use capture::{EthernetAddress, Fate, Limits, Moment, Phase, ServiceId};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, Icmpv6Packet, Icmpv6Repr, Ipv6Packet,
    NdiscNeighborFlags, NdiscRepr,
};

use crate::build::*;

const BROADCAST: EthernetAddress = EthernetAddress::BROADCAST;
const PHASES: [(Phase, bool); 8] = [
    (Phase::Down, true),
    (Phase::Starting, true),
    (Phase::Forwarding, false),
    (Phase::Up, false),
    (Phase::Stopping, true),
    (Phase::Paused, true),
    (Phase::Resuming, true),
    (Phase::Failed { until: Moment(u64::MAX) }, true),
];

fn parse_arp(frame: &[u8]) -> (EthernetAddress, EthernetAddress, ArpRepr) {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    let repr = ArpRepr::parse(&ArpPacket::new_checked(ethernet.payload()).expect("an ARP packet"));
    (ethernet.src_addr(), ethernet.dst_addr(), repr.expect("ARP for IPv4"))
}

#[test]
fn arp_is_answered_for_guests_that_are_not_up() {
    for (phase, answered) in PHASES {
        let mut capture = captured(2, Limits::default());
        let mut log = Log::default();
        capture.phase(ms(0), ServiceId(1), phase, &mut log);
        let fate = capture.frame(ms(1), &who_has(client(1).ip(), v4(1).ip()), &mut log);
        assert_eq!(fate, if answered { Fate::Answered } else { Fate::Guest }, "{phase:?}");
        assert_eq!(log.sent.len(), usize::from(answered), "{phase:?}");
        assert_eq!(log.summons, [], "{phase:?}");
        for frame in log.sent {
            let expected = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: mac_of_service(1),
                source_protocol_addr: Ipv4Addr::new(10, 0, 1, 1),
                target_hardware_addr: mac_of(client(1).ip()),
                target_protocol_addr: Ipv4Addr::new(10, 16, 0, 1),
            };
            assert_eq!(parse_arp(&frame), (mac_of_service(1), mac_of(client(1).ip()), expected));
        }
    }
}

#[test]
fn arp_is_answered_for_services_only() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let asker = mac_of(client(1).ip());
    let (from, target) = (Ipv4Addr::new(10, 16, 0, 1), Ipv4Addr::new(10, 0, 1, 1));
    let mut fate = |frame: &[u8]| capture.frame(ms(1), frame, &mut log);
    assert_eq!(fate(&who_has(client(1).ip(), v4(9).ip())), Fate::Foreign);
    let unicast = arp(ArpOperation::Request, mac_of_service(1), asker, from, target);
    assert_eq!(fate(&unicast), Fate::Answered);
    let astray = arp(ArpOperation::Request, mac_of_service(0), asker, from, target);
    assert_eq!(fate(&astray), Fate::Foreign);
    let reply = arp(ArpOperation::Reply, mac_of_service(1), asker, from, target);
    assert_eq!(fate(&reply), Fate::Guest);
    let reverse = arp(ArpOperation::Unknown(3), BROADCAST, asker, from, target);
    assert_eq!(fate(&reverse), Fate::Unknown);
    let of_many = arp(ArpOperation::Request, BROADCAST, BROADCAST, from, target);
    assert_eq!(fate(&of_many), Fate::Malformed);
    // Of another kind of network.
    let mut other = who_has(client(1).ip(), v4(1).ip());
    other[15] = 6;
    assert_eq!(fate(&other), Fate::Unknown);
    assert_eq!(log.sent.len(), 1);
}

/// RFC 5227, section 2.1.1: who finds that somebody answers does not take the address.
#[test]
fn a_probe_is_answered() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let prober = mac_of(client(1).ip());
    let probe = arp(ArpOperation::Request, BROADCAST, prober, Ipv4Addr::UNSPECIFIED, [10, 0, 1, 1].into());
    assert_eq!(capture.frame(ms(1), &probe, &mut log), Fate::Answered);
    let (_, to, ArpRepr::EthernetIpv4 { source_hardware_addr, source_protocol_addr, .. }) =
        parse_arp(&log.sent[0])
    else {
        panic!("ARP for IPv4")
    };
    assert_eq!(to, prober);
    assert_eq!((source_hardware_addr, source_protocol_addr), (mac_of_service(1), [10, 0, 1, 1].into()));
    assert_eq!(log.conflicts, []);
}

#[test]
fn a_guest_that_boots_finds_its_address_free() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    capture.phase(ms(0), ServiceId(1), Phase::Starting, &mut log);
    let own = Ipv4Addr::new(10, 0, 1, 1);
    for sender in [Ipv4Addr::UNSPECIFIED, own] {
        let frame = arp(ArpOperation::Request, BROADCAST, mac_of_service(1), sender, own);
        assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Guest);
    }
    let IpAddr::V6(own) = v6(1).ip() else { panic!("IPv6") };
    let (group, to) = solicited_node(own);
    let message = NdiscRepr::NeighborSolicit { target_addr: own, lladdr: None };
    let frame = neighbour(mac_of_service(1), to, Ipv6Addr::UNSPECIFIED, group, message);
    assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Guest);
    assert_eq!((log.sent.len(), log.conflicts.len()), (0, 0));
    // It may ask for other services, which are not up either.
    let frame = who_has(v4(1).ip(), v4(0).ip());
    assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Answered);
}

/// RFC 5227, section 2.4 (c).
#[test]
fn an_address_is_defended_and_not_too_often() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let thief = mac_of(client(1).ip());
    let own = Ipv4Addr::new(10, 0, 1, 1);
    let claim = arp(ArpOperation::Request, BROADCAST, thief, own, own);
    for at in [0, 1, 9_999, 10_000, 30_000] {
        assert_eq!(capture.frame(ms(at), &claim, &mut log), Fate::Conflict);
    }
    assert_eq!(log.conflicts, [(ServiceId(1), own.into(), thief); 3]);
    assert_eq!((log.sent.len(), capture.counters().defences), (3, 3));
    let announcement = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac_of_service(1),
        source_protocol_addr: own,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: own,
    };
    assert_eq!(parse_arp(&log.sent[0]), (mac_of_service(1), BROADCAST, announcement));
    let reply = arp(ArpOperation::Reply, BROADCAST, thief, own, Ipv4Addr::new(10, 16, 0, 7));
    assert_eq!(capture.frame(ms(31_000), &reply, &mut log), Fate::Conflict);
    assert_eq!(capture.counters().fate(Fate::Conflict), 6);
    // Its guest sees to it itself.
    capture.phase(ms(50_000), ServiceId(1), Phase::Up, &mut log);
    assert_eq!(capture.frame(ms(50_000), &claim, &mut log), Fate::Guest);
    assert_eq!(log.conflicts.len(), 3);
}

fn parse_advert(
    frame: &[u8],
) -> (EthernetAddress, Ipv6Addr, Ipv6Addr, NdiscNeighborFlags, Ipv6Addr, EthernetAddress) {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    let ip = Ipv6Packet::new_checked(ethernet.payload()).expect("an IPv6 packet");
    assert_eq!(ip.hop_limit(), 255);
    let icmp = Icmpv6Packet::new_checked(ip.payload()).expect("ICMPv6");
    let repr =
        Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &icmp, &Default::default()).expect("checksum");
    let Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr: Some(mac) }) = repr else {
        panic!("{repr:?}")
    };
    let mac = EthernetAddress::from_bytes(mac.as_bytes());
    (ethernet.dst_addr(), ip.src_addr(), ip.dst_addr(), flags, target_addr, mac)
}

#[test]
fn solicitations_are_answered_for_guests_that_are_not_up() {
    let (IpAddr::V6(target), IpAddr::V6(asker)) = (v6(1).ip(), client6(5).ip()) else { panic!("IPv6") };
    let mac = mac_of(asker.into());
    let (group, to) = solicited_node(target);
    let with_mac = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: Some(mac.into()) };
    let without = NdiscRepr::NeighborSolicit { target_addr: target, lladdr: None };
    for (phase, answered) in PHASES {
        let mut capture = captured(2, Limits::default());
        let mut log = Log::default();
        capture.phase(ms(0), ServiceId(1), phase, &mut log);
        let frame = neighbour(mac, to, asker, group, with_mac);
        let fate = capture.frame(ms(1), &frame, &mut log);
        assert_eq!(fate, if answered { Fate::Answered } else { Fate::Guest }, "{phase:?}");
        if answered {
            let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
            let expected = (mac, target, asker, flags, target, mac_of_service(1));
            assert_eq!(parse_advert(&log.sent[0]), expected, "{phase:?}");
            // To the guest alone, by somebody who makes sure that it is still there.
            let frame = neighbour(mac, mac_of_service(1), asker, target, without);
            assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Answered);
            assert_eq!(parse_advert(&log.sent[1]), expected, "{phase:?}");
            // Somebody wants the address (RFC 4862, section 5.4.3).
            let frame = neighbour(mac, to, Ipv6Addr::UNSPECIFIED, group, without);
            assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Answered);
            let all = (EthernetAddress([0x33, 0x33, 0, 0, 0, 1]), "ff02::1".parse().expect("an address"));
            let expected = (all.0, target, all.1, NdiscNeighborFlags::OVERRIDE, target, mac_of_service(1));
            assert_eq!(parse_advert(&log.sent[2]), expected, "{phase:?}");
        }
    }
}

/// RFC 4861, sections 7.1.1 and 7.1.2.
#[test]
fn neighbour_discovery_that_breaks_the_rules_is_ignored() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let (IpAddr::V6(target), IpAddr::V6(asker)) = (v6(1).ip(), client6(5).ip()) else { panic!("IPv6") };
    let mac = mac_of(asker.into());
    let (group, to) = solicited_node(target);
    let unspecified = Ipv6Addr::UNSPECIFIED;
    let solicit = |lladdr| NdiscRepr::NeighborSolicit { target_addr: target, lladdr };
    let mut fate = |frame: &[u8]| capture.frame(ms(1), frame, &mut log);
    let mut forwarded = neighbour(mac, to, asker, group, solicit(None));
    forwarded[14 + 7] = 254;
    let all: Ipv6Addr = "ff02::1".parse().expect("an address");
    let of_group = NdiscRepr::NeighborSolicit { target_addr: group, lladdr: None };
    let advert = |flags| NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr: Some(mac.into()) };
    let mut damaged = neighbour(mac, to, asker, group, solicit(None));
    damaged[60] ^= 1;
    let mut empty_option = neighbour(mac, to, asker, group, solicit(Some(mac.into())));
    empty_option[14 + 40 + 25] = 0;
    for (what, frame) in [
        ("forwarded", forwarded),
        ("probe with a link address", neighbour(mac, to, unspecified, group, solicit(Some(mac.into())))),
        ("probe to all nodes", neighbour(mac, to, unspecified, all, solicit(None))),
        ("for a group", neighbour(mac, to, asker, group, of_group)),
        ("link address of many", neighbour(mac, to, asker, group, solicit(Some(BROADCAST.into())))),
        ("damaged", damaged),
        ("option of no length", empty_option),
        ("solicited by all", neighbour(mac, to, asker, all, advert(NdiscNeighborFlags::SOLICITED))),
        ("from nobody", neighbour(mac, to, unspecified, all, advert(NdiscNeighborFlags::OVERRIDE))),
    ] {
        assert_eq!(fate(&frame), Fate::Malformed, "{what}");
    }
    let other = NdiscRepr::NeighborSolicit { target_addr: asker, lladdr: None };
    assert_eq!(fate(&neighbour(mac, to, asker, group, other)), Fate::Foreign);
    let claim = neighbour(mac, to, asker, all, advert(NdiscNeighborFlags::OVERRIDE));
    assert_eq!(fate(&claim), Fate::Conflict);
    assert_eq!(log.sent.len(), 0);
    assert_eq!(log.conflicts, [(ServiceId(1), target.into(), mac)]);
}

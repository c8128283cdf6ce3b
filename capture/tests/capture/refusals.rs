//! What clients are told of services that will not answer.

use std::net::IpAddr;

use capture::{Capture, Fate, Limits, Moment, Phase, Rate, Refusal, ServiceId};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol,
    Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr,
};

use crate::build::*;

const ONE: ServiceId = ServiceId(1);

fn with(refusal: Refusal, phase: Phase) -> (Capture, Log) {
    let mut one = service(1);
    one.refusal = refusal;
    let mut capture = Capture::new(vec![service(0), one], Limits::default(), KEY).expect("good services");
    let mut log = Log::default();
    capture.phase(ms(0), ONE, phase, &mut log);
    (capture, log)
}

const FAILED: Phase = Phase::Failed { until: Moment(u64::MAX) };

/// Source, destination, protocol and payload of a packet that is right in all its lengths and checksums.
fn taken_apart(frame: &[u8]) -> (IpAddr, IpAddr, IpProtocol, &[u8]) {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    let (source, destination, protocol, payload) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("an IPv4 packet");
            assert!(ip.verify_checksum());
            (ip.src_addr().into(), ip.dst_addr().into(), ip.next_header(), ip.payload())
        }
        _ => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).expect("an IPv6 packet");
            (ip.src_addr().into(), ip.dst_addr().into(), ip.next_header(), ip.payload())
        }
    };
    assert_eq!(ethernet.src_addr(), mac_of(source));
    assert_eq!(ethernet.dst_addr(), mac_of(destination));
    (source, destination, protocol, payload)
}

fn parse_tcp(frame: &[u8]) -> TcpRepr<'_> {
    let (source, destination, protocol, payload) = taken_apart(frame);
    assert_eq!(protocol, IpProtocol::Tcp);
    let packet = TcpPacket::new_checked(payload).expect("a segment");
    TcpRepr::parse(&packet, &source.into(), &destination.into(), &Default::default())
        .expect("right checksums")
}

/// RFC 9293, section 3.10.7.1.
#[test]
fn a_segment_of_no_connection_is_reset() {
    for (c, s) in [(client(1), v4(1)), (client6(1), v6(1))] {
        let (mut capture, mut log) = with(Refusal::Reset, Phase::Down);
        let data = TcpRepr { payload: b"data", ..plain(c, s, TcpControl::Fin, u32::MAX, Some(77)) };
        assert_eq!(capture.frame(ms(1), &tcp(c, s, &data), &mut log), Fate::Refused);
        assert_eq!(
            parse_tcp(&log.sent[0]),
            TcpRepr { window_len: 0, ..plain(s, c, TcpControl::Rst, 77, None) }
        );
        // Without ACK: all of the segment is acknowledged, and a FIN counts.
        let data = TcpRepr { ack_number: None, ..data };
        assert_eq!(capture.frame(ms(1), &tcp(c, s, &data), &mut log), Fate::Refused);
        let expected = TcpRepr { window_len: 0, ..plain(s, c, TcpControl::Rst, 0, Some(4)) };
        assert_eq!(parse_tcp(&log.sent[1]), expected);
        // Never an answer to an RST.
        let rst = plain(c, s, TcpControl::Rst, 5, Some(7));
        assert_eq!(capture.frame(ms(1), &tcp(c, s, &rst), &mut log), Fate::Silent);
        assert_eq!(log.sent.len(), 2);
        assert_eq!(log.summons, []);
    }
}

#[test]
fn each_policy_for_each_protocol() {
    use Refusal::*;
    let (c, s, c6, s6) = (client(1), v4(1), client6(1), v6(1));
    let frames = [
        (syn(c, s, 9), udp(c, s, b"x"), ping(c.ip(), s.ip(), 1), IpProtocol::Icmp),
        (syn(c6, s6, 9), udp(c6, s6, b"x"), ping(c6.ip(), s6.ip(), 1), IpProtocol::Icmpv6),
    ];
    for (syn, udp, ping, icmp) in frames {
        for (policy, answers) in [
            (Silence, [None; 3]),
            (Unreachable, [Some(icmp); 3]),
            (Reset, [Some(IpProtocol::Tcp), Some(icmp), Some(icmp)]),
        ] {
            for (frame, answer) in [&syn, &udp, &ping].into_iter().zip(answers) {
                let (mut capture, mut log) = with(policy, FAILED);
                capture.frame(ms(1), frame, &mut log);
                let protocols: Vec<_> = log.sent.iter().map(|frame| taken_apart(frame).2).collect();
                assert_eq!(protocols, answer.into_iter().collect::<Vec<_>>(), "{policy:?}");
            }
        }
    }
}

/// What a datagram to a service is answered with: ICMP type, code, and the quoted part of it.
fn icmp_of(frame: &[u8]) -> (u8, u8, &[u8]) {
    let (source, destination, protocol, payload) = taken_apart(frame);
    match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let icmp = Icmpv6Packet::new_checked(payload).expect("ICMPv6");
            assert!(
                icmp.verify_checksum(&source, &destination)
                    && icmp.msg_type() == Icmpv6Message::DstUnreachable
            );
            (payload[0], icmp.msg_code(), icmp.payload())
        }
        _ => {
            assert_eq!(protocol, IpProtocol::Icmp);
            let icmp = Icmpv4Packet::new_checked(payload).expect("ICMPv4");
            assert!(icmp.verify_checksum() && icmp.msg_type() == Icmpv4Message::DstUnreachable);
            assert_eq!(payload[4..8], [0; 4]);
            (payload[0], icmp.msg_code(), icmp.data())
        }
    }
}

/// RFC 1812, section 4.3.2.3, and RFC 4443, section 2.4 (c).
#[test]
fn icmp_errors_quote_what_they_are_about() {
    let lengths = [(client(1), v4(1), 576 - 28, 1), (client6(1), v6(1), 1280 - 48, 3)];
    for (c, s, most, code) in lengths {
        for length in [0, 10, 1400] {
            let (mut capture, mut log) = with(Refusal::Reset, FAILED);
            let mut frame = udp(c, s, &vec![7; length]);
            let packet = frame[14..].to_vec();
            // What fills up a frame is not part of the packet.
            frame.resize((frame.len() + 4).min(capture::LONGEST), 0);
            assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Refused);
            let (_, got, quoted) = icmp_of(&log.sent[0]);
            assert_eq!(got, code);
            assert_eq!(quoted, &packet[..packet.len().min(most)]);
        }
    }
}

#[test]
fn a_port_that_is_not_open() {
    for (c, s, code) in [(client(1), v4(0), 3), (client6(1), v6(0), 4)] {
        let mut service = service(0);
        service.udp = capture::Ports::Only(vec![53]);
        let mut capture = Capture::new(vec![service], Limits::default(), KEY).expect("good");
        let mut log = Log::default();
        assert_eq!(capture.frame(ms(1), &udp(c, s, b"x"), &mut log), Fate::Refused);
        assert_eq!(icmp_of(&log.sent[0]).1, code);
    }
}

#[test]
fn those_who_wait_are_told_when_a_service_fails() {
    let (mut capture, mut log) = with(Refusal::Reset, Phase::Down);
    let (c, s) = (client(1), v4(1));
    let mut fragment = udp(c, s, b"the beginning of much");
    fragment[14 + 6] = 0x20;
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut fragment[14..]).fill_checksum();
    for frame in
        [syn(c, s, 9), udp(c, s, &[1; 1000]), fragment, ping(c.ip(), s.ip(), 1), syn(client6(1), v6(1), 8)]
    {
        assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Held);
    }
    assert_eq!(log.summons.len(), 1);
    capture.phase(ms(2), ONE, Phase::Failed { until: ms(1000) }, &mut log);
    let protocols: Vec<_> = log.sent.iter().map(|frame| taken_apart(frame).2).collect();
    // Nothing is said of fragments.
    assert_eq!(protocols, [IpProtocol::Tcp, IpProtocol::Icmp, IpProtocol::Icmp, IpProtocol::Tcp]);
    assert_eq!(
        parse_tcp(&log.sent[0]),
        TcpRepr { window_len: 0, ..plain(s, c, TcpControl::Rst, 0, Some(10)) }
    );
    let counters = capture.counters();
    assert_eq!((counters.given_up, counters.refusals, capture.held(ONE)), (5, 4, 0));
    // A failure whose time is over already is none: what is held stays, for the next try.
    capture.phase(ms(1000), ONE, Phase::Down, &mut log);
    capture.frame(ms(1000), &syn(c, s, 9), &mut log);
    capture.phase(ms(1001), ONE, Phase::Failed { until: ms(1001) }, &mut log);
    assert_eq!(capture.held(ONE), 1);
}

#[test]
fn answers_have_a_pace() {
    let limits = Limits { refusals: Rate::per_second(10, 5), ..Limits::default() };
    let mut capture = captured(2, limits);
    let mut log = Log::default();
    let (c, s) = (client(1), v4(1));
    let stale = tcp(c, s, &plain(c, s, TcpControl::None, 1, Some(1)));
    for at in 0..1000 {
        capture.frame(ms(at), &stale, &mut log);
    }
    let counters = capture.counters();
    assert_eq!((log.sent.len(), counters.fate(Fate::Refused), counters.fate(Fate::Silent)), (14, 14, 986));
}

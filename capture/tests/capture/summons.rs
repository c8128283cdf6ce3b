//! Which packets wake whom, and how often.

use std::time::Duration;

use capture::{Capture, EthernetAddress, Fate, Limits, Moment, Phase, Ports, Rate, Refusal, ServiceId};
use smoltcp::wire::{IpProtocol, TcpControl};

use crate::build::*;

const ONE: ServiceId = ServiceId(1);

/// Phases in which a packet wakes.
const WAITING: &[Phase] = &[Phase::Down, Phase::Stopping, Phase::Paused];
const PAUSED: &[Phase] = &[Phase::Paused];
const NEVER: &[Phase] = &[];

#[test]
fn the_table_of_packets_and_phases() {
    use Fate::*;
    let (c, s, c6, s6) = (client(1), v4(1), client6(1), v6(1));
    let segment = |control, seq, ack| tcp(c, s, &plain(c, s, control, seq, ack));
    let mut fragment = udp(c, s, b"the beginning of much");
    fragment[14 + 6] = 0x20;
    resum(&mut fragment);
    let mut later = fragment.clone();
    later[14 + 7] = 100;
    resum(&mut later);
    let mut syn_piece = syn(c, s, 1);
    syn_piece[14 + 6] = 0x20;
    resum(&mut syn_piece);
    let error = packet(c.ip(), s.ip(), IpProtocol::Icmp, 36, 64, |bytes| {
        bytes[..2].copy_from_slice(&[3, 1]);
        smoltcp::wire::Icmpv4Packet::new_unchecked(bytes).fill_checksum();
    });
    let gre = packet(c.ip(), s.ip(), IpProtocol::Unknown(47), 20, 64, |_| ());
    let until = Moment(u64::MAX);
    #[rustfmt::skip]
    let phases = [Phase::Down, Phase::Stopping, Phase::Starting, Phase::Paused, Phase::Resuming, Phase::Failed { until }, Phase::Up, Phase::Forwarding];
    #[rustfmt::skip]
    let table = [
        ("SYN",               syn(c, s, 7),                             WAITING, [Held, Held, Held, Held, Held, Refused, Guest, Passed]),
        ("SYN of IPv6",       syn(c6, s6, 7),                           WAITING, [Held, Held, Held, Held, Held, Refused, Guest, Passed]),
        ("UDP",               udp(c, s, b"hello"),                      WAITING, [Held, Held, Held, Held, Held, Refused, Guest, Passed]),
        ("UDP of IPv6",       udp(c6, s6, b"hello"),                    WAITING, [Held, Held, Held, Held, Held, Refused, Guest, Passed]),
        ("echo",              ping(c.ip(), s.ip(), 1),                  WAITING, [Held, Held, Held, Held, Held, Refused, Guest, Passed]),
        ("echo of IPv6",      ping(c6.ip(), s6.ip(), 1),                WAITING, [Held, Held, Held, Held, Held, Refused, Guest, Passed]),
        ("first fragment",    fragment,                                 WAITING, [Held, Held, Held, Held, Held, Silent, Guest, Passed]),
        ("later fragment",    later,                                   NEVER, [Silent, Silent, Held, Held, Held, Silent, Guest, Passed]),
        ("piece of a SYN",    syn_piece,                               NEVER, [Silent, Silent, Held, Held, Held, Silent, Guest, Passed]),
        ("ICMP error",        error,                                   NEVER, [Silent, Silent, Held, Held, Held, Silent, Guest, Passed]),
        ("GRE",               gre,                                     NEVER, [Silent, Silent, Held, Held, Held, Silent, Guest, Passed]),
        ("SYN-ACK",           segment(TcpControl::Syn, 7, Some(9)),    PAUSED, [Refused, Silent, Refused, Held, Held, Refused, Guest, Passed]),
        ("ACK",               segment(TcpControl::None, 7, Some(9)),   PAUSED, [Refused, Silent, Refused, Held, Held, Refused, Guest, Passed]),
        ("FIN",               segment(TcpControl::Fin, 7, Some(9)),    PAUSED, [Refused, Silent, Refused, Held, Held, Refused, Guest, Passed]),
        ("nothing set",       segment(TcpControl::None, 7, None),      PAUSED, [Refused, Silent, Refused, Held, Held, Refused, Guest, Passed]),
        ("RST",               segment(TcpControl::Rst, 7, None),       NEVER, [Silent, Silent, Silent, Held, Held, Silent, Guest, Passed]),
    ];
    for (what, frame, wakes, fates) in table {
        for (phase, fate) in phases.into_iter().zip(fates) {
            let mut capture = captured(2, Limits::default());
            let mut log = Log::default();
            capture.phase(ms(0), ONE, phase, &mut log);
            assert_eq!(capture.frame(ms(1), &frame, &mut log), fate, "{what}, {phase:?}");
            assert_eq!(log.summons.len(), usize::from(wakes.contains(&phase)), "{what}, {phase:?}");
            assert_eq!(log.sent.len(), usize::from(fate == Refused), "{what}, {phase:?}");
            assert_eq!(capture.held(ONE), usize::from(fate == Held), "{what}, {phase:?}");
            let delivered: Vec<_> = log.take_delivered();
            assert_eq!(
                delivered,
                if fate == Passed { vec![frame.clone()] } else { vec![] },
                "{what}, {phase:?}"
            );
        }
    }
}

/// Writes the IPv4 header's checksum anew.
fn resum(frame: &mut [u8]) {
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
}

#[test]
fn one_summon_is_enough_until_it_is_answered() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    for n in 0..20 {
        assert_eq!(capture.frame(ms(n), &syn(client(n as u32), v4(1), 1), &mut log), Fate::Held);
    }
    assert_eq!(log.summons, [(ONE, client(0).ip())]);
    // A later fragment is of use once somebody starts the service.
    let mut fragment = udp(client(3), v4(1), b"the rest of much");
    fragment[14 + 7] = 100;
    resum(&mut fragment);
    assert_eq!(capture.frame(ms(30), &fragment, &mut log), Fate::Held);
    capture.phase(ms(31), ONE, Phase::Starting, &mut log);
    capture.frame(ms(32), &syn(client(50), v4(1), 1), &mut log);
    assert_eq!(log.summons.len(), 1);
    // Down again: the next packet asks again.
    capture.phase(ms(40), ONE, Phase::Down, &mut log);
    capture.frame(ms(41), &syn(client(51), v4(1), 1), &mut log);
    assert_eq!(log.summons.len(), 2);
    // A summon that nobody has answered is asked for again when nothing of then is held any more.
    capture.frame(ms(10_040), &syn(client(52), v4(1), 1), &mut log);
    assert_eq!(log.summons.len(), 2);
    capture.frame(ms(10_041), &syn(client(53), v4(1), 1), &mut log);
    assert_eq!(log.summons.len(), 3);
}

#[test]
fn a_failed_service_is_asked_for_after_its_back_off() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    capture.phase(ms(0), ONE, Phase::Failed { until: ms(1000) }, &mut log);
    assert_eq!(capture.frame(ms(999), &syn(client(1), v4(1), 1), &mut log), Fate::Refused);
    assert_eq!(capture.frame(ms(1000), &syn(client(1), v4(1), 1), &mut log), Fate::Held);
    assert_eq!(log.summons.len(), 1);
}

#[test]
fn ports_and_networks_that_do_not_wake() {
    let mut service = service(1);
    service.tcp = Ports::Only(vec![443, 80]);
    service.udp = Ports::Only(vec![]);
    service.not_from =
        vec!["10.16.0.0/30".parse().expect("a network"), "fd00:0:0:9::/64".parse().expect("one")];
    let new = |service| {
        Capture::new(vec![crate::build::service(0), service], Limits::default(), KEY).expect("good")
    };
    let mut capture = new(service.clone());
    let mut log = Log::default();
    let mut port_81 = v4(1);
    port_81.set_port(81);
    let mut fate = |frame: &[u8]| capture.frame(ms(1), frame, &mut log);
    assert_eq!(fate(&syn(client(9), port_81, 1)), Fate::Refused);
    assert_eq!(fate(&udp(client(9), v4(1), b"x")), Fate::Refused);
    assert_eq!(fate(&syn(client(3), v4(1), 1)), Fate::Refused);
    assert_eq!(fate(&ping(client(3).ip(), v4(1).ip(), 1)), Fate::Refused);
    assert_eq!(fate(&syn(client6(9), v6(1), 1)), Fate::Refused);
    assert_eq!((log.summons.len(), log.sent.len()), (0, 5));
    // Once it starts, for whatever reason, the guest is asked.
    capture.phase(ms(2), ONE, Phase::Starting, &mut log);
    assert_eq!(capture.frame(ms(3), &syn(client(3), v4(1), 1), &mut log), Fate::Held);
    assert_eq!(capture.frame(ms(3), &syn(client(9), port_81, 1), &mut log), Fate::Held);

    let mut capture = new(service.clone());
    let mut log = Log::default();
    assert_eq!(capture.frame(ms(1), &syn(client(4), v4(1), 1), &mut log), Fate::Held);
    assert_eq!(log.summons, [(ONE, client(4).ip())]);

    // A connection that it has, whatever its port.
    let mut capture = new(service.clone());
    let mut log = Log::default();
    capture.phase(ms(0), ONE, Phase::Paused, &mut log);
    let data = tcp(client(4), port_81, &plain(client(4), port_81, TcpControl::Psh, 1, Some(1)));
    assert_eq!(capture.frame(ms(1), &data, &mut log), Fate::Held);
    assert_eq!(log.summons, [(ONE, client(4).ip())]);

    service.wake = false;
    service.refusal = Refusal::Silence;
    let mut capture = new(service);
    let mut log = Log::default();
    assert_eq!(capture.frame(ms(1), &syn(client(4), v4(1), 1), &mut log), Fate::Silent);
    assert_eq!((log.summons.len(), log.sent.len()), (0, 0));
    // It is started for another reason, and paused: then it is there for all.
    capture.phase(ms(2), ONE, Phase::Paused, &mut log);
    assert_eq!(capture.frame(ms(3), &syn(client(4), v4(1), 1), &mut log), Fate::Held);
    assert_eq!(log.summons, [(ONE, client(4).ip())]);
}

#[test]
fn whoever_does_not_wake_a_service_keeps_the_connection_that_it_has() {
    let mut monitored = service(1);
    monitored.not_from = vec![capture::IpCidr::new(client(4).ip().into(), 32)];
    let mut capture =
        Capture::new(vec![service(0), monitored], Limits::default(), KEY).expect("good services");
    let mut log = Log::default();
    capture.phase(ms(0), ONE, Phase::Paused, &mut log);
    assert_eq!(capture.frame(ms(1), &syn(client(4), v4(1), 1), &mut log), Fate::Refused);
    assert_eq!(log.summons, []);
    let data = tcp(client(4), v4(1), &plain(client(4), v4(1), TcpControl::Psh, 1, Some(1)));
    assert_eq!(capture.frame(ms(2), &data, &mut log), Fate::Held);
    assert_eq!(log.summons, [(ONE, client(4).ip())]);
}

#[test]
fn frames_to_many_and_to_others_neither_wake_nor_are_held() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let to = |mac: [u8; 6], mut frame: Vec<u8>| {
        frame[..6].copy_from_slice(&mac);
        frame
    };
    let broadcast = to([0xff; 6], udp(client(1), v4(1), b"x"));
    let group = to([1, 0, 0x5e, 0, 0, 1], udp(client(1), v4(1), b"x"));
    let group6 = to([0x33, 0x33, 0, 0, 0, 1], syn(client6(1), v6(1), 1));
    let stranger = to([2, 9, 9, 9, 9, 9], syn(client(1), v4(1), 1));
    let astray = to(mac_of_service(0).0, syn(client(1), v4(1), 1));
    let mut tagged = syn(client(1), v4(1), 1);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    for (frame, fate) in [
        (broadcast, Fate::Unknown),
        (group, Fate::Unknown),
        (group6, Fate::Unknown),
        (stranger, Fate::Foreign),
        (astray, Fate::Foreign),
        (tagged, Fate::Unknown),
    ] {
        assert_eq!(capture.frame(ms(1), &frame, &mut log), fate);
    }
    assert_eq!((log.summons.len(), log.sent.len(), capture.held_bytes()), (0, 0, 0));
}

/// A scan of all addresses starts a bounded number of services, and the others one after another.
#[test]
fn a_scan_is_bounded() {
    let limits = Limits {
        summons: Rate::per_second(2, 5),
        summons_per_source: Rate::per_second(1, 3),
        ..Limits::default()
    };
    let mut capture = captured(40, limits.clone());
    let mut log = Log::default();
    for n in 0..40 {
        let fate = capture.frame(ms(n), &syn(client(1), v4(n as u8), 1), &mut log);
        assert_eq!(fate, if n < 3 { Fate::Held } else { Fate::Limited });
    }
    assert_eq!(log.summons.len(), 3);
    assert_eq!(capture.next(), Some(ms(10_000)), "only what is held waits");

    // From everywhere at once: nothing is lost, and the pace is kept.
    let mut capture = captured(40, limits.clone());
    let mut log = Log::default();
    for n in 0..40 {
        let fate = capture.frame(ms(0), &syn(client(n), v4(n as u8), 1), &mut log);
        assert_eq!(fate, Fate::Held);
    }
    assert_eq!(log.summons.len(), 5);
    assert_eq!(capture.next(), Some(ms(500)));
    capture.advance(ms(499), &mut log);
    assert_eq!(log.summons.len(), 5);
    for step in 1..=10 {
        capture.advance(ms(500 * step), &mut log);
        assert_eq!(log.summons.len(), 5 + step as usize);
    }
    // Some are started for other reasons, or fail.
    capture.phase(ms(5100), ServiceId(15), Phase::Starting, &mut log);
    capture.phase(ms(5100), ServiceId(16), Phase::Failed { until: ms(20_000) }, &mut log);
    capture.advance(ms(6000), &mut log);
    assert_eq!(log.summons[15..], [(ServiceId(17), client(17).ip()), (ServiceId(18), client(18).ip())]);
    // What is held gets too old, so that nobody waits any more.
    capture.advance(ms(10_000), &mut log);
    assert_eq!((log.summons.len(), capture.next()), (17, None));
    assert_eq!((capture.counters().summons, capture.counters().deferred), (17, 35));
    capture.frame(ms(10_000), &syn(client(1), v4(30), 1), &mut log);
    assert_eq!(log.summons.len(), 18, "they can be asked for again");
}

#[test]
fn nobody_jumps_the_queue() {
    let mut capture = captured(3, Limits { summons: Rate::per_second(2, 1), ..Limits::default() });
    let mut log = Log::default();
    for (n, at) in [(0, 0), (1, 0), (2, 500)] {
        assert_eq!(capture.frame(ms(at), &syn(client(1), v4(n), 1), &mut log), Fate::Held);
    }
    assert_eq!(log.summons.len(), 1);
    capture.advance(ms(500), &mut log);
    assert_eq!(log.summons[1..], [(ONE, client(1).ip())]);
}

#[test]
fn sources_do_not_share_their_summons_but_a_network_does() {
    let limits = Limits {
        summons_per_source: Rate { interval: Duration::from_secs(9), burst: 1 },
        ..Limits::default()
    };
    let mut capture = captured(6, limits);
    let mut log = Log::default();
    let mut fate = |frame: &[u8]| capture.frame(ms(0), frame, &mut log);
    assert_eq!(fate(&syn(client(1), v4(0), 1)), Fate::Held);
    assert_eq!(fate(&syn(client(1), v4(1), 1)), Fate::Limited);
    assert_eq!(fate(&syn(client(1), v4(0), 2)), Fate::Held, "it has been summoned");
    assert_eq!(fate(&syn(client(2), v4(1), 1)), Fate::Held);
    assert_eq!(fate(&syn(client6(1), v6(2), 1)), Fate::Held);
    let mut neighbour = client6(1);
    neighbour.set_ip("fd00:0:0:1::99".parse().expect("an address"));
    assert_eq!(fate(&syn(neighbour, v6(3), 1)), Fate::Limited);
    assert_eq!(fate(&syn(client6(2), v6(3), 1)), Fate::Held);
}

#[test]
fn services_that_cannot_be() {
    use capture::ConfigError;
    let new = |services| Capture::new(services, Limits::default(), KEY).map(|_| ()).expect_err("a mistake");
    let other = |n| {
        let mut other = service(n);
        other.addresses.clear();
        other
    };
    assert_eq!(new(vec![service(1), other(1)]), ConfigError::Mac(mac_of_service(1)));
    let mut group = other(1);
    group.mac = EthernetAddress([1, 0, 0, 0, 0, 0]);
    assert_eq!(new(vec![group.clone()]), ConfigError::Mac(group.mac));
    let mut same = other(2);
    same.addresses.push(v6(1).ip());
    assert_eq!(new(vec![service(1), same]), ConfigError::Address(v6(1).ip()));
    for address in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
        let mut bad = other(2);
        bad.addresses.push(address.parse().expect("an address"));
        assert_eq!(new(vec![bad]), ConfigError::Address(address.parse().expect("an address")));
    }
    let limits = Limits { bytes: 100, ..Limits::default() };
    assert_eq!(Capture::new(vec![], limits, KEY).map(|_| ()), Err(ConfigError::Bytes(100)));
}

//! What is held, in which order it comes out, and what has to go.

use std::time::Duration;

use capture::{Capture, Fate, Limits, Phase, ServiceId};
use smoltcp::wire::IpProtocol;

use crate::build::*;

const ZERO: ServiceId = ServiceId(0);
const ONE: ServiceId = ServiceId(1);

/// Limits with room for so many SYNs.
fn room(syns: usize) -> Limits {
    Limits { bytes: syns * 96, ..Limits::default() }
}

/// All that is held for a service, by way of its guest coming up.
fn replayed(capture: &mut Capture, service: ServiceId) -> Vec<Vec<u8>> {
    let mut log = Log::default();
    capture.phase(ms(0), service, Phase::Forwarding, &mut log);
    capture.replay(service, usize::MAX, &mut log);
    log.take_delivered()
}

#[test]
fn frames_come_out_as_they_came_in() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let (c, s) = (client(1), v4(1));
    let frames = [
        syn(c, s, 1),
        udp(c, s, &[1; 1472]),
        ping(c.ip(), s.ip(), 1),
        udp(client(2), s, b""),
        syn(client6(7), v6(1), 5),
        udp(client6(7), v6(1), &[2; 200]),
    ];
    for (frame, at) in frames.iter().zip(1..) {
        assert_eq!(capture.frame(ms(at), frame, &mut log), Fate::Held);
    }
    capture.frame(ms(9), &syn(c, v4(0), 1), &mut log);
    assert_eq!((capture.held(ONE), capture.held(ZERO)), (6, 1));
    assert_eq!(capture.replay(ONE, usize::MAX, &mut log), 6, "not before the guest is ready");
    capture.phase(ms(10), ONE, Phase::Forwarding, &mut log);
    assert_eq!(capture.replay(ONE, 2, &mut log), 4);
    // What comes meanwhile comes after them.
    let late = syn(client(3), s, 1);
    assert_eq!(capture.frame(ms(11), &late, &mut log), Fate::Held);
    assert_eq!(capture.replay(ONE, usize::MAX, &mut log), 0);
    let later = udp(client(3), s, b"x");
    assert_eq!(capture.frame(ms(12), &later, &mut log), Fate::Passed);
    let expected: Vec<_> = frames.into_iter().chain([late, later]).collect();
    assert_eq!(log.take_delivered(), expected);
    assert_eq!(log.summons.len(), 2);
    assert_eq!((capture.held(ZERO), capture.held_bytes()), (1, 96));
    assert_eq!((capture.counters().replayed, capture.counters().fate(Fate::Held)), (7, 8));
}

#[test]
fn nothing_is_left_behind_when_a_guest_is_up() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    capture.frame(ms(1), &syn(client(1), v4(1), 1), &mut log);
    capture.phase(ms(2), ONE, Phase::Forwarding, &mut log);
    capture.phase(ms(3), ONE, Phase::Up, &mut log);
    assert_eq!((log.delivered.len(), capture.held(ONE)), (1, 0));
    assert_eq!(capture.frame(ms(4), &syn(client(1), v4(1), 1), &mut log), Fate::Guest);
}

#[test]
fn a_syn_that_comes_again_is_held_once_in_its_newest_form() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let (c, s) = (client(1), v4(1));
    let mut fate = |at, frame: &[u8]| capture.frame(ms(at), frame, &mut log);
    assert_eq!(fate(0, &syn_at(c, s, 1, 1000)), Fate::Held);
    assert_eq!(fate(1, &syn(client(2), s, 1)), Fate::Held);
    assert_eq!(fate(2, &syn_at(c, s, 1, 1001)), Fate::Again, "a copy, too soon to be another");
    assert_eq!(fate(1000, &syn_at(c, s, 1, 2000)), Fate::Again);
    assert_eq!(fate(1001, &syn(c, s, 2)), Fate::Held, "another try");
    let mut port = c;
    port.set_port(40001);
    assert_eq!(fate(1002, &syn(port, s, 1)), Fate::Held, "another connection");
    assert_eq!(fate(1003, &udp(c, s, b"x")), Fate::Held);
    assert_eq!(fate(1004, &udp(c, s, b"x")), Fate::Held, "datagrams are not told apart");
    let expected = [
        syn_at(c, s, 1, 2000),
        syn(client(2), s, 1),
        syn(c, s, 2),
        syn(port, s, 1),
        udp(c, s, b"x"),
        udp(c, s, b"x"),
    ];
    assert_eq!(replayed(&mut capture, ONE), expected);
}

#[test]
fn frames_get_too_old() {
    let mut capture = captured(2, Limits { hold: Duration::from_secs(5), ..Limits::default() });
    let mut log = Log::default();
    assert_eq!(capture.next(), None);
    capture.frame(ms(100), &syn(client(1), v4(1), 1), &mut log);
    capture.frame(ms(200), &syn(client(2), v4(1), 1), &mut log);
    capture.frame(ms(300), &syn(client(3), v4(0), 1), &mut log);
    // Another transmission makes it younger.
    capture.frame(ms(1100), &syn(client(1), v4(1), 1), &mut log);
    assert_eq!(capture.next(), Some(ms(5200)));
    capture.advance(ms(5199), &mut log);
    assert_eq!(capture.counters().expired, 0);
    capture.advance(ms(5200), &mut log);
    assert_eq!((capture.held(ONE), capture.counters().expired), (1, 1));
    assert_eq!(capture.next(), Some(ms(5300)));
    capture.advance(ms(9000), &mut log);
    assert_eq!((capture.held(ONE), capture.held(ZERO), capture.held_bytes()), (0, 0, 0));
    assert_eq!(capture.next(), None);
}

/// What a source has sent first stays, and others find room.
#[test]
fn a_source_has_a_share() {
    let mut capture = captured(2, room(800));
    let mut log = Log::default();
    let mut held = |n, length: usize| {
        let frames = (0..200).map(|_| udp(client(n), v4(1), &vec![0; length]));
        frames.filter(|frame| capture.frame(ms(0), frame, &mut log) == Fate::Held).count()
    };
    assert_eq!(held(1, 10), 64, "the bound for a source");
    // Big ones: an eighth of the 736 cells that are free now, of which each takes 16, and so on.
    assert_eq!(held(2, 1400), 5);
    assert_eq!(held(3, 1400), 4);
    assert_eq!(held(4, 1400), 4);
    assert_eq!(capture.counters().evicted, 0);
    // However many come, room is left.
    let mut held = 0;
    for n in 10..1000 {
        let frame = udp(client(n), v4(1), &[0; 1400]);
        held += usize::from(capture.frame(ms(0), &frame, &mut log) == Fate::Held);
    }
    assert_eq!((held, capture.counters().evicted), (26, 0));
    assert!(capture.held_bytes() < (800 - 100) * 96);
    assert_eq!(capture.frame(ms(0), &syn(client(5000), v4(0), 1), &mut log), Fate::Held);
}

#[test]
fn when_all_is_full_the_oldest_of_the_hungriest_service_goes() {
    let mut capture = captured(2, room(1000));
    let mut log = Log::default();
    let mut fate = |frame: &[u8]| capture.frame(ms(0), frame, &mut log);
    for n in 0..100 {
        assert_eq!(fate(&syn(client(n), v4(0), n)), Fate::Held);
    }
    for n in 100..2000 {
        assert_eq!(fate(&syn(client(n), v4(1), n)), Fate::Held);
    }
    // Even when memory is full, a source may have a few connections, and no more.
    let fates: Vec<_> = (0..6).map(|seq| fate(&syn(client(9999), v4(1), seq))).collect();
    assert_eq!(fates, [[Fate::Held; 4].as_slice(), &[Fate::Full; 2]].concat());
    assert_eq!(fate(&udp(client(5000), v4(1), &[0; 100])), Fate::Full, "more than one cell");
    assert_eq!(capture.counters().evicted, 1004);
    assert_eq!((capture.held(ZERO), capture.held(ONE)), (100, 900));
    let expected: Vec<_> = (2000 - 896..2000).map(|n| syn(client(n), v4(1), n)).collect();
    assert_eq!(replayed(&mut capture, ONE)[..896], expected);
    let expected: Vec<_> = (0..100).map(|n| syn(client(n), v4(0), n)).collect();
    assert_eq!(replayed(&mut capture, ZERO), expected);
    assert_eq!(capture.held_bytes(), 0);
}

#[test]
fn a_service_has_a_bound_of_its_own() {
    let mut capture = captured(2, Limits { frames_per_service: 10, ..Limits::default() });
    let mut log = Log::default();
    for n in 0..30 {
        assert_eq!(capture.frame(ms(0), &syn(client(n), v4(1), n), &mut log), Fate::Held);
    }
    let expected: Vec<_> = (20..30).map(|n| syn(client(n), v4(1), n)).collect();
    assert_eq!(replayed(&mut capture, ONE), expected);
}

/// Who sends a SYN again is held rather than who has sent one, also if the first one has been let go.
#[test]
fn syns_that_come_again_stay() {
    let mut capture = captured(2, room(1000));
    let mut log = Log::default();
    let mut fate = |at, n| capture.frame(ms(at), &syn(client(n), v4(1), n), &mut log);
    for n in 0..100 {
        fate(0, n);
    }
    for n in 0..50 {
        assert_eq!(fate(1000, n), Fate::Again);
    }
    for n in 1000..3000 {
        fate(1500, n);
    }
    for n in 50..100 {
        assert_eq!(fate(2000, n), Fate::Held, "let go, and known");
    }
    for n in 3000..9000 {
        fate(2500, n);
    }
    let frames = replayed(&mut capture, ONE);
    // In order of arrival: those that stayed, those that came back, and the newest of the others.
    let expected = (0..100).chain(9000 - 900..9000).map(|n| syn(client(n), v4(1), n));
    // A few of the others are taken for known ones.
    let strangers = frames.iter().filter(|frame| !expected.clone().any(|known| known == **frame)).count();
    assert!(strangers < 10, "{strangers}");
    let known: Vec<_> =
        frames.iter().filter(|frame| (0..100).any(|n| syn(client(n), v4(1), n) == **frame)).collect();
    assert_eq!(
        known,
        (0..100).map(|n| syn(client(n), v4(1), n)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
}

/// Even if all come again, a quarter is for those that come for the first time.
#[test]
fn newcomers_keep_a_quarter() {
    let mut capture = captured(2, room(1000));
    let mut log = Log::default();
    for at in [0, 1000, 2000] {
        for n in 0..3000 {
            capture.frame(ms(at), &syn(client(n), v4(1), n), &mut log);
        }
    }
    for n in 10_000..10_400 {
        capture.frame(ms(2500), &syn(client(n), v4(1), n), &mut log);
    }
    let frames = replayed(&mut capture, ONE);
    assert_eq!(frames.len(), 1000);
    let new = (10_000..10_400).filter(|n| frames.contains(&syn(client(*n), v4(1), *n))).count();
    assert!((250..260).contains(&new), "{new}");
}

#[test]
fn frames_that_contradict_themselves_are_not_held() {
    let mut capture = captured(2, Limits::default());
    let mut log = Log::default();
    let (c, s) = (client(1), v4(1));
    let good = [
        syn(c, s, 1),
        udp(c, s, &[1; 100]),
        ping(c.ip(), s.ip(), 1),
        syn(client6(7), v6(1), 5),
        udp(client6(7), v6(1), &[2; 100]),
        ping(client6(7).ip(), v6(1).ip(), 2),
    ];
    for frame in &good {
        // Cut anywhere, and damaged anywhere: every byte of these is under some checksum, but for the addresses on
        // the link, the class, flow label and hops of IPv6, and its protocol.
        for length in 0..frame.len() {
            assert_ne!(capture.frame(ms(1), &frame[..length], &mut log), Fate::Held, "{length} bytes");
        }
        for at in 14..frame.len() {
            for bit in [1, 16, 128] {
                let mut damaged = frame.clone();
                damaged[at] ^= bit;
                let free = frame[12..14] == [0x86, 0xdd] && matches!(at - 14, 0..4 | 6 | 7);
                let fate = capture.frame(ms(1), &damaged, &mut log);
                assert!(fate != Fate::Held || free, "byte {at}: {damaged:x?}");
            }
        }
    }
    let mut long = udp(c, s, &[0; 1472]);
    long.push(0);
    assert_eq!(capture.frame(ms(1), &long, &mut log), Fate::Malformed);
    let mut of_many = syn(c, s, 1);
    of_many[6] |= 1;
    assert_eq!(capture.frame(ms(1), &of_many, &mut log), Fate::Malformed);
    // Sources that are nobody's.
    let strange = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [10, 0, 1, 1]];
    for source in strange {
        let mut frame = syn((source, 40000).into(), s, 1);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Malformed, "{source:?}");
    }
    for source in ["::", "::1", "ff02::1", "::ffff:10.0.0.1", "fd00::1:1"] {
        let source = source.parse::<std::net::Ipv6Addr>().expect("an address");
        let mut frame = syn((source, 40000).into(), v6(1), 1);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        assert_eq!(capture.frame(ms(1), &frame, &mut log), Fate::Malformed, "{source:?}");
    }
    let (mut no_port, mut no_source) = (s, c);
    no_port.set_port(0);
    no_source.set_port(0);
    assert_eq!(capture.frame(ms(1), &syn(c, no_port, 1), &mut log), Fate::Malformed);
    assert_eq!(capture.frame(ms(1), &syn(no_source, s, 1), &mut log), Fate::Malformed);
    assert_eq!(capture.frame(ms(1), &udp(c, no_port, b""), &mut log), Fate::Malformed);
    assert_eq!(
        capture.frame(ms(1), &udp(no_source, s, b""), &mut log),
        Fate::Held,
        "a datagram need not have one"
    );
    let mut unsummed = udp(client6(7), v6(1), &[2; 100]);
    unsummed[14 + 40 + 6..14 + 40 + 8].fill(0);
    assert_eq!(capture.frame(ms(1), &unsummed, &mut log), Fate::Malformed);
    let mut unsummed = udp(c, s, &[2; 100]);
    unsummed[14 + 20 + 6..14 + 20 + 8].fill(0);
    assert_eq!(capture.frame(ms(1), &unsummed, &mut log), Fate::Held, "IPv4 allows it");
    let mut other = syn(client(1), v4(1), 1);
    other[33] = 77;
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut other[14..]).fill_checksum();
    assert_ne!(capture.frame(ms(1), &other, &mut log), Fate::Held, "the address of no service");
}

/// RFC 8200, section 4: what matters may stand behind headers that do not.
#[test]
fn extension_headers_of_ipv6() {
    let (c, s) = (client6(1), v6(1));
    let plain = udp(c, s, b"hello");
    let with = |headers: &[(u8, &[u8])]| {
        let mut bytes: Vec<u8> = Vec::new();
        let next = |at: usize| headers.get(at + 1).map_or(17, |(number, _)| *number);
        for (at, (_, body)) in headers.iter().enumerate() {
            bytes.push(next(at));
            bytes.extend(*body);
        }
        bytes.extend(&plain[54..]);
        let mut frame =
            packet(c.ip(), s.ip(), IpProtocol::Udp, bytes.len(), 64, |out| out.copy_from_slice(&bytes));
        frame[14 + 6] = headers[0].0;
        frame
    };
    const SKIP: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    const LONG: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const ATOMIC: &[u8] = &[0, 0, 0, 1, 2, 3, 4];
    const FIRST: &[u8] = &[0, 0, 1, 1, 2, 3, 4];
    const LATER: &[u8] = &[0, 0, 8, 1, 2, 3, 4];
    const TOO_LONG: &[u8] = &[9, 1, 4, 0, 0, 0, 0];
    for (what, headers, fate) in [
        ("hop by hop", vec![(0, SKIP)], Fate::Held),
        ("several", vec![(0, SKIP), (60, LONG), (43, SKIP)], Fate::Held),
        ("a fragment that is all", vec![(44, ATOMIC), (60, SKIP)], Fate::Held),
        ("a first fragment", vec![(60, SKIP), (44, FIRST)], Fate::Held),
        ("a later fragment", vec![(44, LATER)], Fate::Silent),
        (
            "too many",
            vec![(0, SKIP), (60, SKIP), (60, SKIP), (60, SKIP), (60, SKIP), (60, SKIP), (60, SKIP)],
            Fate::Silent,
        ),
        ("longer than the packet", vec![(0, TOO_LONG)], Fate::Malformed),
    ] {
        let mut capture = captured(2, Limits::default());
        let mut log = Log::default();
        let frame = with(&headers);
        assert_eq!(capture.frame(ms(1), &frame, &mut log), fate, "{what}");
        for length in 0..frame.len() {
            assert_eq!(
                capture.frame(ms(1), &frame[..length], &mut log),
                Fate::Malformed,
                "{what}, {length} bytes"
            );
        }
    }
}

//! Scripts, and floods from a seeded generator.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::config;
use crate::random::Random;
use crate::schema::DnsStatus;

const KEY: Key = *b"a secret 16 byte";

fn limits(dns: &str) -> Limits {
    let loaded = config::loaded(&format!("[node]\naddress = \"203.0.113.2/24\"\n[node.dns]\n{dns}"));
    assert_eq!(loaded.problems, []);
    Limits::new(&loaded.config.node, KEY, Arc::default())
}

fn counts(limits: &Limits) -> DnsStatus {
    limits.counters.status()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ms(ms: u64) -> Moment {
    Moment(1_000_000_000_000 + ms * 1_000_000)
}

/// A response with this code to a question for this name's address.
fn response(code: u8, name: &str) -> Vec<u8> {
    let mut message = vec![0, 1, 0x80, code, 0, 1, 0, 1, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

#[test]
fn the_lan_is_served_and_the_world_is_not() {
    let default = limits("");
    let table = [
        ("10.1.2.3", true),
        ("172.31.0.1", true),
        ("172.32.0.1", false),
        ("192.168.77.1", true),
        ("169.254.1.1", true),
        ("127.0.0.5", true),
        ("::ffff:127.0.0.5", true),
        ("::1", true),
        ("fe80::1", true),
        ("fd00::77", true),
        // The node's own networks: configured, and the one in which it was asked.
        ("203.0.113.77", true),
        ("2001:db8::77", true),
        ("2001:db8:0:1::77", false),
        ("203.0.114.1", false),
        ("8.8.8.8", false),
        ("::ffff:8.8.8.8", false),
    ];
    for (source, allowed) in table {
        let admission = default.admit(ms(0), ip(source), Some(ip("2001:db8::1")));
        assert_eq!(admission == Admission::Yes, allowed, "{source}: {admission:?}");
    }
    let only = limits("allow = [\"192.0.2.0/24\"]");
    assert_eq!(only.admit(ms(0), ip("192.0.2.1"), None), Admission::Yes);
    for source in ["203.0.113.77", "127.0.0.1", "2001:db8::77"] {
        assert_eq!(only.admit(ms(0), ip(source), Some(ip("2001:db8::1"))), Admission::Refuse, "{source}");
    }
}

#[test]
fn who_is_refused_is_told_only_so_often() {
    let limits = limits("");
    let told =
        |at| (0..1000).filter(|_| limits.admit(ms(at), ip("8.8.8.8"), None) == Admission::Refuse).count();
    assert_eq!((told(0), told(0), told(100), told(5000)), (20, 0, 2, 20));
    assert_eq!((counts(&limits).refused, counts(&limits).ignored), (42, 3958));
}

#[test]
fn each_source_has_its_own_questions_and_starts() {
    let limits = limits("queries_per_second = 10\nburst = 3\nboots_per_second = 1\nboots_burst = 2");
    let asked = |source: &str, at| {
        (0..10).filter(|_| limits.admit(ms(at), ip(source), None) == Admission::Yes).count()
    };
    assert_eq!((asked("10.0.0.1", 0), asked("10.0.0.1", 0)), (3, 0));
    assert_eq!(limits.admit(ms(0), ip("10.0.0.1"), None), Admission::TooMuch(ms(100)));
    // As one that has come by a socket for both families, it is the same source.
    assert_eq!((asked("::ffff:10.0.0.1", 50), asked("10.0.0.1", 100)), (0, 1));
    assert_eq!(
        (asked("10.0.0.2", 0), asked("fd00::1:1", 0), asked("fd00::1:2", 0), asked("fd00:0:0:1::1", 0)),
        (3, 3, 0, 3)
    );
    let started = |source: &str, at| (0..10).filter(|_| limits.may_start(ms(at), ip(source)).is_ok()).count();
    assert_eq!((started("10.0.0.1", 0), started("10.0.0.2", 500), started("10.0.0.1", 1000)), (2, 2, 1));
    assert_eq!(limits.may_start(ms(1000), ip("10.0.0.1")), Err(ms(2000)));
    assert_eq!(counts(&limits).boots_limited, 8 + 8 + 9 + 1);
}

#[test]
fn no_limit_is_none() {
    let limits = limits("queries_per_second = 0\nboots_per_second = 0\nresponses_per_second = 0");
    let kind = limits.kind(&response(0, "www.jitsu.test"));
    for _ in 0..100_000 {
        assert_eq!(limits.admit(ms(0), ip("10.0.0.1"), None), Admission::Yes);
        assert_eq!(limits.may_start(ms(0), ip("10.0.0.1")), Ok(()));
        assert_eq!(limits.respond(ms(0), ip("10.0.0.1"), kind), Sending::Whole);
    }
}

#[test]
fn equal_responses_are_those_for_one_name_and_all_errors_of_a_kind() {
    let limits = limits("");
    let kind = |code, name| limits.kind(&response(code, name));
    assert_eq!(kind(0, "www.jitsu.test"), kind(0, "WWW.jitsu.TEST"));
    assert_ne!(kind(0, "www.jitsu.test"), kind(0, "www2.jitsu.test"));
    assert_eq!(kind(3, "a.jitsu.test"), kind(3, "b.jitsu.test"));
    assert_ne!(kind(3, "a.jitsu.test"), kind(2, "a.jitsu.test"));
    let mut aaaa = response(0, "www.jitsu.test");
    let at = aaaa.len() - 3;
    aaaa[at] = 28;
    assert_ne!(limits.kind(&aaaa), kind(0, "www.jitsu.test"));
    // Whatever is no message has a kind, too.
    for length in 0..40 {
        limits.kind(&response(0, "www.jitsu.test")[..length.min(32)]);
    }
    limits.kind(&[&response(0, "a")[..12], &[63; 600]].concat());
}

#[test]
fn beyond_the_rate_every_second_response_says_come_by_tcp() {
    let limits = limits("responses_per_second = 2\nslip = 2");
    let www = limits.kind(&response(0, "www.jitsu.test"));
    let sent = |client: &str, at, kind| -> String {
        let letter = |_| match limits.respond(ms(at), ip(client), kind) {
            Sending::Whole => 'w',
            Sending::Slipped => 's',
            Sending::Not => '-',
        };
        (0..16).map(letter).collect()
    };
    assert_eq!(sent("10.0.0.1", 0, www), "wwwwwwwwww-s-s-s");
    // A neighbour of the victim is the victim, too; another network is not, nor is another kind.
    assert_eq!(sent("10.0.0.200", 0, www), "-s-s-s-s-s-s-s-s");
    assert_eq!(sent("10.0.1.1", 0, www), "wwwwwwwwww-s-s-s");
    assert_eq!(sent("fd00::1", 0, www), "wwwwwwwwww-s-s-s");
    assert_eq!(sent("fd00:0:0:ff::1", 0, www), "-s-s-s-s-s-s-s-s");
    assert_eq!(sent("10.0.0.1", 0, limits.kind(&response(3, "x"))), "wwwwwwwwww-s-s-s");
    assert_eq!(sent("10.0.0.1", 1000, www), "ww-s-s-s-s-s-s-s");
    let none = super::tests::limits("responses_per_second = 1\nslip = 0");
    let sent = (0..1000).filter(|_| none.respond(ms(0), ip("10.0.0.1"), www) != Sending::Not).count();
    assert_eq!((sent, counts(&none).suppressed, counts(&none).slipped), (5, 995, 0));
}

/// A flood of forged sources neither takes the tokens of a well-behaved client nor gives a greedy one any back.
#[test]
fn floods_of_sources_change_nothing_for_the_others() {
    for seed in 0..4 {
        let limits = limits("queries_per_second = 100\nburst = 200");
        let mut random = Random::seeded(seed);
        let (good, greedy) = (ip("192.168.1.10"), ip("192.168.1.66"));
        let (mut well, mut more) = (0, 0);
        for at in 0..2000 {
            // 50 forged, 10 of the greedy, each millisecond; 50 a second of the good.
            for _ in 0..50 {
                let forged = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | random.number() >> 8));
                limits.admit(ms(at), forged, None);
            }
            more += (0..10).filter(|_| limits.admit(ms(at), greedy, None) == Admission::Yes).count();
            if at % 20 == 0 {
                well += usize::from(limits.admit(ms(at), good, None) == Admission::Yes);
            }
        }
        assert_eq!(well, 100, "seed {seed}");
        assert!((399..=401).contains(&more), "seed {seed}: {more}");
    }
}

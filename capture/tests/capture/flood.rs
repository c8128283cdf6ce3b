//! What a flood of SYNs from forged addresses leaves of those of honest clients, and what it does not touch.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use capture::{Capture, Counters, Fate, Limits, Moment, Phase, Rate, ServiceId};

use crate::build::*;

/// SYNs a second.
const FLOOD: u64 = 20_000;

/// When a client sends its SYN again (RFC 6298, section 2), in ms after the first.
const TRIES: [u64; 4] = [0, 1000, 3000, 7000];

/// A SYN to service 1 from anybody.
fn forged(random: &mut Random) -> Vec<u8> {
    let source = [11 + random.below(100) as u8, random.below(256) as u8, random.below(256) as u8, 1];
    let port = 1024 + random.below(60_000) as u16;
    syn((source, port).into(), v4(1), random.below(1 << 32) as u32)
}

/// What came of the clients.
#[derive(Default, Debug)]
struct Outcome {
    /// Clients whose SYN the guest got when it came up.
    survived: usize,
    clients: usize,
    /// The same of those that had sent two or more.
    patient: (usize, usize),
    most_bytes: usize,
}

/// A flood of service 1 while it boots for `boot` ms, and `clients` that begin at any time meanwhile.
fn flooded(capture: &mut Capture, boot: u64, clients: u64, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut log = Log::default();
    let begins: Vec<_> = (0..clients).map(|_| random.below(boot * 1000)).collect();
    let tries = begins.iter().zip(0..).flat_map(|(begin, n)| TRIES.map(|after| (begin + after * 1000, n)));
    let mut events: Vec<_> = tries.filter(|(at, _)| *at < boot * 1000).map(|(at, n)| (at, Some(n))).collect();
    events.extend((0..boot * FLOOD / 1000).map(|number| (number * 1_000_000 / FLOOD, None)));
    events.sort();
    let mut outcome = Outcome { clients: clients as usize, ..Outcome::default() };
    for (us, client_number) in events {
        let frame = match client_number {
            Some(n) => syn(client(n), v4(1), n),
            None => forged(&mut random),
        };
        capture.frame(Moment(us * 1000), &frame, &mut log);
        if log.summons.len() == 1 && log.delivered.is_empty() {
            capture.phase(Moment(us * 1000), ServiceId(1), Phase::Starting, &mut log);
        }
        outcome.most_bytes = outcome.most_bytes.max(capture.held_bytes());
    }
    capture.phase(ms(boot), ServiceId(1), Phase::Forwarding, &mut log);
    capture.replay(ServiceId(1), usize::MAX, &mut log);
    let got: HashSet<_> = log.take_delivered().into_iter().collect();
    for (begin, n) in begins.iter().zip(0..) {
        let survived = usize::from(got.contains(&syn(client(n), v4(1), n)));
        outcome.survived += survived;
        if begin + 1_000_000 < boot * 1000 {
            outcome.patient.0 += survived;
            outcome.patient.1 += 1;
        }
    }
    outcome
}

/// A unikernel: all that comes while it boots is held.
#[test]
fn a_boot_of_20_ms_loses_nothing() {
    let mut capture = captured(2, Limits::default());
    let outcome = flooded(&mut capture, 20, 100, 1);
    assert_eq!(outcome.survived, outcome.clients, "{outcome:?}");
    assert_eq!(capture.counters().evicted, 0);
}

/// A Linux guest: eight times as many SYNs as are held. All who have sent a second one are kept, and of the others
/// those that came within the last tenth of the time. If the oldest were to go whoever it is, three of eight would
/// be left; at random, less than that.
#[test]
fn a_boot_of_4_s_loses_only_who_came_last() {
    let mut outcomes = Outcome::default();
    for seed in 0..2 {
        let mut capture = captured(2, Limits::default());
        let outcome = flooded(&mut capture, 4000, 400, seed);
        assert!(outcome.most_bytes <= 1 << 20, "{outcome:?}");
        outcomes.most_bytes = outcomes.most_bytes.max(outcome.most_bytes);
        outcomes.survived += outcome.survived;
        outcomes.clients += outcome.clients;
        outcomes.patient.0 += outcome.patient.0;
        outcomes.patient.1 += outcome.patient.1;
        assert!(capture.counters().evicted > 60_000);
    }
    println!("{outcomes:?}");
    assert!(outcomes.patient.0 * 100 >= outcomes.patient.1 * 99, "{outcomes:?}");
    assert!(outcomes.survived * 100 >= outcomes.clients * 80, "{outcomes:?}");
}

/// Others' clients, questions for addresses, and memory are as without a flood; and it is over when it is over.
#[test]
fn a_flood_touches_nobody_else() {
    let limits = Limits { summons: Rate::per_second(5, 10), ..Limits::default() };
    let mut capture = captured(40, limits);
    let mut log = Log::default();
    let mut random = Random(3);
    for number in 0..100_000_u64 {
        let now = Moment(number * 1_000_000_000 / FLOOD);
        let mut frame = forged(&mut random);
        // Half of it goes to all services.
        if number % 2 == 0 {
            let to = random.below(39) as u8;
            let source = (Ipv4Addr::from(0x0b00_0000 + random.below(1 << 20) as u32), 999);
            frame = syn(source.into(), v4(to), 1);
        }
        capture.frame(now, &frame, &mut log);
        if number % 1000 == 0 {
            let n = (number / 1000) as u32;
            assert_eq!(capture.frame(now, &who_has(client(n).ip(), v4(1).ip()), &mut log), Fate::Answered);
            assert_eq!(capture.frame(now, &syn(client(n), v4(39), n), &mut log), Fate::Held);
            capture.advance(now, &mut log);
            assert!(capture.held_bytes() <= 1 << 20);
        }
    }
    // 40 services, 5 s: all could be meant, and are started at the pace.
    assert!((30..=10 + 5 * 5).contains(&log.summons.len()), "{}", log.summons.len());
    // Those of the service that nobody floods are all there.
    assert_eq!(capture.held(ServiceId(39)), 100);
    capture.advance(ms(60_000), &mut log);
    assert_eq!((capture.held_bytes(), capture.next()), (0, None));
    let Counters { replayed, evicted, expired, given_up, .. } = capture.counters();
    assert_eq!(capture.counters().fate(Fate::Held), replayed + evicted + expired + given_up);
}

//! Any frames, whole and damaged, any phases and times, against what always holds. The fuzz target `capture_frames`
//! makes the choices, too.

use std::collections::{HashSet, VecDeque};

use capture::{
    Capture, Counters, EthernetAddress, Fate, Limits, Moment, Offer, Phase, Rate, Record, ServiceId,
};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Ipv4Packet, Ipv6Packet, NdiscRepr, TcpControl, TcpRepr,
};

use crate::build::*;

const SERVICES: usize = 3;

/// What has been seen of one run.
#[derive(Default, Debug)]
pub struct Seen {
    pub fates: Vec<u64>,
    pub evicted: u64,
    pub expired: u64,
    pub given_up: u64,
    pub replayed: u64,
    pub established: u64,
    pub handed_over: u64,
}

/// Makes so many steps; `choose` gives a number below the one it is given.
pub fn run(mut choose: impl FnMut(usize) -> usize, steps: usize) -> Seen {
    // Little room, so that it is short.
    let limits = Limits {
        bytes: 1 << 16,
        frames_per_service: 100,
        half_open: 20,
        open: 10,
        summons: Rate::per_second(3, 2),
        summons_per_source: Rate::per_second(2, 2),
        ..Limits::default()
    };
    let mut services: Vec<_> = (0..SERVICES as u8).map(service).collect();
    services[2].handshake = Some(Offer {
        ports: [80, 0, 0, 0],
        connections: 100,
        mss: 1460,
        window: 200,
        window_scale: 0,
        sack: true,
        timestamps: false,
    });
    let mut capture = Capture::new(services, limits, KEY).expect("good services");
    let mut model = Model::default();
    let mut now = 0_u64;
    // Frames come slowly, or so fast that room gets short.
    let hurry = [1, 1000][choose(2)];
    for _ in 0..steps {
        let mut log = Log::default();
        let service = choose(SERVICES);
        let id = ServiceId(service as u16);
        match choose(200) {
            0 | 1 => {
                let phase = phase(choose(8), Moment(now + choose(256) as u64 * 10_000_000));
                capture.phase(Moment(now), id, phase, &mut log);
                model.phases[service] = phase;
            }
            2..=5 => {
                let most = choose(10);
                let left = capture.replay(id, most, &mut log);
                assert_eq!(left, capture.held(id));
                assert!(log.delivered.len() <= most);
            }
            6..=15 => {
                now += choose(256) as u64 * [1_000, 100_000, 1_000_000, 30_000_000][choose(4)] / hurry;
                capture.advance(Moment(now), &mut log);
                assert!(capture.next().is_none_or(|next| next > Moment(now)));
            }
            16 => {
                for record in capture.hand_over(Moment(now), id, &mut log) {
                    assert!(record.data.len() <= 200);
                    let mut bytes = Vec::new();
                    record.encode(&mut bytes);
                    assert_eq!(Record::decode(&bytes), Ok((record, [].as_slice())));
                }
                model.phases[service] = Phase::Resuming;
            }
            choice => {
                let said = if choice < 40 { model.said(&mut choose) } else { None };
                let frame = said.unwrap_or_else(|| frame(&mut choose));
                let fate = capture.frame(Moment(now), &frame, &mut log);
                model.came(service_of(&frame), &frame, fate, &log);
            }
        }
        model.went(&capture, &log);
    }
    let counters = capture.counters();
    let held: usize = (0..SERVICES as u16).map(|id| capture.held(ServiceId(id))).sum();
    let Counters { evicted, expired, given_up, replayed, .. } = counters;
    assert_eq!(counters.fate(Fate::Held), held as u64 + evicted + expired + given_up + replayed);
    // Once all is told to go, all room is there again.
    let mut log = Log::default();
    for id in 0..SERVICES as u16 {
        capture.phase(Moment(now), ServiceId(id), Phase::Up, &mut log);
        assert_eq!(capture.held(ServiceId(id)), 0);
    }
    model.phases = [Phase::Up; SERVICES];
    model.went(&capture, &log);
    assert_eq!((capture.held_bytes(), capture.next()), (0, None));
    let (established, handed_over) = (counters.handshakes.established, counters.handshakes.handed_over);
    let fates = Fate::ALL.map(|fate| counters.fate(fate)).to_vec();
    Seen { fates, evicted, expired, given_up, replayed, established, handed_over }
}

/// What may still come out.
#[derive(Default)]
struct Model {
    phases: [Phase; SERVICES],
    held: [VecDeque<Vec<u8>>; SERVICES],
    again: HashSet<Vec<u8>>,
    /// SYN-ACKs to clients of IPv4.
    syn_acks: Vec<Vec<u8>>,
}

impl Model {
    /// What a client whose SYN has been answered says next, or about.
    fn said(&self, choose: &mut impl FnMut(usize) -> usize) -> Option<Vec<u8>> {
        let last = self.syn_acks.len().checked_sub(1 + choose(8))?;
        let syn_ack = &self.syn_acks[last];
        let number =
            |at: usize| u32::from_be_bytes([syn_ack[at], syn_ack[at + 1], syn_ack[at + 2], syn_ack[at + 3]]);
        let (c, s) = (([syn_ack[30], syn_ack[31], syn_ack[32], syn_ack[33]], 40000).into(), v4(2));
        let control = [TcpControl::Psh, TcpControl::Psh, TcpControl::Fin, TcpControl::Rst][choose(4)];
        let (seq, ack) =
            (number(42) + choose(4) as u32 * 20, number(38).wrapping_add(1 - choose(8) as u32 / 7));
        let payload = vec![7; choose(3) * 20];
        Some(tcp(c, s, &TcpRepr { payload: &payload, ..plain(c, s, control, seq, Some(ack)) }))
    }

    fn came(&mut self, service: Option<usize>, frame: &[u8], fate: Fate, log: &Log) {
        match (fate, service) {
            (Fate::Held, Some(service)) => self.held[service].push_back(frame.to_vec()),
            // It may come out in the place of the first.
            (Fate::Again, Some(_)) => _ = self.again.insert(frame.to_vec()),
            (Fate::Passed, Some(service)) => {
                assert_eq!(self.phases[service], Phase::Forwarding);
                self.held[service].push_back(frame.to_vec());
            }
            (Fate::Held | Fate::Again | Fate::Passed, None) => panic!("{fate:?} for nobody"),
            (Fate::Answered | Fate::Refused, _) => assert_eq!(log.sent.len(), 1),
            // There is no room for it, and yet it wakes.
            (Fate::Full, _) => assert_eq!((log.sent.len(), log.delivered.len()), (0, 0)),
            (Fate::Kept, _) => assert!(log.sent.len() <= 1 && log.delivered.is_empty()),
            (Fate::Conflict, _) => assert!(log.sent.len() <= 1),
            _ => assert_eq!((log.sent.len(), log.delivered.len(), log.summons.len()), (0, 0, 0)),
        }
    }

    fn went(&mut self, capture: &Capture, log: &Log) {
        assert!(capture.held_bytes() <= 1 << 16);
        for (ServiceId(service), frame) in &log.delivered {
            let service = usize::from(*service);
            assert!(matches!(self.phases[service], Phase::Forwarding | Phase::Up));
            // In order: what was held before it has had to go.
            match self.held[service].iter().position(|held| held == frame) {
                Some(place) => drop(self.held[service].drain(..=place)),
                None => assert!(self.again.contains(frame), "it came, and has not been delivered"),
            }
        }
        for (ServiceId(service), _) in &log.summons {
            let phase = self.phases[usize::from(*service)];
            assert!(
                !matches!(phase, Phase::Starting | Phase::Resuming | Phase::Forwarding | Phase::Up),
                "{phase:?}"
            );
        }
        log.sent.iter().for_each(|frame| well_formed(frame));
        let syn_acks =
            log.sent.iter().filter(|frame| frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] == 0x12);
        self.syn_acks.extend(syn_acks.cloned());
    }
}

fn service_of(frame: &[u8]) -> Option<usize> {
    let mac = EthernetAddress(*frame.first_chunk::<6>()?);
    (0..SERVICES).find(|service| mac_of_service(*service as u8) == mac)
}

/// What is sent is right in its lengths, and of a service.
fn well_formed(frame: &[u8]) {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    assert!((0..SERVICES).any(|service| mac_of_service(service as u8) == ethernet.src_addr()));
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("an IPv4 packet");
            assert!(ip.verify_checksum() && usize::from(ip.total_len()) == ethernet.payload().len());
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).expect("an IPv6 packet");
            assert!(ip.total_len() == ethernet.payload().len());
        }
        other => assert_eq!(other, EthernetProtocol::Arp),
    }
}

fn phase(number: usize, until: Moment) -> Phase {
    [
        Phase::Down,
        Phase::Starting,
        Phase::Forwarding,
        Phase::Up,
        Phase::Stopping,
        Phase::Paused,
        Phase::Resuming,
        Phase::Failed { until },
    ][number]
}

/// A frame of any kind for any service, one in four with some bytes changed, cut or added.
fn frame(choose: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let n = choose(SERVICES + 1) as u8;
    let (c, s) = if choose(3) == 0 {
        (client6(choose(50) as u16), v6(n))
    } else {
        let many = [2, 256][choose(2)];
        (client((choose(many) * choose(many)) as u32), v4(n))
    };
    let mut frame = match choose(10) {
        0..=3 => syn_at(c, s, choose(2) as u32, choose(256) as u32),
        4 => udp(c, s, &vec![choose(256) as u8; choose(256) * choose(6)]),
        5 => ping(c.ip(), s.ip(), choose(256) as u16),
        6 => {
            let control = [TcpControl::None, TcpControl::Fin, TcpControl::Rst, TcpControl::Syn][choose(4)];
            tcp(c, s, &plain(c, s, control, choose(256) as u32, Some(choose(256) as u32)))
        }
        7 if c.is_ipv4() && choose(8) == 0 => {
            let mut claim = who_has(s.ip(), s.ip());
            claim[22] = 10;
            claim
        }
        7 if c.is_ipv4() => who_has(c.ip(), s.ip()),
        7 => {
            let std::net::IpAddr::V6(target) = s.ip() else { panic!("IPv6") };
            let std::net::IpAddr::V6(asker) = c.ip() else { panic!("IPv6") };
            let (group, to) = solicited_node(target);
            let message =
                NdiscRepr::NeighborSolicit { target_addr: target, lladdr: Some(mac_of(c.ip()).into()) };
            neighbour(mac_of(c.ip()), to, asker, group, message)
        }
        8 => {
            let mut fragment = udp(c, s, &[1; 64]);
            fragment[20] |= 0x20;
            fragment
        }
        _ => (0..choose(100)).map(|_| choose(256) as u8).collect(),
    };
    if choose(4) == 0 {
        for _ in 0..choose(4) {
            let at = choose(frame.len().max(1));
            if let Some(byte) = frame.get_mut(at) {
                *byte = choose(256) as u8;
            }
        }
        match choose(4) {
            0 => frame.truncate(choose(256)),
            1 => frame.resize(frame.len() + choose(40), 0),
            _ => {}
        }
    }
    frame
}

#[test]
fn whatever_comes_the_books_are_right() {
    let mut total = Seen { fates: vec![0; Fate::ALL.len()], ..Seen::default() };
    for seed in 0..60 {
        let mut random = Random(seed);
        let seen = run(|n| random.below(n as u64) as usize, 3000);
        total.fates.iter_mut().zip(seen.fates).for_each(|(sum, count)| *sum += count);
        total.evicted += seen.evicted;
        total.expired += seen.expired;
        total.given_up += seen.given_up;
        total.replayed += seen.replayed;
        total.established += seen.established;
        total.handed_over += seen.handed_over;
    }
    println!("{total:?}");
    for (fate, count) in Fate::ALL.into_iter().zip(&total.fates) {
        assert!(*count > 10, "{fate:?}: {count}");
    }
    let Seen { evicted, expired, given_up, replayed, established, handed_over, .. } = total;
    for count in [evicted, expired, given_up, replayed, established, handed_over] {
        assert!(count > 100, "{total:?}");
    }
}

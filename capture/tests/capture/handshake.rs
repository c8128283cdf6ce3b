//! Connections that are opened on a guest's behalf, segment by segment.

use std::net::SocketAddr;
use std::time::Duration;

use capture::{
    Capture, Fate, Limits, Offer, Phase, Rate, Record, ServiceId, State, Timestamps, WindowScales,
};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber, TcpTimestampRepr,
};

use crate::build::*;

const ONE: ServiceId = ServiceId(1);

fn offer() -> Offer {
    Offer {
        ports: [80, 0, 0, 0],
        connections: 100,
        mss: 1400,
        window: 1000,
        window_scale: 2,
        sack: true,
        timestamps: true,
    }
}

fn with(offer: Offer, limits: Limits) -> Capture {
    let mut one = service(1);
    one.handshake = Some(offer);
    Capture::new(vec![service(0), one], limits, KEY).expect("good services")
}

/// A conversation of one client with service 1.
struct Talk {
    capture: Capture,
    log: Log,
    now: u64,
    from: SocketAddr,
    to: SocketAddr,
}

/// What a segment says, apart from its ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Said {
    control: TcpControl,
    seq: u32,
    ack: Option<u32>,
    window: u16,
}

fn said(repr: &TcpRepr<'_>) -> Said {
    let (seq, ack) = (repr.seq_number.0 as u32, repr.ack_number.map(|ack| ack.0 as u32));
    Said { control: repr.control, seq, ack, window: repr.window_len }
}

/// The segment in a frame from a service.
fn segment(frame: &[u8]) -> (EthernetFrame<&[u8]>, TcpRepr<'_>) {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    let (source, destination, payload): (IpAddress, IpAddress, _) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("an IPv4 packet");
            (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
        }
        _ => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).expect("an IPv6 packet");
            (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
        }
    };
    let packet = TcpPacket::new_checked(payload).expect("a segment");
    let repr = TcpRepr::parse(&packet, &source, &destination, &Default::default()).expect("right checksums");
    (ethernet, repr)
}

const SEQ: u32 = u32::MAX - 5;

impl Talk {
    fn new() -> Self {
        Talk::of(client(1), v4(1), with(offer(), Limits::default()))
    }

    fn of(from: SocketAddr, to: SocketAddr, capture: Capture) -> Self {
        Talk { capture, log: Log::default(), now: 1000, from, to }
    }

    /// A client says something; what is answered. Sequence numbers are counted from the SYN's.
    fn say(&mut self, control: TcpControl, seq: i32, ack: Option<u32>, payload: &[u8]) -> Option<Said> {
        let stamp = TcpTimestampRepr::new(self.now as u32, 0);
        self.say_at(control, seq, ack, payload, Some(stamp))
    }

    fn say_at(
        &mut self,
        control: TcpControl,
        seq: i32,
        ack: Option<u32>,
        payload: &[u8],
        timestamp: Option<TcpTimestampRepr>,
    ) -> Option<Said> {
        let seq = SEQ.wrapping_add_signed(seq);
        let repr = TcpRepr { timestamp, payload, ..plain(self.from, self.to, control, seq, ack) };
        self.frame(&tcp(self.from, self.to, &repr))
    }

    fn frame(&mut self, frame: &[u8]) -> Option<Said> {
        self.log.sent.clear();
        assert_eq!(self.capture.frame(ms(self.now), frame, &mut self.log), Fate::Kept);
        assert!(self.log.sent.len() <= 1);
        self.log.sent.first().map(|frame| said(&segment(frame).1))
    }

    /// Opens it as Linux would; returns the ISS.
    fn open(&mut self) -> u32 {
        self.frame(&syn_at(self.from, self.to, SEQ, self.now as u32)).expect("a SYN-ACK").seq
    }

    /// ... and says that the SYN-ACK has come; returns SND.NXT of the service's end.
    fn established(&mut self) -> u32 {
        let next = self.open().wrapping_add(1);
        assert_eq!(self.say(TcpControl::None, 1, Some(next), b""), None);
        next
    }

    fn record(&mut self) -> Record {
        let mut records = self.capture.hand_over(ms(self.now), ONE, &mut self.log);
        assert_eq!(records.len(), 1);
        records.remove(0)
    }
}

#[test]
fn a_syn_is_answered_with_what_both_can() {
    for (c, s, mss) in [(client(1), v4(1), 1400), (client6(1), v6(1), 1380)] {
        let mut talk = Talk::of(c, s, with(offer(), Limits::default()));
        assert_eq!(talk.capture.frame(ms(1000), &syn_at(c, s, SEQ, 77), &mut talk.log), Fate::Kept);
        assert_eq!(talk.log.summons, [(ONE, c.ip())]);
        assert_eq!(talk.capture.held(ONE), 0);
        let (ethernet, answer) = segment(&talk.log.sent[0]);
        assert_eq!((ethernet.src_addr(), ethernet.dst_addr()), (mac_of_service(1), mac_of(c.ip())));
        let expected = TcpRepr {
            window_len: 1000,
            window_scale: Some(2),
            max_seg_size: Some(mss),
            sack_permitted: true,
            timestamp: answer.timestamp,
            ..plain(s, c, TcpControl::Syn, answer.seq_number.0 as u32, Some(SEQ.wrapping_add(1)))
        };
        assert_eq!(answer, expected);
        assert_eq!(answer.timestamp.map(|stamp| stamp.tsecr), Some(77));
    }
    // A client that says nothing of these is told nothing.
    let mut talk = Talk::new();
    assert!(talk.say_at(TcpControl::Syn, 0, None, b"", None).is_some());
    let (_, answer) = segment(&talk.log.sent[0]);
    assert_eq!((answer.window_scale, answer.sack_permitted, answer.timestamp), (None, false, None));
    let record = talk.record();
    assert_eq!((record.mss, record.window_scales, record.sack, record.timestamps), (536, None, false, None));
    // A guest that cannot do them offers none.
    let mut talk = Talk::of(
        client(1),
        v4(1),
        with(Offer { sack: false, timestamps: false, ..offer() }, Limits::default()),
    );
    talk.open();
    let (_, answer) = segment(&talk.log.sent[0]);
    assert_eq!((answer.window_scale, answer.sack_permitted, answer.timestamp), (Some(2), false, None));
}

/// RFC 6528.
#[test]
fn initial_sequence_numbers_tell_nothing_of_each_other() {
    let iss = |n, at, key| {
        let mut one = service(1);
        one.handshake = Some(offer());
        let mut capture = Capture::new(vec![service(0), one], Limits::default(), key).expect("good");
        let mut log = Log::default();
        capture.frame(ms(at), &syn(client(n), v4(1), 1), &mut log);
        segment(&log.sent[0]).1.seq_number.0 as u32
    };
    let first = iss(1, 1000, KEY);
    assert_eq!(iss(1, 1000, KEY), first);
    // Of one connection, they grow by 1 in 4 µs.
    assert_eq!(iss(1, 2000, KEY).wrapping_sub(first), 250_000);
    let others: std::collections::HashSet<_> = (2..1002).map(|n| iss(n, 1000, KEY)).collect();
    assert_eq!(others.len(), 1000);
    assert_ne!(iss(1, 1000, [8; 16]), first);
    let near = others.iter().filter(|other| other.wrapping_sub(first) < 1 << 24).count();
    assert!(near < 20, "{near} of 1,000 in a 256th of the numbers");
}

#[test]
fn data_is_kept_in_order_and_acknowledged() {
    let mut talk = Talk::new();
    let next = talk.established();
    let ack = Some(next);
    let at = |count: u32, left: u16| {
        Some(Said {
            control: TcpControl::None,
            seq: next,
            ack: Some(SEQ.wrapping_add(1 + count)),
            window: left / 4,
        })
    };
    talk.now += 10;
    assert_eq!(talk.say(TcpControl::Psh, 1, ack, b"GET "), at(4, 996));
    assert_eq!(talk.say(TcpControl::Psh, 1, ack, b"GET "), at(4, 996), "again");
    assert_eq!(talk.say(TcpControl::None, 9, ack, b"later"), at(4, 996), "out of order");
    assert_eq!(talk.say(TcpControl::None, 3, ack, b"T / ab"), at(8, 992), "partly known");
    assert_eq!(talk.say(TcpControl::None, 9, ack, &[7; 990]), at(998, 2));
    assert_eq!(talk.say(TcpControl::Fin, 999, ack, b"wxyz"), at(1000, 0), "more than fits, and so no end");
    assert_eq!(talk.say(TcpControl::Fin, 1001, ack, b"yz"), at(1000, 0), "a probe");
    assert_eq!(talk.say(TcpControl::None, 1001, ack, b""), None);
    let record = talk.record();
    assert_eq!(record.state, State::Established);
    assert_eq!(record.data, [b"GET / ab".as_slice(), &[7; 990], b"wx"].concat());
    assert_eq!(record.rcv_nxt, SEQ.wrapping_add(1001));
}

#[test]
fn the_end_of_what_a_client_sends() {
    let mut talk = Talk::new();
    let next = talk.established();
    let ack = Some(next);
    let at = |count: u32, left: u16| {
        Some(Said {
            control: TcpControl::None,
            seq: next,
            ack: Some(SEQ.wrapping_add(1 + count)),
            window: left / 4,
        })
    };
    assert_eq!(talk.say(TcpControl::Fin, 5, ack, b"end"), at(0, 1000), "out of order");
    assert_eq!(talk.say(TcpControl::Fin, 1, ack, b"the end"), at(8, 993));
    assert_eq!(talk.say(TcpControl::Fin, 1, ack, b"the end"), at(8, 993), "again");
    assert_eq!(talk.say(TcpControl::None, 9, ack, b"more"), at(8, 993), "after the end");
    let record = talk.record();
    assert_eq!((record.state, record.data.as_slice()), (State::CloseWait, b"the end".as_slice()));
    assert_eq!(record.rcv_nxt, SEQ.wrapping_add(9));
}

#[test]
fn a_record_has_all_of_the_connection() {
    let mut talk = Talk::new();
    let next = talk.established();
    let (_, syn_ack) = (0, next.wrapping_sub(1));
    talk.now += 500;
    talk.say(TcpControl::Psh, 1, Some(next), b"hello");
    let sent = segment(&talk.log.sent[0]).1.timestamp.expect("a timestamp");
    let record = talk.record();
    let timestamps = record.timestamps.expect("timestamps");
    assert_eq!((timestamps.recent, timestamps.value(1500)), (1500, sent.tsval));
    let expected = Record {
        state: State::Established,
        local: v4(1),
        remote: client(1),
        mac: mac_of(client(1).ip()).0,
        iss: syn_ack,
        irs: SEQ,
        snd_una: next,
        snd_nxt: next,
        snd_wnd: 64240 << 7,
        snd_wl1: SEQ.wrapping_add(1),
        snd_wl2: next,
        rcv_nxt: SEQ.wrapping_add(6),
        mss: 1460,
        window_scales: Some(WindowScales { theirs: 7, ours: 2 }),
        sack: true,
        timestamps: Some(Timestamps { recent: 1500, offset: timestamps.offset }),
        data: b"hello".to_vec(),
    };
    assert_eq!(record, expected);
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert_eq!(Record::decode(&bytes), Ok((record, [].as_slice())));
}

/// RFC 9293, section 3.10.7.4, RFC 5961 and RFC 7323.
#[test]
fn segments_that_are_not_of_the_connection() {
    let mut talk = Talk::new();
    let next = talk.open().wrapping_add(1);
    let syn_ack = Some(Said {
        control: TcpControl::Syn,
        seq: next.wrapping_sub(1),
        ack: Some(SEQ.wrapping_add(1)),
        window: 1000,
    });
    talk.now += 100;
    let wrong = next.wrapping_add(7);
    let reset = Some(Said { control: TcpControl::Rst, seq: wrong, ack: None, window: 0 });
    assert_eq!(talk.say(TcpControl::None, 1, Some(wrong), b""), reset, "acknowledges what was never sent");
    assert_eq!(talk.frame(&syn_at(client(1), v4(1), SEQ, 1100)), syn_ack, "the SYN once more");
    assert_eq!(segment(&talk.log.sent[0]).1.timestamp.map(|stamp| stamp.tsecr), Some(1100));
    assert_eq!(talk.say(TcpControl::Rst, 500, None, b""), syn_ack, "an RST in the window, but a guess");
    assert_eq!(talk.say(TcpControl::None, 1, None, b""), None, "without ACK");
    assert_eq!(talk.say(TcpControl::None, 1, Some(next), b""), None);
    let ack =
        Some(Said { control: TcpControl::None, seq: next, ack: Some(SEQ.wrapping_add(1)), window: 250 });
    assert_eq!(talk.say(TcpControl::None, 1, Some(wrong), b"x"), ack, "acknowledges what was never sent");
    assert_eq!(talk.say(TcpControl::Syn, 5, None, b""), ack, "a SYN in the window");
    assert_eq!(talk.frame(&syn_at(client(1), v4(1), SEQ, 1100)), ack, "the SYN, late");
    assert_eq!(talk.say(TcpControl::None, 1001, Some(next), b"x"), ack, "past the window");
    assert_eq!(talk.say(TcpControl::Rst, 1001, None, b""), None, "an RST past the window");
    assert_eq!(talk.say(TcpControl::Rst, 1000, None, b""), ack, "an RST in the window, but a guess");
    let old = TcpTimestampRepr::new(1099, 0);
    assert_eq!(talk.say_at(TcpControl::None, 1, Some(next), b"x", Some(old)), ack, "an old duplicate");
    assert_eq!(talk.say_at(TcpControl::None, 1, Some(next), b"x", None), None, "without timestamp");
    // What is out of order tells no new time (RFC 7323, section 4.3): what was sent before it is still good.
    let new = TcpTimestampRepr::new(9000, 0);
    assert_eq!(talk.say_at(TcpControl::None, 2, Some(next), b"y", Some(new)), ack);
    let taken = Said { control: TcpControl::None, seq: next, ack: Some(SEQ.wrapping_add(2)), window: 249 };
    assert_eq!(talk.say(TcpControl::None, 1, Some(next), b"x"), Some(taken));
    assert_eq!(talk.capture.counters().handshakes.reset, 0);
    assert_eq!(talk.say(TcpControl::Rst, 2, None, b""), None, "the RST");
    assert_eq!(talk.capture.counters().handshakes.reset, 1);
    assert_eq!(talk.capture.hand_over(ms(talk.now), ONE, &mut talk.log), []);
}

#[test]
fn a_syn_ack_is_sent_again_a_few_times() {
    let mut talk = Talk::new();
    let iss = talk.open();
    talk.log.sent.clear();
    for (wait, at) in [(1000, 2000), (2000, 4000), (4000, 8000)] {
        assert_eq!(talk.capture.next(), Some(ms(at)), "{wait} ms");
        talk.capture.advance(ms(at - 1), &mut talk.log);
        assert_eq!(talk.log.sent.len(), 0);
        talk.capture.advance(ms(at), &mut talk.log);
        let (_, answer) = segment(&talk.log.sent[0]);
        assert_eq!((answer.control, answer.seq_number), (TcpControl::Syn, TcpSeqNumber(iss as i32)));
        talk.log.sent.clear();
    }
    assert_eq!(talk.capture.next(), Some(ms(16_000)));
    talk.capture.advance(ms(16_000), &mut talk.log);
    assert_eq!((talk.log.sent.len(), talk.capture.next()), (0, None));
    assert_eq!(talk.capture.counters().handshakes.unanswered, 1);
    // Once it is answered it is not sent again; it is kept for a minute.
    let mut talk = Talk::new();
    talk.established();
    assert_eq!(talk.capture.next(), Some(ms(61_000)));
    talk.log.sent.clear();
    talk.capture.advance(ms(61_000), &mut talk.log);
    assert_eq!(segment(&talk.log.sent[0]).1.control, TcpControl::Rst);
    assert_eq!(talk.capture.next(), None);
}

#[test]
fn after_the_handover_segments_are_held_for_the_guest() {
    let mut talk = Talk::new();
    let next = talk.established();
    talk.capture.phase(ms(1100), ONE, Phase::Starting, &mut talk.log);
    talk.say(TcpControl::Psh, 1, Some(next), b"hello");
    talk.record();
    talk.log.sent.clear();
    let more = tcp(
        client(1),
        v4(1),
        &TcpRepr { payload: b"more", ..plain(client(1), v4(1), TcpControl::Psh, 9, Some(next)) },
    );
    assert_eq!(talk.capture.frame(ms(1200), &more, &mut talk.log), Fate::Held);
    let other = syn(client(2), v4(1), 5);
    assert_eq!(talk.capture.frame(ms(1201), &other, &mut talk.log), Fate::Held, "the guest answers it soon");
    talk.capture.phase(ms(1300), ONE, Phase::Forwarding, &mut talk.log);
    assert_eq!(talk.capture.replay(ONE, 10, &mut talk.log), 0);
    assert_eq!(talk.log.take_delivered(), [more, other]);
    assert_eq!(talk.log.sent.len(), 0);
    assert_eq!(talk.capture.counters().handshakes.handed_over, 1);
}

/// All that a client has been told is put away before, and another process goes on from there at any moment.
#[test]
fn connections_outlive_the_process() {
    let mut talk = Talk::new();
    let next = talk.open().wrapping_add(1);
    let mut said = 0;
    let steps: [(TcpControl, &[u8], usize); 5] = [
        (TcpControl::None, b"", 2),
        (TcpControl::Psh, b"GET ", 3),
        (TcpControl::None, b"", 3),
        (TcpControl::Psh, b"/", 4),
        (TcpControl::Fin, b"", 5),
    ];
    assert_eq!(talk.log.kept.len(), 1);
    for (control, data, kept) in steps {
        // The process ends, and the next one has another secret, and what was put away.
        let mut one = service(1);
        one.handshake = Some(offer());
        let mut capture = Capture::new(vec![service(0), one], Limits::default(), [9; 16]).expect("good");
        let last = talk.log.kept.last().expect("a record").clone();
        let kept_now: Vec<_> = talk.capture.kept().map(|is| (is.state, is.rcv_nxt, &is.data)).collect();
        assert_eq!(kept_now, [(last.state, last.rcv_nxt, &last.data)]);
        assert_eq!(capture.adopt(ms(talk.now), last.clone()), Some(ONE));
        assert_eq!(capture.adopt(ms(talk.now), last), None, "twice");
        talk.capture = capture;
        talk.say(control, 1 + said, Some(next), data);
        said += data.len() as i32;
        assert_eq!(talk.log.kept.len(), kept, "{control:?}");
    }
    assert_eq!(talk.capture.next(), Some(ms(talk.now + 60_000)));
    let record = talk.record();
    assert_eq!((record.state, record.data.as_slice()), (State::CloseWait, b"GET /".as_slice()));
    assert_eq!(talk.capture.kept().count(), 0);
}

#[test]
fn what_cannot_be_kept_is_not_adopted() {
    let mut talk = Talk::new();
    talk.established();
    let good = talk.record();
    let other_port = Record { local: (good.local.ip(), 81).into(), ..good.clone() };
    let too_much = Record { data: vec![0; 1001], ..good.clone() };
    for record in [
        other_port,
        too_much,
        Record { local: v4(0), ..good.clone() },
        Record { local: v4(9), ..good.clone() },
    ] {
        assert_eq!(with(offer(), Limits::default()).adopt(ms(0), record), None);
    }
    let mut full = with(Offer { connections: 1, ..offer() }, Limits::default());
    assert_eq!(full.adopt(ms(0), good.clone()), Some(ONE));
    assert_eq!(full.adopt(ms(0), Record { remote: client(7), ..good.clone() }), None);
    let mut up = with(offer(), Limits::default());
    up.phase(ms(0), ONE, Phase::Up, &mut talk.log);
    assert_eq!(up.adopt(ms(0), good), None, "its guest has it");
}

#[test]
fn clients_are_told_when_no_guest_takes_their_connections() {
    let until = ms(100_000);
    for phase in [Phase::Failed { until }, Phase::Forwarding, Phase::Up] {
        let mut talk = Talk::new();
        let next = talk.established();
        talk.from = client(2);
        talk.open();
        talk.log.sent.clear();
        talk.capture.phase(ms(1100), ONE, phase, &mut talk.log);
        let told: Vec<_> = talk.log.sent.iter().map(|frame| said(&segment(frame).1)).collect();
        assert_eq!(told, [Said { control: TcpControl::Rst, seq: next, ack: None, window: 0 }], "{phase:?}");
        assert_eq!(talk.capture.counters().handshakes.given_up, 2);
        assert_eq!(talk.capture.next(), None);
    }
    // A start that is given up for now is asked for again by the next segment.
    let mut talk = Talk::new();
    let next = talk.established();
    talk.capture.phase(ms(1100), ONE, Phase::Starting, &mut talk.log);
    talk.capture.phase(ms(1200), ONE, Phase::Down, &mut talk.log);
    talk.say(TcpControl::Psh, 1, Some(next), b"hello");
    assert_eq!(talk.log.summons.len(), 2);
}

#[test]
fn a_summon_that_is_put_off_is_made_for_connections_too() {
    let mut talk = Talk::of(
        client(1),
        v4(1),
        with(offer(), Limits { summons: Rate::per_second(1, 1), ..Limits::default() }),
    );
    talk.capture.frame(ms(1000), &syn(client(9), v4(0), 1), &mut talk.log);
    talk.open();
    assert_eq!(talk.log.summons, [(ServiceId(0), client(9).ip())]);
    talk.capture.advance(ms(2000), &mut talk.log);
    assert_eq!(talk.log.summons[1..], [(ONE, client(1).ip())]);
}

#[test]
fn only_agreed_ports_and_guests_are_answered_for() {
    let mut capture = with(Offer { ports: [443, 0, 0, 0], ..offer() }, Limits::default());
    let mut log = Log::default();
    assert_eq!(capture.frame(ms(0), &syn(client(1), v4(1), 1), &mut log), Fate::Held);
    assert_eq!(capture.frame(ms(0), &syn(client(1), v4(0), 1), &mut log), Fate::Held);
    assert_eq!(log.sent.len(), 0);
    // What is not understood is left to the guest.
    let mut capture = with(offer(), Limits::default());
    let mut odd = syn(client(1), v4(1), 1);
    odd[14 + 20 + 20 + 1] = 3;
    TcpPacket::new_unchecked(&mut odd[34..]).fill_checksum(&client(1).ip().into(), &v4(1).ip().into());
    assert_eq!(capture.frame(ms(0), &odd, &mut log), Fate::Held);
    assert_eq!(log.sent.len(), 0);
}

#[test]
fn half_open_connections_are_bounded_and_nobody_is_pushed_out_who_may_still_answer() {
    let limits = Limits { half_open: 10, ..Limits::default() };
    let mut capture = with(offer(), limits);
    let mut log = Log::default();
    let mut fates = |at, clients: std::ops::Range<u32>| {
        let fates = clients.map(|n| capture.frame(ms(at), &syn(client(n), v4(1), n), &mut log));
        fates.collect::<Vec<_>>()
    };
    assert_eq!(fates(0, 0..10), [Fate::Kept; 10]);
    assert_eq!(fates(999, 10..12), [Fate::Held; 2]);
    // The first client's answer is lost, and its second SYN is answered.
    assert_eq!(fates(999, 0..1), [Fate::Kept]);
    // A second later there is room again; but what is held stays held.
    assert_eq!(fates(1000, 20..22), [Fate::Kept; 2]);
    assert_eq!(fates(1999, 10..11), [Fate::Again]);
    let counters = capture.counters().handshakes;
    assert_eq!((counters.opened, counters.unanswered), (12, 2));
}

#[test]
fn open_connections_are_bounded_in_all_and_per_source() {
    let limits = Limits { open: 3, connections_per_source: 2, ..Limits::default() };
    let mut talk = Talk::of(client(1), v4(1), with(offer(), limits));
    for (n, port) in [(1, 1), (1, 2), (2, 1)] {
        talk.from = client(n);
        talk.from.set_port(port);
        talk.established();
    }
    let mut third = client(1);
    third.set_port(3);
    assert_eq!(talk.capture.frame(ms(1000), &syn(third, v4(1), 1), &mut talk.log), Fate::Held);
    assert_eq!(talk.capture.frame(ms(1000), &syn(client(5), v4(1), 1), &mut talk.log), Fate::Held);
    talk.say(TcpControl::Rst, 1, None, b"");
    assert_eq!(talk.capture.frame(ms(1000), &syn(client(6), v4(1), 1), &mut talk.log), Fate::Kept);
    let records = talk.capture.hand_over(ms(1000), ONE, &mut talk.log);
    let states: Vec<_> = records.iter().map(|record| record.state).collect();
    assert_eq!(states, [State::Established, State::Established, State::SynReceived]);
}

#[test]
fn a_guest_is_handed_no_more_connections_than_it_has_sockets_for() {
    let mut capture = with(Offer { connections: 3, ..offer() }, Limits::default());
    let mut log = Log::default();
    let fates: Vec<_> = (0..5).map(|n| capture.frame(ms(0), &syn(client(n), v4(1), n), &mut log)).collect();
    assert_eq!(fates, [Fate::Kept, Fate::Kept, Fate::Kept, Fate::Held, Fate::Held]);
    assert_eq!(capture.hand_over(ms(1), ONE, &mut log).len(), 3);
}

/// 20,000 forged SYNs a second for 5 s: honest clients, which answer within a round trip, are served or held.
#[test]
fn a_flood_of_syns_breaks_no_promise() {
    let mut capture = with(Offer { connections: 5000, ..offer() }, Limits::default());
    let mut log = Log::default();
    let mut random = Random(1);
    let mut waiting = std::collections::VecDeque::new();
    let (mut kept, mut held, mut broken) = (0, 0, 0);
    for number in 0..100_000_u32 {
        let now = capture::Moment(u64::from(number) * 50_000);
        log.sent.clear();
        capture.advance(now, &mut log);
        let source = [11, random.below(256) as u8, random.below(256) as u8, 1];
        let forged = syn((source, 1024 + number as u16 % 60_000).into(), v4(1), number);
        // Whoever comes first at that moment.
        let first = random.below(2) == 0;
        if first {
            capture.frame(now, &forged, &mut log);
        }
        log.sent.clear();
        if number % 500 == 0 {
            let fate = capture.frame(now, &syn(client(number), v4(1), 1), &mut log);
            held += usize::from(fate == Fate::Held);
            if fate == Fate::Kept {
                let next = segment(&log.sent[0]).1.seq_number.0 as u32 + 1;

                waiting.push_back((now.after(Duration::from_millis(200)), number, next));
            }
        }
        if !first {
            capture.frame(now, &forged, &mut log);
        }
        while waiting.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, number, next) = waiting.pop_front().expect("it is there");
            let c = client(number);
            let stamp = Some(TcpTimestampRepr::new(2, 0));
            let ack = TcpRepr { timestamp: stamp, ..plain(c, v4(1), TcpControl::None, 2, Some(next)) };
            match capture.frame(now, &tcp(c, v4(1), &ack), &mut log) {
                Fate::Kept => kept += 1,
                _ => broken += 1,
            }
        }
    }
    assert_eq!((broken, kept + held + waiting.len()), (0, 200));
    assert_eq!(capture.counters().handshakes.established, kept as u64);
    assert!(kept > 5 && held > 50, "{kept} kept, {held} held");
    let records = capture.hand_over(ms(5000), ONE, &mut log);
    let open = records.iter().filter(|record| record.state == State::Established).count();
    assert_eq!((open, records.len()), (kept, kept + Limits::default().half_open));
}

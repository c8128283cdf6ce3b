//! Records that a guest cannot go on with.

use std::net::SocketAddr;

use handover::{Record, State, Timestamps, WindowScales};
use smoltcp::socket::tcp;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, IpAddress, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    TcpTimestampRepr,
};

use crate::connection::{Connection, Secrets};
use crate::guest::{Guest, IP, MAC, OFFER, PORT};
use crate::moment::Moment;
use crate::node;

fn record(port: u16) -> Record {
    Record {
        state: State::Established,
        local: (IP.address, PORT).into(),
        remote: ([10, 0, 0, 2], port).into(),
        mac: [2, 0, 0, 0, 0, 2],
        iss: 1000,
        irs: u32::MAX,
        snd_una: 1001,
        snd_nxt: 1001,
        snd_wnd: 100 << 7,
        snd_wl1: 0,
        snd_wl2: 1001,
        rcv_nxt: 5,
        mss: 1460,
        window_scales: Some(WindowScales { theirs: 7, ours: 0 }),
        sack: true,
        timestamps: None,
        data: vec![0, 0, 0, 1, 0],
    }
}

#[test]
fn the_client_is_told_and_the_socket_listens_on() {
    let good = record(1);
    let sound = [
        good.clone(),
        Record { window_scales: None, snd_wnd: 100, sack: false, ..good.clone() },
        Record { state: State::CloseWait, rcv_nxt: 6, ..good.clone() },
        // Somewhat odd, but nobody else's business.
        Record { mac: [0xff; 6], mss: 0, ..good.clone() },
    ];
    for record in sound {
        let mut guest = Guest::new(1, 1, 2);
        let outcome = guest.take_over(1, std::slice::from_ref(&record));
        assert_eq!((outcome.taken, outcome.refused), (1, 0), "{record:?}");
        assert_eq!(guest.states()[1], tcp::State::Listen);
    }
    let scales = |ours| Some(WindowScales { theirs: 0, ours });
    let unsound = [
        Record { local: (IP.address, PORT + 1).into(), ..good.clone() },
        Record { local: ([10, 0, 0, 9], PORT).into(), ..good.clone() },
        Record { timestamps: Some(Timestamps { recent: 1, offset: 2 }), ..good.clone() },
        Record { window_scales: scales(1), ..good.clone() },
        Record { rcv_nxt: 6, ..good.clone() },
        Record { state: State::CloseWait, ..good.clone() },
        Record { data: vec![0; 2049], rcv_nxt: 2049, ..good.clone() },
        Record { snd_nxt: 1002, ..good.clone() },
        Record { remote: ([255; 4], 1).into(), ..good.clone() },
    ];
    for record in unsound {
        let mut guest = Guest::new(1, 1, 2);
        let outcome = guest.take_over(1, std::slice::from_ref(&record));
        assert_eq!((outcome.taken, outcome.refused), (0, 1), "{record:?}");
        guest.poll(1);
        assert_eq!(guest.states(), [tcp::State::Listen; 2], "{record:?}");
        assert_eq!(guest.card.sent.len(), 0, "{record:?}");

        let [reset] = &outcome.resets[..] else { panic!("{record:?}: {outcome:?}") };
        let ethernet = EthernetFrame::new_checked(&reset[..]).expect("a frame");
        assert_eq!((ethernet.src_addr(), ethernet.dst_addr().0), (MAC, record.mac));
        let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("an IPv4 packet");
        let tcp = TcpPacket::new_checked(ip.payload()).expect("a segment");
        assert!(ip.verify_checksum() && tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
        let ends = ((ip.src_addr(), tcp.src_port()).into(), (ip.dst_addr(), tcp.dst_port()).into());
        assert_eq!(ends, (record.local, record.remote));
        assert!(tcp.rst() && !tcp.ack() && tcp.seq_number().0 as u32 == record.snd_nxt);
    }
    // Nobody waits for an RST, and IPv6 is not spoken.
    let half_open = Record { state: State::SynReceived, local: (IP.address, 81).into(), ..good.clone() };
    let six =
        Record { remote: ("fd00::2".parse::<std::net::Ipv6Addr>().expect("an address"), 1).into(), ..good };
    for record in [half_open, six] {
        let outcome = Guest::new(1, 1, 2).take_over(1, &[record]);
        assert_eq!((outcome.taken, outcome.refused, outcome.resets.len()), (0, 1, 0));
    }
}

#[test]
fn open_connections_come_first() {
    let half_open = |port| Record { state: State::SynReceived, rcv_nxt: 0, data: vec![], ..record(port) };
    let records: Vec<_> = (1..10).map(half_open).chain((10..13).map(record)).collect();
    let mut guest = Guest::new(1, 1, OFFER.connections);
    let outcome = guest.take_over(1, &records);
    assert_eq!((outcome.taken, outcome.refused, outcome.resets.len()), (4, 8, 0));
    let states = guest.states();
    assert_eq!(states.iter().filter(|state| **state == tcp::State::Established).count(), 3);
    assert_eq!(states[3], tcp::State::SynReceived);
}

/// Every number can be had, those too whose seed is hard to find.
#[test]
fn a_connection_goes_on_from_any_number() {
    let numbers = (0..200_u32).map(|number| number.wrapping_mul(0x0101_0307)).chain([u32::MAX, 1 << 31]);
    for iss in numbers {
        let snd_nxt = iss.wrapping_add(1);
        let outcome = Guest::new(1, 1, 1).take_over(1, &[Record { iss, snd_nxt, ..record(1) }]);
        assert_eq!(outcome.taken, 1, "{iss:#x}");
    }
}

/// Whatever a client asks for, the node answers as the guest would.
#[test]
fn the_node_promises_what_the_guest_does() {
    let client = SocketAddr::from(([10, 0, 0, 2], 40000));
    for options in 0..16 {
        let with = |bit: u32| options & 1 << bit != 0;
        let mut syn = [0; 20 + 20].to_vec();
        let repr = TcpRepr {
            src_port: client.port(),
            dst_port: PORT,
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(5),
            ack_number: None,
            window_len: 64240,
            window_scale: with(0).then_some(7),
            max_seg_size: with(1).then_some(1400),
            sack_permitted: with(2),
            sack_ranges: [None; 3],
            timestamp: with(3).then(|| TcpTimestampRepr::new(7, 0)),
            payload: &[],
        };
        syn.resize(repr.buffer_len(), 0);
        let ends = (IpAddress::v4(10, 0, 0, 2), IpAddress::from(IP.address));
        repr.emit(&mut TcpPacket::new_unchecked(&mut syn[..]), &ends.0, &ends.1, &Default::default());
        let packet = TcpPacket::new_checked(&syn[..]).expect("a segment");
        let secrets = Secrets { iss: 1, timestamp_offset: 0 };
        let mac = EthernetAddress([2, 0, 0, 0, 0, 2]);
        let local = (IP.address, PORT).into();
        let node = Connection::open(Moment(1), 0, (mac, client, local), &packet, secrets, &OFFER);
        let node = node.expect("a connection");
        let promised = node.reply(Moment(1));

        let mut guest = Guest::new(1, 1, 1);
        // Makes the client's link address known, too.
        guest.take_over(1, &[Record { local: (IP.address, 81).into(), ..record(40000) }]);
        let mut frame = node::frame(MAC, &node.record, &promised);
        frame.truncate(34);
        frame[26..34].rotate_left(4);
        frame[16..18].copy_from_slice(&(20 + syn.len() as u16).to_be_bytes());
        Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
        frame.extend(&syn);
        guest.card.come.push_back(frame);
        guest.poll(1);
        let answer = guest.card.sent.pop_front().expect("an answer");
        let tcp = TcpPacket::new_checked(&answer[34..]).expect("a segment");
        let said = TcpRepr::parse(&tcp, &ends.1, &ends.0, &Default::default()).expect("right checksums");
        assert_eq!(TcpRepr { seq_number: promised.seq_number, ..said }, promised, "{repr:?}");
    }
}

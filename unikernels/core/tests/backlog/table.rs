//! What becomes of one SYN, for each state that the sockets can be in.

use std::net::Ipv4Addr;

use jitsu_rt_core::backlog::{LIFE, MOMENT};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::wire::{TcpControl, TcpRepr};

use crate::server::{PORT, Segment, Server, instant, syn};

const MOMENT_MS: u64 = MOMENT.total_millis();
const LIFE_MS: u64 = LIFE.total_millis();

/// A server with so many sockets that knows its clients.
fn server(connections: usize) -> Server {
    let mut server = Server::new(1, connections);
    server.meet(0, syn(1).from);
    server
}

/// A client opens a connection.
fn open(server: &mut Server, now: u64, port: u16) {
    let [syn_ack] = server.say(now, syn(port))[..] else { panic!("port {port}: no SYN-ACK") };
    assert_eq!(server.say(now, answer(port, &syn_ack)), []);
}

/// The answer to a SYN-ACK.
fn answer(port: u16, syn_ack: &TcpRepr<'_>) -> Segment {
    assert_eq!((syn_ack.control, syn_ack.dst_port), (TcpControl::Syn, port));
    let ack = Some(syn_ack.seq_number + 1);
    Segment { control: TcpControl::None, sequence: 101, ack, ..syn(port) }
}

#[test]
fn a_port_that_nobody_listens_at_is_refused() {
    let mut server = server(1);
    let refused = server.say(1, Segment { ports: (1, PORT + 1), ..syn(1) });
    assert!(matches!(refused[..], [TcpRepr { control: TcpControl::Rst, .. }]), "{refused:?}");
    // Still so when there is no socket left.
    open(&mut server, 1, 1);
    let refused = server.say(1, Segment { ports: (2, PORT + 1), ..syn(2) });
    assert!(matches!(refused[..], [TcpRepr { control: TcpControl::Rst, .. }]), "{refused:?}");
}

#[test]
fn the_oldest_half_open_connection_gives_way_after_a_moment() {
    let mut server = server(2);
    let [first] = server.say(0, syn(1))[..] else { panic!("no SYN-ACK") };
    server.say(10, syn(2));
    assert_eq!(server.say(MOMENT_MS - 1, syn(3)), []);
    assert_eq!(server.ports(), [1, 2]);
    let said = server.say(MOMENT_MS, syn(3));
    assert!(matches!(said[..], [TcpRepr { control: TcpControl::Syn, dst_port: 3, .. }]), "{said:?}");
    assert_eq!(server.ports(), [3, 2]);
    // The other is not yet old enough, and then it is; the third is younger than both were.
    assert_eq!(server.say(MOMENT_MS + 9, syn(4)), []);
    assert_eq!(server.say(MOMENT_MS + 10, syn(4)).len(), 1);
    assert_eq!(server.ports(), [3, 4]);
    assert_eq!(server.say(MOMENT_MS + 11, syn(5)), []);
    assert_eq!(server.states(), [State::SynReceived; 2]);
    // Of two that are old enough, the older.
    assert_eq!(server.say(3 * MOMENT_MS, syn(6)).last().map(|segment| segment.dst_port), Some(6));
    assert_eq!(server.ports(), [6, 4]);
    // Whoever had to give way is told when it answers.
    let told = server.say(3 * MOMENT_MS, answer(1, &first));
    assert!(matches!(told[..], [TcpRepr { control: TcpControl::Rst, dst_port: 1, .. }]), "{told:?}");
}

#[test]
fn open_connections_stay() {
    let mut server = server(2);
    open(&mut server, 0, 1);
    server.say(0, syn(2));
    for (now, port) in [(LIFE_MS - 1, 3), (2 * LIFE_MS - 2, 4), (10 * LIFE_MS, 5), (100 * LIFE_MS, 6)] {
        server.meet(now, syn(port).from);
        assert_eq!(server.say(now, syn(port)).len(), 1, "{port}");
        assert_eq!(server.ports(), [1, port]);
    }
    assert_eq!(server.states(), [State::Established, State::SynReceived]);
    server.meet(200 * LIFE_MS, syn(7).from);
    open(&mut server, 200 * LIFE_MS, 7);
    for now in [0, MOMENT_MS, LIFE_MS, 10 * LIFE_MS].map(|later| 200 * LIFE_MS + later) {
        assert_eq!(server.say(now, syn(8)), []);
    }
    assert_eq!(server.states(), [State::Established; 2]);
}

#[test]
fn a_half_open_connection_ends_by_itself() {
    let mut server = server(2);
    server.say(0, syn(1));
    server.say(7, syn(2));
    let mut now = 0;
    let mut syn_acks = vec![];
    while server.states() != [State::Listen; 2] {
        now = server.next(now).expect("it is not forgotten");
        server.poll(now);
        syn_acks.extend(server.said().into_iter().map(|segment| (now, segment.dst_port, segment.control)));
    }
    assert_eq!(now, LIFE_MS + 7);
    let syn_acks: Vec<_> = syn_acks.into_iter().filter(|(_, port, _)| *port == 1).collect();
    assert_eq!(syn_acks, [(1000, 1, TcpControl::Syn), (3000, 1, TcpControl::Syn)], "and no RST");
    assert_eq!(server.next(now), None);
}

#[test]
fn one_that_came_otherwise_is_learned_of() {
    let mut server = server(1);
    server.card.come.push_back(syn(1).frame());
    let Server { interface, card, sockets, backlog, .. } = &mut server;
    interface.poll(instant(0), card, sockets);
    assert_eq!(backlog.poll_at(sockets), None);
    backlog.note(sockets, instant(10));
    assert_eq!(backlog.poll_at(sockets), Some(instant(10) + LIFE));
}

#[test]
fn a_syn_that_comes_again_goes_nowhere_else() {
    let mut server = server(3);
    // The first two sockets listen, the third has the connection.
    server.say(0, syn(1));
    open(&mut server, 0, 2);
    server.say(0, syn(3));
    for port in [1, 2] {
        server.say(0, Segment { control: TcpControl::Rst, sequence: 101, ..syn(port) });
    }
    assert_eq!(server.ports(), [0, 0, 3]);
    assert_eq!(server.say(500, syn(3)), []);
    assert_eq!(server.ports(), [0, 0, 3]);
    server.poll(1000);
    let [syn_ack] = server.said()[..] else { panic!("it is not sent again") };
    server.say(1000, answer(3, &syn_ack));
    assert_eq!(server.states(), [State::Listen, State::Listen, State::Established]);
    assert_eq!(server.say(1001, syn(3)), []);
    assert_eq!(server.states(), [State::Listen, State::Listen, State::Established]);
}

/// The SYN comes with the segment that ends the connection before it, so that nobody has had time to listen again.
#[test]
fn a_socket_whose_connection_has_just_ended_is_used() {
    for port in [2, 1] {
        let mut server = server(1);
        open(&mut server, 0, 1);
        server.card.come.push_back(Segment { control: TcpControl::Rst, sequence: 101, ..syn(1) }.frame());
        let said = server.say(1, syn(port));
        assert!(matches!(said[..], [TcpRepr { control: TcpControl::Syn, .. }]), "{port}: {said:?}");
        assert_eq!(server.ports(), [port]);
    }
    // One that does not listen again is not waited for.
    let mut server = server(1);
    server.reopens = false;
    open(&mut server, 0, 1);
    server.card.come.push_back(Segment { control: TcpControl::Rst, sequence: 101, ..syn(1) }.frame());
    assert_eq!(server.say(1, syn(2)), []);
    assert_eq!((server.states(), server.backlog.is_waiting()), (vec![State::Closed], false));
}

#[test]
fn what_is_no_good_syn_makes_nobody_give_way() {
    let good = syn(2).frame();
    let broken = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] ^= value;
        frame
    };
    let elsewhere = Segment { to: Ipv4Addr::new(10, 0, 0, 9), ..syn(2) }.frame();
    let to_all = Segment { to: Ipv4Addr::new(10, 0, 0, 255), ..syn(2) }.frame();
    let other_port = Segment { ports: (2, PORT + 1), ..syn(2) }.frame();
    let cut = (0..good.len()).map(|length| good[..length].to_vec());
    // Ethernet's type, IP's version, length of its header, protocol and checksum, TCP's checksum, length and number.
    let flips = [(12, 1), (14, 0x20), (14, 1), (23, 1), (25, 1), (51, 1), (46, 0x80), (41, 1)];
    let bad = flips.map(|(at, value)| broken(at, value)).into_iter();
    for frame in bad.chain(cut).chain([elsewhere, to_all, other_port]) {
        let mut server = server(1);
        server.say(0, syn(1));
        server.card.come.push_back(frame.clone());
        server.poll(MOMENT_MS);
        assert_eq!(server.ports(), [1], "{frame:x?}");
    }
    let mut server = server(1);
    server.say(0, syn(1));
    server.card.come.push_back(good);
    server.poll(MOMENT_MS);
    assert_eq!(server.ports(), [2]);
}

/// A forged source has no link address that could be found; who comes next has.
#[test]
fn nobody_waits_for_another_ones_neighbour() {
    let mut server = server(1);
    assert_eq!(server.say(0, Segment { from: Ipv4Addr::new(10, 0, 0, 77), ..syn(1) }), []);
    server.poll(MOMENT_MS);
    let said = server.say(MOMENT_MS, syn(2));
    assert!(matches!(said[..], [TcpRepr { control: TcpControl::Syn, dst_port: 2, .. }]), "{said:?}");
    let handle = server.handles[0];
    assert_eq!(server.sockets.get::<Socket<'_>>(handle).state(), State::SynReceived);
}

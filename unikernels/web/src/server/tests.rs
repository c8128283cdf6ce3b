//! Clients and the server on one loopback interface, with a clock of their own.

use jitsu_rt_core::backlog::Backlog;
use smoltcp::iface::{Config, Interface, PollResult};
use smoltcp::phy::{Device, Loopback, Medium, TxToken};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpCidr, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::*;
use crate::response::Piece;

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const HOST: IpAddress = IpAddress::v4(127, 0, 0, 1);
const BODY: &str = "served\n";
/// More than there is room for on the way.
static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];
/// Longer than TCP delays an acknowledgement, which a sender may wait for.
const TICK: Duration = Duration::from_millis(20);

struct World {
    now: Instant,
    device: Loopback,
    interface: Interface,
    sockets: SocketSet<'static>,
    backlog: Backlog,
    server: Server<'static>,
    next_port: u16,
}

impl World {
    fn new() -> Self {
        let mut device = Loopback::new(Medium::Ethernet);
        let mut interface = Interface::new(Config::new(MAC.into()), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(HOST, 8)).unwrap());
        let mut sockets = SocketSet::new(vec![]);
        let server = Server::listen(&mut sockets, 80, 2 << 20);
        let backlog = Backlog::default();
        World { now: Instant::ZERO, device, interface, sockets, backlog, server, next_port: 50_000 }
    }

    /// Lets `time` pass; the deadlines that the server asks for are kept.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            let wanted =
                self.server.poll(&mut self.sockets, self.now, |request| match request.path.name.as_str() {
                    "large" => Response::new(Status::Ok).content(vec![Piece::Borrowed(&LARGE)]),
                    _ => Response::new(Status::Ok).text("text/plain", BODY),
                });
            self.exchange();
            let network = self.interface.poll_at(self.now, &self.sockets);
            let half_open = self.backlog.poll_at(&self.sockets);
            if self.backlog.is_waiting() {
                continue;
            }
            let next = [wanted, network, half_open, Some(end)].into_iter().flatten().min().unwrap();
            if self.now == end && next >= end {
                return;
            }
            self.now = self.now.max(next);
        }
    }

    /// Until nobody has to say anything more.
    fn exchange(&mut self) {
        let World { interface, device, sockets, backlog, now, .. } = self;
        let mut quiet = 0;
        // A question for a link address is not counted as something said.
        while quiet < 2 {
            backlog.ingress(*now, interface, device, sockets);
            let sent = interface.poll_egress(*now, device, sockets) == PollResult::SocketStateChanged;
            quiet = if sent { 0 } else { quiet + 1 };
        }
    }

    fn connect(&mut self) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 8192]);
        let mut socket = Socket::new(buffer(), buffer());
        self.next_port += 1;
        socket.connect(self.interface.context(), (HOST, 80), self.next_port).unwrap();
        let client = self.sockets.add(socket);
        self.run(TICK);
        client
    }

    /// A SYN from somewhere else, whose sender does not answer.
    fn forge(&mut self, port: u16) {
        let tcp = TcpRepr {
            src_port: port,
            dst_port: 80,
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(1),
            ack_number: None,
            window_len: 1000,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let (from, to) = (Ipv4Address::new(10, 0, 0, 1), Ipv4Address::new(127, 0, 0, 1));
        let next_header = IpProtocol::Tcp;
        let ip = Ipv4Repr {
            src_addr: from,
            dst_addr: to,
            next_header,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr { src_addr: MAC, dst_addr: MAC, ethertype: EthernetProtocol::Ipv4 };
        let checksums = self.device.capabilities().checksum;
        let device = self.device.transmit(self.now).expect("it has room");
        device.consume(34 + tcp.buffer_len(), |frame| {
            ethernet.emit(&mut EthernetFrame::new_unchecked(&mut *frame));
            ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checksums);
            let mut segment = TcpPacket::new_unchecked(&mut frame[34..]);
            tcp.emit(&mut segment, &from.into(), &to.into(), &checksums);
        });
    }

    fn send(&mut self, client: SocketHandle, bytes: &[u8]) {
        let sent = self.sockets.get_mut::<Socket<'_>>(client).send_slice(bytes).unwrap();
        assert_eq!(sent, bytes.len());
        self.run(TICK);
    }

    fn state(&self, client: SocketHandle) -> State {
        self.sockets.get::<Socket<'_>>(client).state()
    }

    /// What has come back since.
    fn take(&mut self, client: SocketHandle) -> String {
        let mut response = Vec::new();
        let socket = self.sockets.get_mut::<Socket<'_>>(client);
        while socket.can_recv() {
            let _received = socket.recv(|data| {
                response.extend_from_slice(data);
                (data.len(), ())
            });
        }
        String::from_utf8(response).unwrap()
    }

    /// What has come back; the client then closes its side and goes away.
    fn finish(&mut self, client: SocketHandle) -> String {
        let response = self.take(client);
        assert_eq!(self.state(client), State::CloseWait, "the server closes first");
        self.leave(client);
        response
    }

    fn leave(&mut self, client: SocketHandle) {
        self.sockets.get_mut::<Socket<'_>>(client).close();
        self.run(TICK);
        self.sockets.remove(client);
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

fn count(responses: &str) -> usize {
    let count = responses.matches("HTTP/1.1 200 OK\r\n").count();
    assert_eq!(responses.matches(BODY).count(), count, "{responses}");
    count
}

#[test]
fn every_client_is_served_however_many_came_before() {
    let mut world = World::new();
    for _ in 0..3 * CONNECTIONS {
        let client = world.connect();
        world.send(client, b"GET / HTTP/1.1\r\nHo");
        world.send(client, b"st: h\r\nConnection: close\r\n\r\nand more that nobody reads");
        let response = world.finish(client);
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with(BODY), "{response}");
    }
    assert!(world.now < Instant::from_secs(10), "no connection waits for an earlier one's TIME-WAIT");
}

#[test]
fn a_connection_serves_many_requests() {
    let mut world = World::new();
    let client = world.connect();
    for _ in 0..20 {
        world.send(client, GET);
        assert_eq!(count(&world.take(client)), 1);
        // Not as long as it may be unused, but all together longer.
        world.run(Patience::default().idle / 2);
    }
    world.send(client, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(world.take(client).contains("\r\nConnection: keep-alive\r\n"));
    world.send(client, LAST);
    assert!(world.finish(client).contains("\r\nConnection: close\r\n"));
}

#[test]
fn requests_may_come_before_the_responses_are_taken() {
    let mut world = World::new();
    let client = world.connect();
    let mut requests = GET.repeat(40);
    requests.extend(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    requests.extend(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    requests.extend(GET);
    let mut rest = &requests[..];
    let mut responses = String::new();
    while !rest.is_empty() {
        let sent = world.sockets.get_mut::<Socket<'_>>(client).send_slice(rest).unwrap();
        rest = &rest[sent..];
        world.run(TICK);
        responses += &world.take(client);
    }
    world.run(TICK);
    responses += &world.finish(client);
    assert_eq!(responses.matches("HTTP/1.1 ").count(), 42);
    assert_eq!(responses.matches(BODY).count(), 40);
    // What looks like a request in a body is none.
    assert!(
        responses.contains("HTTP/1.1 405 ") && responses.ends_with("405 Method Not Allowed\n"),
        "{responses}"
    );
}

#[test]
fn a_client_that_closes_its_side_is_answered() {
    let mut world = World::new();
    let client = world.connect();
    let socket = world.sockets.get_mut::<Socket<'_>>(client);
    socket.send_slice(&GET.repeat(3)).unwrap();
    socket.close();
    world.run(TICK);
    assert_eq!(count(&world.take(client)), 3);
    world.run(TICK);
    assert!(matches!(world.state(client), State::Closed | State::TimeWait));
}

#[test]
fn nonsense_gets_an_answer() {
    let mut world = World::new();
    let client = world.connect();
    world.send(client, b"\x16\x03\x01\x02\x00\x01\r\n\r\n");
    assert!(world.finish(client).starts_with("HTTP/1.1 400 "));
    let client = world.connect();
    world.send(client, &[b'A'; MAX_HEAD]);
    world.run(TICK * 10);
    assert!(world.finish(client).starts_with("HTTP/1.1 414 "));
}

#[test]
fn silent_and_slow_clients_are_cut_off() {
    let patience = Patience::default();
    let mut world = World::new();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| world.connect()).collect();
    let further = world.connect();
    assert_eq!(world.state(further), State::SynSent, "all connections are in use, and it is not refused");
    for _ in 0..9 {
        for client in &clients {
            assert_eq!(world.state(*client), State::Established);
        }
        world.send(clients[0], b"G");
        world.run(patience.request / 10);
    }
    world.run(patience.request / 5);
    assert!(world.take(clients[0]).starts_with("HTTP/1.1 408 "));
    assert_eq!(world.take(clients[1]), "");
    for client in &clients {
        assert_eq!(world.state(*client), State::CloseWait);
    }
    world.run(patience.close);
    for client in &clients {
        assert_eq!(world.state(*client), State::Closed);
    }
    let client = world.connect();
    world.send(client, b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(world.finish(client).starts_with("HTTP/1.1 200 "));
    // The third time that it sends its SYN, after 7 s, there is room.
    world.run(Duration::from_secs(2));
    world.send(further, b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(world.finish(further).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_connection_that_nobody_uses_is_closed() {
    let mut world = World::new();
    let client = world.connect();
    world.send(client, GET);
    world.run(Patience::default().idle - TICK - TICK);
    assert_eq!(world.state(client), State::Established);
    world.run(TICK + TICK);
    assert_eq!(count(&world.finish(client)), 1);
}

#[test]
fn where_connections_are_scarce_they_do_not_persist() {
    let mut world = World::new();
    let most = CONNECTIONS - RESERVE;
    let clients: Vec<_> = (0..=most).map(|_| world.connect()).collect();
    for client in &clients[..most] {
        world.send(*client, GET);
        let response = world.take(*client);
        assert_eq!(response.contains("Connection: close"), world.state(*client) == State::CloseWait);
    }
    // There is one too many: whoever is idle goes, whoever is not stays.
    world.run(MOMENT);
    world.send(clients[most], GET);
    let open =
        |world: &World| clients.iter().filter(|client| world.state(**client) == State::Established).count();
    assert!(open(&world) <= most, "{} are open", open(&world));
    // What has been sent already is answered on the same connection.
    let another = world.connect();
    let last = world.connect();
    world.send(another, &GET.repeat(3));
    assert_eq!(count(&world.take(another)), 3);
    world.send(last, LAST);
    assert_eq!(count(&world.finish(last)), 1);
}

#[test]
fn a_large_response_is_sent_as_it_is_taken() {
    let mut world = World::new();
    let client = world.connect();
    world.send(client, b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut received = 0;
    // Longer than a response may take at a stretch, all together.
    let pause = Patience::default().response / 10;
    while received < LARGE.len() {
        let piece = world.take(client);
        assert!(!piece.is_empty(), "{received} bytes and no more");
        received += piece.matches('x').count();
        world.run(pause);
    }
    assert_eq!(received, LARGE.len());
    assert_eq!(world.state(client), State::Established);
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let mut world = World::new();
    let client = world.connect();
    world.send(client, b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    // A few bytes now and then are no progress.
    for _ in 0..11 {
        let socket = world.sockets.get_mut::<Socket<'_>>(client);
        let _few = socket.recv(|data| (data.len().min(8), ()));
        world.run(Patience::default().response / 10);
    }
    assert_eq!(world.state(client), State::Closed);
}

/// What is half open has no client yet, and may be another's at any time.
#[test]
fn time_runs_from_when_a_connection_is_open() {
    let patience = Patience::default();
    let mut world = World::new();
    (0..CONNECTIONS as u16).for_each(|port| world.forge(port));
    world.run(patience.request - Duration::from_secs(1));
    let client = world.connect();
    assert_eq!(world.state(client), State::Established);
    world.run(patience.request - Duration::from_secs(1));
    world.send(client, LAST);
    assert!(world.finish(client).ends_with(BODY));
}

#[test]
fn a_client_that_never_closes_is_cut_off() {
    let mut world = World::new();
    let client = world.connect();
    world.send(client, LAST);
    assert_eq!(world.state(client), State::CloseWait);
    world.run(Patience::default().close + Duration::from_secs(1));
    assert_eq!(world.state(client), State::Closed);
}

#[test]
fn a_client_that_gives_up_frees_its_connection() {
    let mut world = World::new();
    for _ in 0..2 * CONNECTIONS {
        let client = world.connect();
        world.send(client, b"GET / HT");
        world.leave(client);
    }
    assert!(world.now < Instant::ZERO + Patience::default().request);
}

/// Whatever is sent, in whatever pieces: the server answers, is done with it in time, and serves the next one.
#[test]
fn any_bytes_whatever_do_no_harm() {
    let words: [&[u8]; 22] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"/",
        b"/large",
        b"http://h/",
        b"%2e",
        b"?",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"Host: h",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: keep-alive",
        b"\0",
        b"\xff\xfe",
        b": ",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"0\r\n\r\n",
    ];
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut world = World::new();
    for _ in 0..300 {
        let client = world.connect();
        let mut statuses = 0;
        for _ in 0..random(40) {
            let socket = world.sockets.get_mut::<Socket<'_>>(client);
            let _sent = socket.send_slice(words[random(words.len())]);
            if random(4) == 0 {
                world.run(TICK);
                statuses += world.take(client).matches("HTTP/1.1 ").count();
            }
        }
        let socket = world.sockets.get_mut::<Socket<'_>>(client);
        match random(3) {
            0 => socket.abort(),
            1 => socket.close(),
            _ => {}
        }
        let Patience { request, idle, response, close } = Patience::default();
        for _ in 0..40 {
            world.run((request + idle + response + close) / 40);
            statuses += world.take(client).matches("HTTP/1.1 ").count();
        }
        assert!(statuses <= 100);
        let state = world.state(client);
        assert!(matches!(state, State::Closed | State::TimeWait | State::CloseWait), "{state}");
        world.sockets.get_mut::<Socket<'_>>(client).abort();
        world.run(TICK);
        world.sockets.remove(client);
        let next = world.connect();
        world.send(next, LAST);
        assert_eq!(count(&world.finish(next)), 1);
    }
}

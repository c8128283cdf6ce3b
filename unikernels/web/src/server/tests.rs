//! Clients and the server on one loopback interface, with a clock of their own.

use jitsu_rt_core::backlog::Backlog;
use smoltcp::iface::{Config, Interface, PollResult};
use smoltcp::phy::{Device, Loopback, Medium, TxToken};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpCidr, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::*;

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const HOST: IpAddress = IpAddress::v4(127, 0, 0, 1);
const BODY: &str = "served\n";
/// Longer than TCP delays an acknowledgement, which a sender may wait for.
const TICK: Duration = Duration::from_millis(20);

struct World {
    now: Instant,
    device: Loopback,
    interface: Interface,
    sockets: SocketSet<'static>,
    backlog: Backlog,
    server: Server,
    next_port: u16,
}

impl World {
    fn new() -> Self {
        let mut device = Loopback::new(Medium::Ethernet);
        let mut interface = Interface::new(Config::new(MAC.into()), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(HOST, 8)).unwrap());
        let mut sockets = SocketSet::new(vec![]);
        let server = Server::listen(&mut sockets, 80);
        let backlog = Backlog::default();
        World { now: Instant::ZERO, device, interface, sockets, backlog, server, next_port: 50_000 }
    }

    /// Lets `time` pass; the deadlines that the server asks for are kept.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            let wanted = self.server.poll(&mut self.sockets, self.now, |request| match request {
                Ok(request) => http::response(Status::Ok, "text/plain", BODY, request.head),
                Err(status) => http::response(*status, "text/plain", "", false),
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

    /// What has come back; the client then closes its side and goes away.
    fn finish(&mut self, client: SocketHandle) -> String {
        let mut response = vec![0; 8192];
        let socket = self.sockets.get_mut::<Socket<'_>>(client);
        let length = socket.recv_slice(&mut response).unwrap();
        assert_eq!(socket.state(), State::CloseWait, "the server closes first");
        socket.close();
        self.run(TICK);
        self.sockets.remove(client);
        response.truncate(length);
        String::from_utf8(response).unwrap()
    }
}

#[test]
fn every_client_is_served_however_many_came_before() {
    let mut world = World::new();
    for _ in 0..3 * CONNECTIONS {
        let client = world.connect();
        world.send(client, b"GET / HTTP/1.1\r\nHo");
        world.send(client, b"st: h\r\n\r\nand more that nobody reads");
        let response = world.finish(client);
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with(BODY), "{response}");
    }
    assert!(world.now < Instant::from_secs(10), "no connection waits for an earlier one's TIME-WAIT");
}

#[test]
fn nonsense_gets_an_answer() {
    let mut world = World::new();
    let client = world.connect();
    world.send(client, b"\x16\x03\x01\x02\x00\x01\r\n\r\n");
    assert!(world.finish(client).starts_with("HTTP/1.1 400 "));
    let client = world.connect();
    world.send(client, &[b'A'; 3 * MAX_REQUEST]);
    assert!(world.finish(client).starts_with("HTTP/1.1 4"));
}

#[test]
fn silent_and_slow_clients_are_cut_off() {
    let mut world = World::new();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| world.connect()).collect();
    let further = world.connect();
    assert_eq!(world.state(further), State::SynSent, "all connections are in use, and it is not refused");
    for _ in 0..9 {
        for client in &clients {
            assert_eq!(world.state(*client), State::Established);
        }
        world.send(clients[0], b"G");
        world.run(REQUEST_TIME / 10);
    }
    world.run(REQUEST_TIME / 5);
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

/// What is half open has no client yet, and may be another's at any time.
#[test]
fn time_runs_from_when_a_connection_is_open() {
    let mut world = World::new();
    (0..CONNECTIONS as u16).for_each(|port| world.forge(port));
    world.run(REQUEST_TIME - Duration::from_secs(1));
    let client = world.connect();
    assert_eq!(world.state(client), State::Established);
    world.run(REQUEST_TIME - Duration::from_secs(1));
    world.send(client, b"GET / HTTP/1.0\r\n\r\n");
    assert!(world.finish(client).ends_with(BODY));
}

#[test]
fn a_client_that_never_closes_is_cut_off() {
    let mut world = World::new();
    let client = world.connect();
    world.send(client, b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(world.state(client), State::CloseWait);
    world.run(RESPONSE_TIME + Duration::from_secs(1));
    assert_eq!(world.state(client), State::Closed);
}

#[test]
fn a_client_that_gives_up_frees_its_connection() {
    let mut world = World::new();
    for _ in 0..2 * CONNECTIONS {
        let client = world.connect();
        world.send(client, b"GET / HT");
        world.sockets.get_mut::<Socket<'_>>(client).close();
        world.run(TICK);
        world.sockets.remove(client);
    }
    assert!(world.now < Instant::ZERO + REQUEST_TIME);
}

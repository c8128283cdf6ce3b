//! Clients and the server on one loopback interface, with a clock of their own.

use smoltcp::iface::{Config, Interface};
use smoltcp::phy::{Loopback, Medium};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use super::*;

const HOST: IpAddress = IpAddress::v4(127, 0, 0, 1);
const BODY: &str = "served\n";
/// Longer than TCP delays an acknowledgement, which a sender may wait for.
const TICK: Duration = Duration::from_millis(20);

struct World {
    now: Instant,
    device: Loopback,
    interface: Interface,
    sockets: SocketSet<'static>,
    server: Server,
    next_port: u16,
}

impl World {
    fn new() -> Self {
        let mut device = Loopback::new(Medium::Ethernet);
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]));
        let mut interface = Interface::new(Config::new(mac), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(HOST, 8)).unwrap());
        let mut sockets = SocketSet::new(vec![]);
        let server = Server::listen(&mut sockets, 80);
        World { now: Instant::ZERO, device, interface, sockets, server, next_port: 50_000 }
    }

    /// Lets `time` pass; the deadlines that the server asks for are kept.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.interface.poll(self.now, &mut self.device, &mut self.sockets);
            let wanted = self.server.poll(&mut self.sockets, self.now, |request| match request {
                Ok(request) => http::response(Status::Ok, "text/plain", BODY, request.head),
                Err(status) => http::response(*status, "text/plain", "", false),
            });
            self.interface.poll(self.now, &mut self.device, &mut self.sockets);
            let network = self.interface.poll_at(self.now, &self.sockets);
            let next = [wanted, network, Some(end)].into_iter().flatten().min().unwrap();
            if self.now == end && next >= end {
                return;
            }
            self.now = self.now.max(next);
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
    let refused = world.connect();
    assert_eq!(world.state(refused), State::Closed, "all connections are in use");
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

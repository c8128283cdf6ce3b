//! A real TCP (smoltcp's) as client, over a network that loses frames, to a guest that takes its connection over.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use capture::{Capture, Limits, Moment, Offer, Phase, Record, ServiceId, State};
use smoltcp::iface::{Config, Interface, SocketSet, SocketStorage};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{IpCidr, Ipv4Packet, TcpControl, TcpPacket, TcpRepr};

use crate::build::*;

const ONE: ServiceId = ServiceId(1);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www\r\n\r\n";
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nfound";

/// The client's end of a cable.
#[derive(Clone, Default)]
struct Cable {
    to_client: Rc<RefCell<VecDeque<Vec<u8>>>>,
    from_client: Rc<RefCell<VecDeque<Vec<u8>>>>,
}

struct Received(Vec<u8>);
struct Sent(Cable);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sent {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.from_client.borrow_mut().push_back(frame);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent)> {
        let frame = self.to_client.borrow_mut().pop_front()?;
        Some((Received(frame), Sent(self.clone())))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent> {
        Some(Sent(self.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A guest that goes on with one connection: takes the rest of the request, sends the page, and ends.
struct Guest {
    record: Record,
    page_sent: Option<u64>,
}

impl Guest {
    fn segment(&self, control: TcpControl, seq: u32, payload: &[u8]) -> Vec<u8> {
        let Record { local, remote, rcv_nxt, .. } = self.record;
        let repr = TcpRepr { payload, window_len: 1000, ..plain(local, remote, control, seq, Some(rcv_nxt)) };
        tcp(local, remote, &repr)
    }

    /// A frame has come for it. Returns its answer.
    fn frame(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let ip = Ipv4Packet::new_checked(&frame[14..]).expect("an IPv4 packet");
        let segment = TcpPacket::new_checked(ip.payload()).expect("a segment");
        let record = &mut self.record;
        assert!(!segment.rst(), "{segment}");
        if segment.syn() {
            // Handed over half open, and our answer was lost.
            assert_eq!((record.state, segment.seq_number().0 as u32), (State::SynReceived, record.irs));
            return Some(self.segment(TcpControl::Syn, self.record.iss, b""));
        }
        if segment.seq_number().0 as u32 == record.rcv_nxt {
            record.data.extend(segment.payload());
            record.rcv_nxt = record.rcv_nxt.wrapping_add(segment.segment_len() as u32);
        }
        record.snd_una = segment.ack_number().0 as u32;
        (segment.segment_len() > 0).then(|| self.segment(TcpControl::None, self.record.snd_nxt, b""))
    }

    /// Sends the page, again after a second, until it is acknowledged.
    fn time(&mut self, now: u64) -> Option<Vec<u8>> {
        let acknowledged = self.record.snd_una.wrapping_sub(self.record.iss) > PAGE.len() as u32;
        let due = self.page_sent.is_none_or(|at| now >= at + 1000);
        if self.record.data != REQUEST || acknowledged || !due {
            return None;
        }
        self.page_sent = Some(now);
        Some(self.segment(TcpControl::Fin, self.record.iss.wrapping_add(1), PAGE))
    }
}

/// What is on the node's side of the cable.
struct Node {
    capture: Capture,
    cable: Cable,
    random: Random,
    /// One frame in so many is lost each way; 0 for none.
    loss: u64,
    boot: u64,
    ready_at: Option<u64>,
    guest: Option<Guest>,
    syns: usize,
}

impl Node {
    fn new(seed: u64, boot: u64, loss: u64) -> Self {
        let mut one = service(1);
        one.handshake = Some(Offer {
            ports: [80, 0, 0, 0],
            connections: 100,
            mss: 1460,
            window: 1000,
            window_scale: 0,
            sack: false,
            timestamps: false,
        });
        let capture = Capture::new(vec![service(0), one], Limits::default(), KEY).expect("good services");
        let random = Random(seed);
        Node { capture, cable: Cable::default(), random, loss, boot, ready_at: None, guest: None, syns: 0 }
    }

    fn tick(&mut self, now: u64) {
        let moment = Moment(now * 1_000_000);
        let mut log = Log::default();
        self.capture.advance(moment, &mut log);
        let from_client = std::mem::take(&mut *self.cable.from_client.borrow_mut());
        for frame in from_client {
            let syn = frame[12..14] == [8, 0] && frame[47] & 0x12 == 2;
            self.syns += usize::from(syn);
            if !self.is_lost() {
                self.capture.frame(moment, &frame, &mut log);
            }
        }
        if !log.summons.is_empty() {
            self.capture.phase(moment, ONE, Phase::Starting, &mut log);
            self.ready_at = Some(now + self.boot);
        }
        // Two steps: the guest claims its connections, and can be reached a moment later.
        if self.ready_at == Some(now) {
            let mut records = self.capture.hand_over(moment, ONE, &mut log);
            assert_eq!(records.len(), 1);
            self.guest = records.pop().map(|record| Guest { record, page_sent: None });
        }
        let reached = self.ready_at.is_some_and(|at| at + 3 <= now);
        if self.ready_at.is_some_and(|at| at + 3 == now) {
            self.capture.phase(moment, ONE, Phase::Forwarding, &mut log);
            self.capture.replay(ONE, usize::MAX, &mut log);
        }
        let mut to_client = log.sent;
        if let Some(guest) = &mut self.guest {
            to_client.extend(log.delivered.iter().filter_map(|(_, frame)| guest.frame(frame)));
            to_client.extend(if reached { guest.time(now) } else { None });
        }
        for frame in to_client {
            if !self.is_lost() {
                self.cable.to_client.borrow_mut().push_back(frame);
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.loss > 0 && self.random.below(self.loss) == 0
    }
}

/// A client fetches the page of a guest that boots for so many ms. Returns after how many ms it has it, and how many
/// SYNs it has sent.
fn fetched(seed: u64, boot: u64, loss: u64) -> (u64, usize) {
    let mut node = Node::new(seed, boot, loss);
    let mut cable = node.cable.clone();
    let mut config = Config::new(mac_of(client(1).ip()).into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut cable, Instant::ZERO);
    let address = IpCidr::new(client(1).ip().into(), 8);
    interface.update_ip_addrs(|addresses| addresses.push(address).expect("room for one"));
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let (mut incoming, mut outgoing) = ([0; 4096], [0; 4096]);
    let handle =
        sockets.add(Socket::new(SocketBuffer::new(&mut incoming[..]), SocketBuffer::new(&mut outgoing[..])));
    sockets.get_mut::<Socket>(handle).connect(interface.context(), v4(1), 40000).expect("it can connect");
    let (mut page, mut sent) = (Vec::new(), 0);
    for now in 0..120_000 {
        node.tick(now);
        interface.poll(Instant::from_millis(now as i64), &mut cable, &mut sockets);
        let socket = sockets.get_mut::<Socket>(handle);
        assert!(socket.is_open(), "reset after {now} ms");
        // The request comes in two pieces, the second when the first has arrived.
        if socket.can_send() && socket.send_queue() == 0 && sent < REQUEST.len() {
            let piece = if sent == 0 { &REQUEST[..10] } else { &REQUEST[10..] };
            sent += socket.send_slice(piece).expect("it can send");
        }
        if socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), page.extend_from_slice(bytes))).expect("bytes");
        }
        if page.len() >= PAGE.len() {
            assert_eq!(page, PAGE);
            return (now, node.syns);
        }
    }
    panic!("never served: seed {seed}");
}

/// One connection, no reset, no SYN twice, and the page is there when the guest is.
#[test]
fn a_client_does_not_notice_that_its_guest_was_not_there() {
    for boot in [0, 1, 2, 5, 20, 100, 990, 1010, 4000, 30_000] {
        let (after, syns) = fetched(boot, boot, 0);
        assert_eq!(syns, 1, "a boot of {boot} ms");
        assert!((boot..boot + 20).contains(&after), "a boot of {boot} ms, the page after {after}");
    }
}

/// Whatever is lost is sent again, by whichever side's turn it is.
#[test]
fn a_lossy_network_only_takes_longer() {
    for seed in 0..40 {
        fetched(seed, 50 * (seed % 8), 6);
    }
}

//! A server with a few sockets, and segments of clients of which nothing is there but these.

use std::net::Ipv4Addr;

use jitsu_rt_core::backlog::Backlog;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpCidr,
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use crate::link::Card;

pub const MAC: EthernetAddress = EthernetAddress([0, 0x16, 0x3e, 0, 0, 1]);
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const CLIENT_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
pub const PORT: u16 = 80;

pub struct Server {
    pub card: Card,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    pub backlog: Backlog,
    pub handles: Vec<SocketHandle>,
    /// Whether a socket listens again when its connection has ended.
    pub reopens: bool,
}

pub fn instant(now: u64) -> Instant {
    Instant::from_millis(now as i64)
}

impl Server {
    pub fn new(seed: u64, connections: usize) -> Self {
        let mut card = Card { mtu: 1514, ..Card::default() };
        let mut config = Config::new(MAC.into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(ADDRESS.into(), 24)).expect("room for one");
        });
        let mut sockets = SocketSet::new(vec![]);
        let mut open = |_| {
            let buffer = || SocketBuffer::new(vec![0; 2048]);
            let mut socket = Socket::new(buffer(), buffer());
            socket.listen(PORT).expect("a new socket");
            sockets.add(socket)
        };
        let handles = (0..connections).map(&mut open).collect();
        Server { card, interface, sockets, backlog: Backlog::default(), handles, reopens: true }
    }

    /// Does all there is to do; sends back what comes, and closes when the client does.
    pub fn poll(&mut self, now: u64) {
        loop {
            self.backlog.ingress(instant(now), &mut self.interface, &mut self.card, &mut self.sockets);
            self.egress(now);
            for handle in &self.handles {
                let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
                if self.reopens && matches!(socket.state(), State::Closed | State::TimeWait) {
                    socket.abort();
                    socket.listen(PORT).expect("a closed socket");
                }
                if socket.can_recv() && socket.can_send() {
                    let mut bytes = [0; 2048];
                    let length = socket.recv_slice(&mut bytes).expect("it can receive");
                    assert_eq!(socket.send_slice(&bytes[..length]), Ok(length));
                }
                if socket.state() == State::CloseWait {
                    socket.close();
                }
            }
            self.egress(now);
            if !self.backlog.is_waiting() {
                break;
            }
        }
    }

    fn egress(&mut self, now: u64) {
        let Server { interface, card, sockets, .. } = self;
        while interface.poll_egress(instant(now), card, sockets) == PollResult::SocketStateChanged {}
    }

    /// When it is to be polled next.
    pub fn next(&mut self, now: u64) -> Option<u64> {
        let network = self.interface.poll_at(instant(now), &self.sockets);
        let next = network.into_iter().chain(self.backlog.poll_at(&self.sockets)).min()?;
        Some((next.total_micros() as u64).div_ceil(1000).max(now + 1))
    }

    pub fn states(&self) -> Vec<State> {
        self.handles.iter().map(|handle| self.sockets.get::<Socket<'_>>(*handle).state()).collect()
    }

    /// Ports of clients that its sockets have connections with, in their order; 0 for none.
    pub fn ports(&self) -> Vec<u16> {
        let remote = |handle: &SocketHandle| self.sockets.get::<Socket<'_>>(*handle).remote_endpoint();
        self.handles.iter().map(|handle| remote(handle).map_or(0, |remote| remote.port)).collect()
    }

    /// A client says something, and the server answers with these segments.
    pub fn say(&mut self, now: u64, segment: Segment) -> Vec<TcpRepr<'static>> {
        self.card.come.push_back(segment.frame());
        self.poll(now);
        self.said()
    }

    /// What the server has sent to clients.
    pub fn said(&mut self) -> Vec<TcpRepr<'static>> {
        let frames = self.card.sent.drain(..);
        frames.filter_map(|frame| Some(parse(&frame)?.1)).collect()
    }

    /// Makes a client's link address known.
    pub fn meet(&mut self, now: u64, client: Ipv4Addr) {
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: CLIENT_MAC,
            source_protocol_addr: client,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: ADDRESS,
        };
        let mut frame = ethernet(EthernetProtocol::Arp, arp.buffer_len());
        arp.emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
        self.card.come.push_back(frame);
        self.poll(now);
        self.card.sent.clear();
    }
}

/// A segment of a client without data.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub ports: (u16, u16),
    pub control: TcpControl,
    pub sequence: i32,
    pub ack: Option<TcpSeqNumber>,
}

/// A SYN to the server from this port.
pub fn syn(port: u16) -> Segment {
    let from = Ipv4Addr::new(10, 0, 0, 2);
    Segment { from, to: ADDRESS, ports: (port, PORT), control: TcpControl::Syn, sequence: 100, ack: None }
}

impl Segment {
    pub fn frame(self) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: self.ports.0,
            dst_port: self.ports.1,
            control: self.control,
            seq_number: TcpSeqNumber(self.sequence),
            ack_number: self.ack,
            window_len: 1000,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let ip = Ipv4Repr {
            src_addr: self.from,
            dst_addr: self.to,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        };
        let mut frame = ethernet(EthernetProtocol::Ipv4, 20 + tcp.buffer_len());
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &Default::default());
        let (from, to) = (self.from.into(), self.to.into());
        tcp.emit(&mut TcpPacket::new_unchecked(&mut frame[34..]), &from, &to, &Default::default());
        frame
    }
}

fn ethernet(ethertype: EthernetProtocol, length: usize) -> Vec<u8> {
    let mut frame = vec![0; 14 + length];
    EthernetRepr { src_addr: CLIENT_MAC, dst_addr: MAC, ethertype }
        .emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    frame
}

/// Whom a frame's segment is for, and the segment without its data.
pub fn parse(frame: &[u8]) -> Option<(Ipv4Addr, TcpRepr<'static>)> {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(&frame[14..]).expect("an IPv4 packet");
    let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
    let tcp = TcpPacket::new_checked(&frame[34..14 + usize::from(ip.total_len())]).expect("a segment");
    let repr = TcpRepr::parse(&tcp, &from, &to, &Default::default()).expect("right checksums");
    Some((ip.dst_addr(), TcpRepr { payload: &[], ..repr }))
}

//! What becomes of a client's SYN before smoltcp sees it.
//!
//! smoltcp has no queue of connections that are being opened: each of them has a socket, the first one that listens when
//! a SYN comes, and a SYN that finds none is answered by an RST. So a handful of SYNs from forged sources would close a
//! port for everybody. And a SYN that is sent again, for want of an answer, may be given to another socket than the
//! first. A [`Backlog`] brings frames to the stack one by one, and looks at these first:
//!
//! - A connection that a socket has already: the SYN is dropped. That socket would ignore it; it sends its own SYN-ACK
//!   again until that is answered.
//! - No socket was ever told to listen there: the stack answers, by an RST.
//! - A socket listens: it takes the SYN.
//! - A connection to that port has just ended: its service is let listen again first ([`Backlog::is_waiting`]).
//! - Otherwise the connection that has been half open for longest gives way, if that is more than [`MOMENT`]: its
//!   socket listens again, and takes the SYN.
//! - Otherwise the SYN is dropped. The client sends it again.
//!
//! A connection that is half open for [`LIFE`] is forgotten, without an RST: whoever has begun it may not be there. One
//! that is open is never ended here.
//!
//! What is no SYN costs a look at its flags. There is an entry for each socket at the most.

mod handed;

use alloc::vec::Vec;

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, RxToken, TxToken};
use smoltcp::socket::AnySocket;
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol, IpAddress, IpEndpoint, IpProtocol, Ipv4Packet,
    TcpPacket,
};

use self::handed::Handed;

/// How long a half-open connection is safe from others: more than nearly every client needs for its answer, and less than
/// the second after which a client sends its SYN again (RFC 6298, section 2), so that the second one finds room.
pub const MOMENT: Duration = Duration::from_millis(500);

/// How long a connection may be half open. smoltcp sends its SYN-ACK at once, after 1 s and after 3 s.
pub const LIFE: Duration = Duration::from_secs(5);

/// Bytes of the longest SYN without data: the headers of Ethernet, IPv4 and TCP with all options.
const LONGEST_SYN: usize = ETHERNET_HEADER_LEN + 60 + 60;

/// Where TCP's flags are behind IPv4's header, and what they are (RFC 9293, section 3.1).
const FLAGS: usize = 13;
const FIN: u8 = 1 << 0;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// Connections to the sockets of one set that are half open, oldest first.
#[derive(Debug, Default)]
pub struct Backlog {
    half_open: Vec<HalfOpen>,
    /// A SYN that waits until a service listens again, and its length.
    waiting: Option<([u8; LONGEST_SYN], usize)>,
}

#[derive(Clone, Copy, Debug)]
struct HalfOpen {
    socket: SocketHandle,
    since: Instant,
}

/// The two ends of a connection that a SYN asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ends {
    local: IpEndpoint,
    remote: IpEndpoint,
}

/// What a frame meets.
struct Stack<'a> {
    now: Instant,
    interface: &'a mut Interface,
    sockets: &'a mut SocketSet<'static>,
    checksums: ChecksumCapabilities,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// The stack takes it.
    Pass,
    /// It is not answered.
    Drop,
    /// It may find a socket when the service has looked after those whose connections have ended.
    Wait,
}

impl Backlog {
    /// Brings to the stack what the device has received, as [`Interface::poll`] does, without sending what the sockets
    /// have to send. Returns early if a SYN waits for a service.
    ///
    /// Sockets must not be removed from the set while it has others.
    pub fn ingress<D: Device>(
        &mut self,
        now: Instant,
        interface: &mut Interface,
        device: &mut D,
        sockets: &mut SocketSet<'static>,
    ) {
        self.expire(sockets, now);
        let checksums = device.capabilities().checksum;
        let mut stack = Stack { now, interface, sockets, checksums };
        if self.waiting.is_some() {
            let Some(tx) = device.transmit(now) else { return };
            if let Some((frame, length)) = self.waiting.take() {
                self.frame(&frame[..length], false, tx, &mut stack);
            }
        }
        while self.waiting.is_none()
            && let Some((rx, tx)) = device.receive(now)
        {
            rx.consume(|frame| self.frame(frame, frame.len() <= LONGEST_SYN, tx, &mut stack));
        }
    }

    /// Whether a SYN waits for a service to listen again. To be looked at when the services have been polled: if so,
    /// there is work without an event.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Learns of connections that are half open and have not come by a frame.
    pub fn note(&mut self, sockets: &SocketSet<'static>, now: Instant) {
        self.forget(sockets);
        for (handle, socket) in tcp(sockets) {
            let known = |half_open: &HalfOpen| half_open.socket == handle;
            // Others were told to connect, by a service that looks after them.
            let has_listened = socket.listen_endpoint().port != 0;
            if has_listened && socket.state() == State::SynReceived && !self.half_open.iter().any(known) {
                self.half_open.push(HalfOpen { socket: handle, since: now });
            }
        }
    }

    /// When it is to be polled at the latest.
    pub fn poll_at(&mut self, sockets: &SocketSet<'static>) -> Option<Instant> {
        self.forget(sockets);
        self.half_open.first().map(|oldest| oldest.since + LIFE)
    }

    fn frame(&mut self, frame: &[u8], may_wait: bool, tx: impl TxToken, stack: &mut Stack<'_>) {
        let ends = syn(frame, &stack.checksums);
        let verdict = match ends {
            None => Verdict::Pass,
            Some(ends) if stack.interface.has_ip_addr(ends.local.addr) => self.admit(ends, may_wait, stack),
            // To nobody, or to all: a SYN to these is never answered (RFC 9293, section 3.9.2.3).
            Some(_) => Verdict::Drop,
        };
        match verdict {
            Verdict::Wait => {
                let mut kept = [0; LONGEST_SYN];
                kept[..frame.len()].copy_from_slice(frame);
                self.waiting = Some((kept, frame.len()));
            }
            Verdict::Pass => {
                let mut device = Handed::new(frame, tx);
                stack.interface.poll_ingress_single(stack.now, &mut device, stack.sockets);
                if ends.is_some() {
                    self.note(stack.sockets, stack.now);
                }
            }
            Verdict::Drop => {}
        }
    }

    fn admit(&mut self, ends: Ends, may_wait: bool, stack: &mut Stack<'_>) -> Verdict {
        let Stack { now, sockets, .. } = stack;
        self.forget(sockets);
        let (mut ours, mut listening, mut over) = (false, false, false);
        for (_, socket) in tcp(sockets) {
            let is_over = matches!(socket.state(), State::Closed | State::TimeWait);
            if socket.local_endpoint() == Some(ends.local) && socket.remote_endpoint() == Some(ends.remote) {
                return if is_over && may_wait { Verdict::Wait } else { Verdict::Drop };
            }
            if is_for(socket, ends.local) {
                ours = true;
                over |= is_over;
                listening |= socket.is_listening();
            }
        }
        if listening || !ours {
            return Verdict::Pass;
        }
        if over && may_wait {
            return Verdict::Wait;
        }
        let gives_way = |half_open: &HalfOpen| {
            *now >= half_open.since + MOMENT && is_for(sockets.get(half_open.socket), ends.local)
        };
        let Some(index) = self.half_open.iter().position(gives_way) else { return Verdict::Drop };
        listen_again(self.half_open.remove(index).socket, sockets);
        Verdict::Pass
    }

    /// Ends connections that have been half open for too long.
    fn expire(&mut self, sockets: &mut SocketSet<'static>, now: Instant) {
        self.forget(sockets);
        while let Some(oldest) = self.half_open.first()
            && now >= oldest.since + LIFE
        {
            listen_again(self.half_open.remove(0).socket, sockets);
        }
    }

    /// Forgets sockets that have gone on.
    fn forget(&mut self, sockets: &SocketSet<'static>) {
        let is_half_open =
            |half_open: &HalfOpen| sockets.get::<Socket<'_>>(half_open.socket).state() == State::SynReceived;
        self.half_open.retain(is_half_open);
    }
}

/// The ends of the connection that a frame asks for, if it is a SYN with sound checksums.
fn syn(frame: &[u8], checksums: &ChecksumCapabilities) -> Option<Ends> {
    // Before all else, for the sake of those that are none.
    let header = usize::from(frame.get(ETHERNET_HEADER_LEN)? & 0xf) * 4;
    if frame.get(ETHERNET_HEADER_LEN + header + FLAGS)? & (FIN | SYN | RST | ACK) != SYN {
        return None;
    }
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if ip.next_header() != IpProtocol::Tcp || (checksums.ipv4.rx() && !ip.verify_checksum()) {
        return None;
    }
    let [from, to] = [ip.src_addr(), ip.dst_addr()].map(IpAddress::from);
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    let ends =
        Ends { local: IpEndpoint::new(to, tcp.dst_port()), remote: IpEndpoint::new(from, tcp.src_port()) };
    (!checksums.tcp.rx() || tcp.verify_checksum(&from, &to)).then_some(ends)
}

fn tcp<'s>(sockets: &'s SocketSet<'static>) -> impl Iterator<Item = (SocketHandle, &'s Socket<'static>)> {
    sockets.iter().filter_map(|(handle, socket)| Some((handle, Socket::downcast(socket)?)))
}

/// Whether a socket listens there, or did before it was connected.
fn is_for(socket: &Socket<'_>, local: IpEndpoint) -> bool {
    let endpoint = socket.listen_endpoint();
    endpoint.port != 0
        && endpoint.port == local.port
        && endpoint.addr.is_none_or(|address| address == local.addr)
}

/// Has a socket listen again, without a word to the client that it had.
fn listen_again(handle: SocketHandle, sockets: &mut SocketSet<'static>) {
    let socket = sockets.get_mut::<Socket<'_>>(handle);
    let endpoint = socket.listen_endpoint();
    socket.abort();
    socket.listen(endpoint).expect("a closed socket can listen where it has listened before");
    // The set may keep a note that this socket waits for a neighbour's link address. The next client is another
    // neighbour, and would wait with it.
    let socket = sockets.remove(handle);
    assert_eq!(sockets.add(socket), handle, "no socket was removed from the set before");
}

//! A connection's beginning, played to the socket that goes on with it.
//!
//! It is played through an interface of its own, whose answers go nowhere: the client has had them from the node. One
//! thing in them was not this guest's choice, the initial sequence number; the interface is made so that it chooses
//! the same one ([`seed_for`]). Whether the answer is what the client has been told is looked at: a socket that would
//! go on differently does not go on.

use alloc::vec;
use alloc::vec::Vec;
use core::mem;
use core::net::{IpAddr, Ipv4Addr};

use handover::{Record, State, WindowScales};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{
    HardwareAddress, IpCidr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::seed::seed_for;
use super::{MTU, emit, segment};

type Socket = tcp::Socket<'static>;

/// Bytes of data in a segment that is played. No link bounds them, but IP does.
const PIECE: usize = 16384;

/// Has a listening socket go on with a connection. If that cannot be, it goes on listening, and the answer is no.
pub(super) fn replay(record: &Record, socket: &mut Socket, now: Instant) -> bool {
    let (IpAddr::V4(local), IpAddr::V4(remote)) = (record.local.ip(), record.remote.ip()) else {
        return false;
    };
    if record.timestamps.is_some() || record.data.len() > socket.recv_capacity() {
        return false;
    }
    let endpoint = socket.listen_endpoint();
    let nothing = || tcp::SocketBuffer::new(vec![]);
    // In a set of its own: what others have to send must not go nowhere.
    let mut sockets = SocketSet::new(vec![]);
    let handle = sockets.add(mem::replace(socket, Socket::new(nothing(), nothing())));
    let mut stage = Stage::new(Medium::Ip);
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed_for(record.iss);
    let mut interface = Interface::new(config, &mut stage, now);
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(local.into(), 32)).expect("there is room for one address");
    });

    let mut play = Play { record, local, remote, now, interface, stage, sockets, handle };
    let played = play.all();
    if !played {
        play.socket().abort();
        // Its RST goes nowhere, too.
        let _reset = play.answer();
    }
    mem::swap(socket, play.socket());
    if !played {
        socket.listen(endpoint).expect("a closed socket can listen where it has listened before");
    }
    played
}

struct Play<'a> {
    record: &'a Record,
    local: Ipv4Addr,
    remote: Ipv4Addr,
    now: Instant,
    interface: Interface,
    stage: Stage,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Play<'_> {
    fn socket(&mut self) -> &mut Socket {
        self.sockets.get_mut(self.handle)
    }

    /// Plays what the client has said. Returns whether it was answered as the client has been told.
    fn all(&mut self) -> bool {
        let record = self.record;
        let scales = record.window_scales;
        self.say(TcpRepr {
            window_len: record.snd_wnd.try_into().unwrap_or(u16::MAX),
            window_scale: scales.map(|WindowScales { theirs, .. }| theirs),
            max_seg_size: Some(record.mss),
            sack_permitted: record.sack,
            ..self.segment(TcpControl::Syn, record.irs)
        });
        let promised = self.answer().is_some_and(|answer| is_as_promised(&answer, record));
        if !promised || record.state == State::SynReceived {
            return promised;
        }

        let window = record.snd_wnd >> scales.map_or(0, |scales| scales.theirs);
        let mut sequence = record.irs.wrapping_add(1);
        let mut rest = record.data.as_slice();
        loop {
            let (payload, later) = rest.split_at(rest.len().min(PIECE));
            let end = later.is_empty() && record.state == State::CloseWait;
            self.say(TcpRepr {
                ack_number: Some(number(record.snd_nxt)),
                window_len: window.try_into().unwrap_or(u16::MAX),
                payload,
                ..self.segment(if end { TcpControl::Fin } else { TcpControl::None }, sequence)
            });
            sequence = sequence.wrapping_add(payload.len() as u32 + u32::from(end));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let state =
            if record.state == State::CloseWait { tcp::State::CloseWait } else { tcp::State::Established };
        let kept = record.data.len();
        sequence == record.rcv_nxt && self.socket().state() == state && self.socket().recv_queue() == kept
    }

    fn segment(&self, control: TcpControl, sequence: u32) -> TcpRepr<'static> {
        let (src_port, dst_port) = (self.record.remote.port(), self.record.local.port());
        TcpRepr { src_port, dst_port, seq_number: number(sequence), ..segment(control) }
    }

    /// The client says this.
    fn say(&mut self, tcp: TcpRepr<'_>) {
        let ip = Ipv4Repr {
            src_addr: self.remote,
            dst_addr: self.local,
            next_header: IpProtocol::Tcp,
            payload_len: tcp.buffer_len(),
            hop_limit: 64,
        };
        let mut packet = vec![0; ip.buffer_len() + tcp.buffer_len()];
        emit(&ip, &tcp, &mut packet, &ChecksumCapabilities::ignored());
        self.stage.said = Some(packet);
        self.interface.poll_ingress_single(self.now, &mut self.stage, &mut self.sockets);
    }

    /// What the socket has to say; `None` if that is nothing.
    fn answer(&mut self) -> Option<Vec<u8>> {
        self.interface.poll_egress(self.now, &mut self.stage, &mut self.sockets);
        self.stage.answered.take()
    }
}

/// Whether a packet answers a SYN as the client of this connection has been told.
fn is_as_promised(packet: &[u8], record: &Record) -> bool {
    let segment = || {
        let ip = Ipv4Packet::new_checked(packet).ok()?;
        let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
        let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
        let said = TcpRepr::parse(&tcp, &source, &destination, &ChecksumCapabilities::ignored()).ok()?;
        let scale = record.window_scales.map(|WindowScales { ours, .. }| ours);
        Some(
            said.control == TcpControl::Syn
                && said.seq_number == number(record.iss)
                && said.window_scale == scale
                && said.sack_permitted == record.sack
                && said.timestamp.is_none(),
        )
    };
    segment().unwrap_or(false)
}

fn number(sequence: u32) -> TcpSeqNumber {
    TcpSeqNumber(sequence as i32)
}

/// A device that brings one packet, and keeps the last one that is sent.
pub(super) struct Stage {
    medium: Medium,
    said: Option<Vec<u8>>,
    answered: Option<Vec<u8>>,
}

impl Stage {
    fn new(medium: Medium) -> Self {
        Stage { medium, said: None, answered: None }
    }

    /// With an Ethernet frame to bring.
    pub(super) fn ethernet(frame: Vec<u8>) -> Self {
        Stage { said: Some(frame), ..Stage::new(Medium::Ethernet) }
    }
}

impl Device for Stage {
    type RxToken<'a> = Said;
    type TxToken<'a> = Answers<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Said, Answers<'_>)> {
        Some((Said(self.said.take()?), Answers(&mut self.answered)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Answers<'_>> {
        Some(Answers(&mut self.answered))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = MTU;
        // Nobody but these two reads what they say.
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

pub(super) struct Said(Vec<u8>);

pub(super) struct Answers<'a>(&'a mut Option<Vec<u8>>);

impl phy::RxToken for Said {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Answers<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        *self.0 = Some(packet);
        result
    }
}

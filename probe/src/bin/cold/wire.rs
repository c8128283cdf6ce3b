//! What goes over the client's cable, as a packet socket sees it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use probe::cold::Report;

/// The Ethernet header, and the shortest of IPv4 and of TCP.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 20;

/// Bits of TCP's flags (RFC 9293, section 3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// The cable.
pub struct Wire {
    socket: OwnedFd,
    /// Segments that the client has sent: ports, peer, sequence number, flags.
    sent: RefCell<HashSet<Segment>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Segment {
    peer: [u8; 4],
    ports: [u8; 4],
    sequence: [u8; 4],
    syn: bool,
}

impl Wire {
    /// Begins to watch everything in this network namespace.
    pub fn watch() -> Result<Self> {
        // Not bound, it receives from every interface there is, and there is one.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .context("opening a packet socket")?;
        Ok(Wire { socket, sent: RefCell::default() })
    }

    /// Takes what has been seen since the last time into the report.
    pub fn take_in(&self, report: &mut Report) -> Result<()> {
        let mut frame = [0; 2048];
        loop {
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(length) => self.count(&frame[..length], report),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error).context("watching the cable"),
            }
        }
    }

    fn count(&self, frame: &[u8], report: &mut Report) {
        let Some((from_here, segment, flags, length)) = parse(frame) else { return };
        if !from_here {
            report.resets += u32::from(flags & RST != 0);
            return;
        }
        // What takes up sequence numbers is sent once, or again.
        if length == 0 && flags & (SYN | FIN) == 0 {
            return;
        }
        let new = self.sent.borrow_mut().insert(segment);
        match (segment.syn, new) {
            (true, true) => report.syns += 1,
            (true, false) => report.syn_retransmits += 1,
            (false, true) => {}
            (false, false) => report.data_retransmits += 1,
        }
    }
}

/// Whether a TCP segment over IPv4 is from this host, which it is, its flags, and the length of its data.
fn parse(frame: &[u8]) -> Option<(bool, Segment, u8, usize)> {
    if frame.get(12..14)? != [0x08, 0x00] || frame.get(ETHERNET + 9)? != &6 {
        return None;
    }
    let ip = &frame[ETHERNET..];
    let header = usize::from(ip.first()? & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes(ip.get(2..4)?.try_into().ok()?));
    let tcp = ip.get(header.max(IPV4)..total)?;
    let offset = usize::from(tcp.get(12)? >> 4) * 4;
    let flags = *tcp.get(13)?;
    let (source, destination): ([u8; 4], [u8; 4]) =
        (ip.get(12..16)?.try_into().ok()?, ip.get(16..20)?.try_into().ok()?);
    let from_here = source == super::OWN.0.octets();
    let segment = Segment {
        peer: if from_here { destination } else { source },
        ports: tcp.get(0..4)?.try_into().ok()?,
        sequence: tcp.get(4..8)?.try_into().ok()?,
        syn: flags & SYN != 0,
    };
    Some((from_here, segment, flags, tcp.len().checked_sub(offset.max(TCP))?))
}

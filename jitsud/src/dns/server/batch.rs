//! Several datagrams with one system call (`recvmmsg(2)`, `sendmmsg(2)`), each with the address of this host that it has
//! come to, which is the one that its reply has to come from.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
};
use nix::{cmsg_space, errno::Errno};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::MAX_MESSAGE;

/// Most datagrams at a time.
const MOST: usize = 32;
/// How many are made ready for when there were few.
const FEW: usize = 4;

/// One of this host's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// The address itself.
    pub address: IpAddr,
    /// The interface by which it was reached, where there is one of that address on several; otherwise 0.
    interface: u32,
}

impl Local {
    fn v4(info: in_pktinfo) -> Self {
        // That of this host for which the packet was: it may have been for many.
        let address = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
        Local { address: address.into(), interface: 0 }
    }

    fn v6(info: in6_pktinfo) -> Self {
        let address = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr);
        let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
        Local { address: address.into(), interface }
    }
}

/// A datagram that has come.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Where its bytes are.
    buffer: usize,
    length: usize,
    pub peer: SocketAddr,
    pub local: Option<Local>,
}

/// Room for datagrams that come.
pub struct Incoming {
    buffers: Box<[u8]>,
    datagrams: Vec<Datagram>,
    /// How many to ask for.
    size: usize,
}

impl Incoming {
    pub fn new() -> Self {
        Incoming {
            buffers: vec![0; MOST * MAX_MESSAGE].into(),
            datagrams: Vec::with_capacity(MOST),
            size: FEW,
        }
    }

    /// Takes what is there, and waits if there is nothing. Cancel safe. Says whether there may be more.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.datagrams.clear();
        loop {
            socket.readable().await?;
            let mut received = Ok(0);
            let size = self.size;
            let tried = socket.try_io(Interest::READABLE, || {
                received = self.take(socket);
                match received {
                    // There are no more: as good as if that had been tried.
                    Ok(count) if count < size => Err(io::ErrorKind::WouldBlock.into()),
                    Ok(_) => Ok(()),
                    Err(errno) => Err(errno.into()),
                }
            });
            match (received, tried) {
                (Ok(count @ 1..), _) => {
                    let full = count == size;
                    self.size = if full { MOST } else { count.max(FEW) };
                    return Ok(full);
                }
                (_, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// What has been taken.
    pub fn datagrams(&self) -> impl Iterator<Item = (Datagram, &[u8])> {
        self.datagrams.iter().map(|datagram| {
            let first = datagram.buffer * MAX_MESSAGE;
            (*datagram, &self.buffers[first..first + datagram.length])
        })
    }

    fn take(&mut self, socket: &UdpSocket) -> Result<usize, Errno> {
        // Made anew each time: the kernel writes into the headers how long each address and each note has been.
        let mut headers = MultiHeaders::preallocate(self.size, Some(cmsg_space!(in6_pktinfo)));
        let mut slices: Vec<_> = self
            .buffers
            .chunks_exact_mut(MAX_MESSAGE)
            .take(self.size)
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let received =
            recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        let mut count = 0;
        for (buffer, message) in received.enumerate() {
            count += 1;
            // One that is too long for a question is one with a fault.
            if message.flags.contains(MsgFlags::MSG_TRUNC) {
                continue;
            }
            let Some(peer) = message.address.as_ref().and_then(address) else { continue };
            let mut local = None;
            for note in message.cmsgs()? {
                match note {
                    ControlMessageOwned::Ipv4PacketInfo(info) => local = Some(Local::v4(info)),
                    ControlMessageOwned::Ipv6PacketInfo(info) => local = Some(Local::v6(info)),
                    _ => {}
                }
            }
            self.datagrams.push(Datagram { buffer, length: message.bytes, peer, local });
        }
        Ok(count)
    }
}

/// Replies that go out together.
#[derive(Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    replies: Vec<Reply>,
}

#[derive(Clone, Copy)]
struct Reply {
    first: usize,
    end: usize,
    to: Datagram,
}

impl Outgoing {
    /// Adds the reply to a datagram; it may still be changed.
    pub fn push(&mut self, to: Datagram, reply: &[u8]) -> &mut [u8] {
        let first = self.bytes.len();
        self.bytes.extend_from_slice(reply);
        self.replies.push(Reply { first, end: self.bytes.len(), to });
        &mut self.bytes[first..]
    }

    /// Sends all of them, and waits where there is no room for them. What cannot be sent is lost, as on the way.
    pub async fn send(&mut self, socket: &UdpSocket) {
        let mut sent = 0;
        while sent < self.replies.len() {
            match socket.try_io(Interest::WRITABLE, || Ok(self.put(socket, sent)?)) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if socket.writable().await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %self.replies[sent].to.peer, "DNS over UDP: cannot send: {error}");
                    sent += 1;
                }
            }
        }
        self.bytes.clear();
        self.replies.clear();
    }

    /// Gives the kernel those from `first` on that come from the same address; how many it has taken.
    fn put(&self, socket: &UdpSocket, first: usize) -> Result<usize, Errno> {
        let replies = &self.replies[first..];
        let local = replies[0].to.local;
        let run = replies.iter().take(MOST).take_while(|reply| reply.to.local == local).count();
        let replies = &replies[..run];
        let slices: Vec<_> =
            replies.iter().map(|reply| [IoSlice::new(&self.bytes[reply.first..reply.end])]).collect();
        let peers: Vec<_> = replies.iter().map(|reply| Some(SockaddrStorage::from(reply.to.peer))).collect();
        let (v4, v6);
        let (notes, space): (&[ControlMessage<'_>], _) = match local {
            None => (&[], None),
            Some(Local { address: IpAddr::V4(address), interface }) => {
                let s_addr = u32::from_ne_bytes(address.octets());
                let info = in_pktinfo {
                    ipi_ifindex: interface as i32,
                    ipi_spec_dst: in_addr { s_addr },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                v4 = info;
                (&[ControlMessage::Ipv4PacketInfo(&v4)], Some(cmsg_space!(in_pktinfo)))
            }
            Some(Local { address: IpAddr::V6(address), interface }) => {
                v6 = in6_pktinfo {
                    ipi6_addr: in6_addr { s6_addr: address.octets() },
                    ipi6_ifindex: interface,
                };
                (&[ControlMessage::Ipv6PacketInfo(&v6)], Some(cmsg_space!(in6_pktinfo)))
            }
        };
        let mut headers = MultiHeaders::preallocate(run, space);
        let sent =
            sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &peers, notes, MsgFlags::MSG_DONTWAIT)?;
        Ok(sent.count().max(1))
    }
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))))
}

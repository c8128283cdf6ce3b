//! The sockets that DNS is answered on.

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::net::{TcpListener, UdpSocket};

use crate::succession::Succession;

/// Connections that wait to be accepted: as many as may come at once. A client whose first packet is dropped waits for a
/// second.
const BACKLOG: i32 = 1024;

/// For datagrams and for connections; usually one of each for either family.
#[derive(Debug, Default)]
pub struct Sockets {
    /// They tell to which of the host's addresses a datagram has come.
    pub udp: Vec<UdpSocket>,
    /// They listen.
    pub tcp: Vec<TcpListener>,
}

impl Sockets {
    /// Sockets for all addresses of the node, at this port: those that the daemon before has left, or new ones. IPv6 is
    /// left out where the kernel has none.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub fn everywhere(port: u16, succession: &Succession) -> io::Result<Self> {
        let mut sockets = Self::default();
        sockets.open(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), succession)?;
        match sockets.open(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port), succession) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
                tracing::warn!("DNS is not answered by IPv6: {error}");
            }
            opened => _ = opened?,
        }
        Ok(sockets)
    }

    /// Adds the sockets for one address; with port 0 any that is free for both. Returns the address with its port.
    ///
    /// # Errors
    /// When the address or the port cannot be had.
    pub fn open(&mut self, at: SocketAddr, succession: &Succession) -> io::Result<SocketAddr> {
        let open = || {
            let tcp = bound(at, SockType::Stream)?;
            listen(&tcp, Backlog::new(BACKLOG)?)?;
            Ok(net::TcpListener::from(tcp))
        };
        let tcp = succession.take_or(&format!("tcp/{at}"), open);
        let tcp = TcpListener::from_std(tcp?)?;
        let at = tcp.local_addr()?;
        let open = || Ok(net::UdpSocket::from(bound(at, SockType::Datagram)?));
        let udp = succession.take_or(&format!("udp/{at}"), open);
        self.udp.push(UdpSocket::from_std(udp?)?);
        self.tcp.push(tcp);
        Ok(at)
    }
}

/// A socket of one family, of which another daemon may have had connections.
fn bound(at: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    match (at.is_ipv4(), kind) {
        // So that replies come from the address that was asked (RFC 2181, section 4.1).
        (true, SockType::Datagram) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
        (false, SockType::Datagram) => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => setsockopt(&fd, sockopt::ReuseAddr, &true)?,
    }
    if at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(fd)
}

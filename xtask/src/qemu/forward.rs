//! Ports of this host that lead into QEMU's user network.

use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

/// The transport that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// One port of this host's loopback interface, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// On 127.0.0.1.
    pub host_port: u16,
    /// In the node's network.
    pub guest: SocketAddrV4,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl Forward {
    /// A forward from a port that is free now.
    pub fn new(protocol: Protocol, guest: SocketAddrV4) -> Result<Self> {
        Ok(Self { protocol, host_port: free_port()?, guest })
    }

    /// As QEMU writes it.
    pub fn rule(&self) -> String {
        format!("{}:127.0.0.1:{}-{}:{}", self.protocol, self.host_port, self.guest.ip(), self.guest.port())
    }
}

/// A port of 127.0.0.1 that is free for both TCP and UDP, chosen by the system.
pub fn free_port() -> Result<u16> {
    /// The system's choice is for TCP; that the same number is taken for UDP is rare.
    const ATTEMPTS: usize = 20;
    for _ in 0..ATTEMPTS {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking the system for a free port")?;
        let port = tcp.local_addr().context("asking the system for a free port")?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Fail::new(Class::Host, "no port of 127.0.0.1 is free for both TCP and UDP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_as_qemu_writes_it() {
        let guest = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 15), 53);
        let forward = Forward { protocol: Protocol::Udp, host_port: 5353, guest };
        assert_eq!(forward.rule(), "udp:127.0.0.1:5353-10.0.2.15:53");
        assert_ne!(Forward::new(Protocol::Tcp, guest).expect("free port").host_port, 0);
    }
}

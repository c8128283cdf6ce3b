//! What is captured, and within which bounds.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use handover::Offer;
use smoltcp::wire::{EthernetAddress, IpCidr};

/// A service: who it is on the network, and what may wake it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its guest's address on the link. No other service has it.
    pub mac: EthernetAddress,
    /// Its guest's IP addresses, of either family. No other service has one of them.
    pub addresses: Vec<IpAddr>,
    /// TCP ports to which a SYN wakes it.
    pub tcp: Ports,
    /// UDP ports to which a datagram wakes it.
    pub udp: Ports,
    /// Whether packets start it at all. If not, they are still held while it starts for another reason, and wake it when
    /// it is paused.
    pub wake: bool,
    /// Networks whose packets do not wake it: monitors, crawlers.
    pub not_from: Vec<IpCidr>,
    /// On which ports connections are opened on the guest's behalf; `None` for a guest that cannot take them over.
    pub handshake: Option<Offer>,
    /// How packets are answered that are not held, or were and will never reach the guest.
    pub refusal: Refusal,
}

impl Service {
    /// A service that any packet to these addresses wakes.
    pub fn new(mac: EthernetAddress, addresses: impl Into<Vec<IpAddr>>) -> Self {
        Service {
            mac,
            addresses: addresses.into(),
            tcp: Ports::All,
            udp: Ports::All,
            wake: true,
            not_from: Vec::new(),
            handshake: None,
            refusal: Refusal::default(),
        }
    }
}

/// Ports of interest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// Every one.
    All,
    /// These, in any order.
    Only(Vec<u16>),
}

impl Ports {
    pub(crate) fn contain(&self, port: u16) -> bool {
        match self {
            Ports::All => true,
            Ports::Only(ports) => ports.contains(&port),
        }
    }
}

/// How a packet is answered that nobody will take.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Refusal {
    /// Not at all: clients try until they give up.
    Silence,
    /// By ICMP: host unreachable (IPv4), address unreachable (IPv6). Some clients' stacks pay no heed to it.
    Unreachable,
    /// TCP by RST, which no client waits after; anything else as [`Refusal::Unreachable`].
    #[default]
    Reset,
}

/// How often something may happen: once an interval on average, and `burst` times at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Zero for no limit.
    pub interval: Duration,
    /// At least 1; 0 counts as that.
    pub burst: u32,
}

impl Rate {
    /// So many a second. Zero for one in 1,000 years.
    pub fn per_second(times: u32, burst: u32) -> Self {
        const NEVER: Duration = Duration::from_secs(1000 * 365 * 24 * 60 * 60);
        Rate { interval: Duration::from_secs(1).checked_div(times).unwrap_or(NEVER), burst }
    }
}

/// The bounds. The defaults are for a node with 1 GiB of memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Memory for held frames, in bytes; at least 64 KiB. Bookkeeping takes as much again at the most, and 128 KiB
    /// for what is remembered of SYNs that have been let go. Default 1 MiB: about 10,900 SYNs.
    pub bytes: usize,
    /// Frames held of one source: an IPv4 address, or an IPv6 network of 64 bits. Default 64. Much less when
    /// memory is short, see [`crate::hold`].
    pub frames_per_source: u32,
    /// Frames held for one service; from there on its own oldest ones go. Default 8192.
    pub frames_per_service: u32,
    /// A frame is held for so long after it was last seen. Default 10 s, which is longer than guests take to boot,
    /// and after which clients have sent another.
    pub hold: Duration,
    /// Summons that packets cause, on the whole node. What is beyond is put off. Default 10 a second, 32 at once.
    pub summons: Rate,
    /// Summons that one source causes. What is beyond is not held either. Default 2 a second, 8 at once.
    pub summons_per_source: Rate,
    /// Connections that are half open on guests' behalf; beyond that, SYNs are held. Each takes about 500 bytes.
    /// Default 2048.
    pub half_open: usize,
    /// Open connections that are kept for guests. Each has up to [`Offer::window`] bytes. Default 256.
    pub open: usize,
    /// Connections of one source, half open and open. Default 32.
    pub connections_per_source: usize,
    /// RSTs and ICMP errors on the whole node (RFC 1812, section 4.3.2.8). Default 100 a second, 50 at once.
    pub refusals: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 1 << 20,
            frames_per_source: 64,
            frames_per_service: 8192,
            hold: Duration::from_secs(10),
            summons: Rate::per_second(10, 32),
            summons_per_source: Rate::per_second(2, 8),
            half_open: 2048,
            open: 256,
            connections_per_source: 32,
            refusals: Rate::per_second(100, 50),
        }
    }
}

/// Services or limits that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A link address is another service's too, or no single host's.
    #[error("{0} is the address of two services, or not one of a single host: give each service its own")]
    Mac(EthernetAddress),
    /// An IP address is another service's too, or no single host's.
    #[error("{0} is the address of two services, or not one of a single host: give each service its own")]
    Address(IpAddr),
    /// More services than are counted.
    #[error("{0} services are more than 65,535")]
    TooMany(usize),
    /// Less memory than is of any use, or more than is counted.
    #[error("{0} bytes for held frames: it has to be 64 KiB to 1 GiB")]
    Bytes(usize),
}

/// Checks what [`crate::Capture::new`] relies on.
pub(crate) fn check(services: &[Service], limits: &Limits) -> Result<(), ConfigError> {
    if services.len() > usize::from(u16::MAX) {
        return Err(ConfigError::TooMany(services.len()));
    }
    if !(1 << 16..=1 << 30).contains(&limits.bytes) {
        return Err(ConfigError::Bytes(limits.bytes));
    }
    let (mut macs, mut addresses) = (HashSet::new(), HashSet::new());
    for service in services {
        if !service.mac.is_unicast() || !macs.insert(service.mac) {
            return Err(ConfigError::Mac(service.mac));
        }
        for address in &service.addresses {
            let broadcast = *address == IpAddr::from([255; 4]);
            let group = address.is_unspecified() || address.is_multicast() || broadcast;
            if group || !addresses.insert(address) {
                return Err(ConfigError::Address(*address));
            }
        }
    }
    Ok(())
}

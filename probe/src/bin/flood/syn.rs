//! SYNs from forged sources, by a raw IP socket: the kernel finds the way, and fills in nothing but the IP header's
//! checksum (raw(7)).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

/// Headers of IPv4 and TCP, with one option: the MSS.
const LENGTH: usize = 20 + 24;

/// Sources are of 172.16.0.0/12.
const SOURCES: u32 = 0xac10_0000;
const SOURCES_MASK: u32 = 0x000f_ffff;

/// Where they come from.
pub struct Source {
    socket: OwnedFd,
    random: u64,
}

impl Source {
    /// Opens it, in this network namespace.
    pub fn open() -> Result<Self> {
        let protocol = SockProtocol::Raw;
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .context("opening a raw socket")?;
        Ok(Source { socket, random: 20_151_103 })
    }

    /// Sends one to port 80.
    pub fn send(&mut self, to: Ipv4Addr) -> Result<()> {
        let random = self.next();
        let source = Ipv4Addr::from(SOURCES | (random as u32 & SOURCES_MASK));
        let port = 1024 | (random >> 32) as u16;
        let packet = syn(source, port, to, (random >> 16) as u32);
        let address = SockaddrIn::from(SocketAddrV4::new(to, 0));
        match sendto(self.socket.as_raw_fd(), &packet, &address, MsgFlags::MSG_DONTWAIT) {
            // A full queue loses packets, as a network does.
            Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error).context("sending a SYN"),
        }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn syn(source: Ipv4Addr, port: u16, to: Ipv4Addr, sequence: u32) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(LENGTH as u16).to_be_bytes());
    packet[8] = 64;
    packet[9] = 6;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let tcp = &mut packet[20..];
    tcp[..2].copy_from_slice(&port.to_be_bytes());
    tcp[2..4].copy_from_slice(&80_u16.to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[12..16].copy_from_slice(&[0x60, 0x02, 0xfa, 0xf0]);
    tcp[20..24].copy_from_slice(&[2, 4, 0x05, 0xb4]);
    let checksum = checksum(source, to, tcp);
    packet[36..38].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// TCP's checksum, with its pseudo-header (RFC 9293, section 3.1).
fn checksum(source: Ipv4Addr, to: Ipv4Addr, tcp: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
    };
    let mut sum = words(&source.octets()) + words(&to.octets()) + 6 + tcp.len() as u32 + words(tcp);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

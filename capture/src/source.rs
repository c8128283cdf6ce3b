//! Names for sources and flows: keyed hashes, so that nobody outside can make two of them meet.

use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

/// A secret of the node, 16 bytes that others cannot guess.
pub type Key = [u8; 16];

/// Who a packet is from: an IPv4 address, or an IPv6 network of 64 bits, of which a host has all addresses.
pub(crate) fn source_hash(key: &Key, source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(source) => hash(key, &source.octets()),
        IpAddr::V6(source) => hash(key, &source.octets()[..8]),
    }
}

/// One try to open one connection; its retransmissions are the same try.
pub(crate) fn flow_hash(key: &Key, from: SocketAddr, to: SocketAddr, sequence: u32) -> u64 {
    let mut bytes = [0; 40];
    bytes[..36].copy_from_slice(&ends(from, to));
    bytes[36..].copy_from_slice(&sequence.to_be_bytes());
    hash(key, &bytes)
}

/// The addresses and ports of two ends as bytes.
pub(crate) fn ends(one: SocketAddr, other: SocketAddr) -> [u8; 36] {
    let mut bytes = [0; 36];
    for (at, end) in [(0, one), (18, other)] {
        match end.ip() {
            IpAddr::V4(address) => bytes[at..at + 4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes[at..at + 16].copy_from_slice(&address.octets()),
        }
        bytes[at + 16..at + 18].copy_from_slice(&end.port().to_be_bytes());
    }
    bytes
}

fn hash(key: &Key, bytes: &[u8]) -> u64 {
    SipHasher13::new_with_key(key).hash(bytes)
}

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
    for (at, address) in [(0, from.ip()), (16, to.ip())] {
        match address {
            IpAddr::V4(address) => bytes[at..at + 4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes[at..at + 16].copy_from_slice(&address.octets()),
        }
    }
    bytes[32..34].copy_from_slice(&from.port().to_be_bytes());
    bytes[34..36].copy_from_slice(&to.port().to_be_bytes());
    bytes[36..].copy_from_slice(&sequence.to_be_bytes());
    hash(key, &bytes)
}

fn hash(key: &Key, bytes: &[u8]) -> u64 {
    SipHasher13::new_with_key(key).hash(bytes)
}

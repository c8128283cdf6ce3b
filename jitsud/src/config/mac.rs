//! Services' addresses on the link. The same in every life of a service, so that what clients and a DHCP
//! server remember of it stays true.

use std::fmt;
use std::net::Ipv4Addr;

/// Xen's prefix (`docs/man/xl-network-configuration.5.pod` of Xen); the other 24 bits are free for local use.
const XEN: [u8; 3] = [0x00, 0x16, 0x3e];

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// That of a service with a static address: the end of the address.
    pub fn of_address(address: Ipv4Addr) -> Self {
        let [_, b, c, d] = address.octets();
        Self::xen([b, c, d])
    }

    /// That of a service whose address is leased: a hash of the node's own address on the link and the
    /// service's name, the first of its row that is not `taken`.
    pub fn of_name(node: Mac, service: &str, taken: &[Mac]) -> Self {
        let row = (0..=u32::MAX).map(|number| {
            let hash = fnv(node.0.iter().chain(service.as_bytes()).chain(&number.to_be_bytes()));
            let [_, _, a, b, c, d, e, f] = hash.to_be_bytes();
            // Folded, as FNV's authors advise for sizes that are not powers of two.
            Self::xen([a ^ d, b ^ e, c ^ f])
        });
        // A row runs through all there are many times over, and services are few.
        row.into_iter().find(|mac| !taken.contains(mac)).unwrap_or(Self::xen([0; 3]))
    }

    /// Reads six pairs of hexadecimal digits with colons between them.
    pub fn parse(text: &str) -> Option<Self> {
        let byte = |pair: &str| {
            let digits = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(pair, 16).ok())?
        };
        let bytes: Vec<u8> = text.split(':').map(byte).collect::<Option<_>>()?;
        bytes.try_into().ok().map(Mac)
    }

    /// Whether it stands for several interfaces: a multicast or broadcast address.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    fn xen([a, b, c]: [u8; 3]) -> Self {
        let [x, y, z] = XEN;
        Mac([x, y, z, a, b, c])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// FNV-1a with 64 bits (draft-eastlake-fnv): unlike the standard library's hash, the same for ever.
fn fnv<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    #[test]
    fn fnv_is_as_published() {
        assert_eq!(fnv(b"".iter()), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar".iter()), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["00:16:3e:7a:65:56", "ff:ff:ff:ff:ff:ff"] {
            assert_eq!(Mac::parse(text).map(|mac| mac.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Mac::parse("52:54:00:12:34:5A"), Mac::parse("52:54:00:12:34:5a"));
        for text in
            ["", "00:16:3e:7a:65", "00:16:3e:7a:65:56:00", "00:16:3e:7a:65:5", "00:16:3e:7a:65:+5", "00-16"]
        {
            assert_eq!(Mac::parse(text), None, "{text}");
        }
        assert!(Mac([1, 0, 0x5e, 0, 0, 1]).is_group() && !NODE.is_group());
    }

    #[test]
    fn a_name_keeps_its_address_for_ever() {
        // If this changes, DHCP servers hand out new addresses after an update of the node.
        assert_eq!(Mac::of_name(NODE, "www", &[]).to_string(), "00:16:3e:7a:65:56");
        assert_eq!(Mac::of_address(Ipv4Addr::new(10, 0, 2, 20)).to_string(), "00:16:3e:00:02:14");
    }

    #[test]
    fn other_nodes_other_names_and_taken_addresses_make_a_difference() {
        let www = Mac::of_name(NODE, "www", &[]);
        assert_ne!(www, Mac::of_name(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57]), "www", &[]));
        assert_ne!(www, Mac::of_name(NODE, "wwx", &[]));
        let second = Mac::of_name(NODE, "www", &[www]);
        assert_ne!(www, second);
        assert!(![www, second].contains(&Mac::of_name(NODE, "www", &[second, www])));
    }
}

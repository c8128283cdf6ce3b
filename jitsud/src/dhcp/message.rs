//! DHCP messages as bytes. What a server, or whoever claims to be one, sends is checked here and nowhere else.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress,
};

use super::{Identity, Lease};
use crate::config::{Addressing, Mac};

pub const CLIENT_PORT: u16 = DHCP_CLIENT_PORT;
pub const SERVER_PORT: u16 = DHCP_SERVER_PORT;

/// Room for what arrives in bytes: what an Ethernet frame carries. What is longer is cut off.
pub const ROOM: usize = 1500;

/// Longest message that servers may send: [`ROOM`] without the headers of IP and UDP.
const LONGEST: u16 = 1472;

/// Shortest message that servers and relays of all ages take (RFC 1542, section 2.1).
const SHORTEST: usize = 300;

/// The fixed part up to the options with the magic number, in bytes (RFC 2131, figure 1).
const FIXED: usize = 240;
const MAGIC: u32 = 0x6382_5363;
const BOOTREPLY: u8 = 2;

// Options' numbers (RFC 2132).
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN_NAME: u8 = 15;
const NTP_SERVERS: u8 = 42;
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER_IDENTIFIER: u8 = 54;
const RENEWAL_TIME: u8 = 58;

/// What servers are asked to tell.
const ASKED: [u8; 6] = [SUBNET_MASK, ROUTER, DNS_SERVERS, DOMAIN_NAME, NTP_SERVERS, RENEWAL_TIME];

/// Most servers kept of a list.
const MOST_SERVERS: usize = 8;

/// Longest domain name in text (RFC 1035).
const LONGEST_DOMAIN: usize = 253;

/// A lease is taken for at least so long, lest a server makes the node ask without end, and for at most so long,
/// lest it is never heard of again.
const SHORTEST_LEASE: u32 = 60;
const LONGEST_LEASE: u32 = 30 * 24 * 60 * 60;

/// What a client says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// DHCPDISCOVER; the address is the one it would like.
    Discover(Option<Ipv4Addr>),
    /// DHCPREQUEST for the address that this server has offered.
    Request(Ipv4Addr, Ipv4Addr),
    /// DHCPREQUEST for an address that it has had before, from whichever server knows it.
    Prolong(Ipv4Addr),
}

/// The bytes of a question. `secs` is for how many seconds the client has been asking.
pub fn question(who: &Identity, xid: u32, secs: u16, question: Question) -> Vec<u8> {
    let (message_type, requested_ip, server_identifier) = match question {
        Question::Discover(wish) => (DhcpMessageType::Discover, wish, None),
        Question::Request(address, server) => (DhcpMessageType::Request, Some(address), Some(server)),
        Question::Prolong(address) => (DhcpMessageType::Request, Some(address), None),
    };
    let mac = EthernetAddress(who.mac.0);
    let repr = DhcpRepr {
        message_type,
        transaction_id: xid,
        secs,
        client_hardware_address: mac,
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: Ipv4Addr::UNSPECIFIED,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: true,
        requested_ip,
        client_identifier: Some(mac),
        server_identifier,
        parameter_request_list: Some(&ASKED),
        dns_servers: None,
        max_size: Some(LONGEST),
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[DhcpOption { kind: HOST_NAME, data: who.name.as_bytes() }],
    };
    let mut bytes = vec![0; repr.buffer_len().max(SHORTEST)];
    let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
    // The room is what it has asked for, so it cannot fail; a message cut short would be one that is lost.
    let _ = repr.emit(&mut packet);
    bytes
}

/// What a reply is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
    /// DHCPNAK.
    Nak,
}

/// A reply of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// What it is.
    pub kind: Kind,
    /// Which question it is about.
    pub xid: u32,
    /// Whom it is for.
    pub mac: Mac,
    /// Who sent it.
    pub server: Ipv4Addr,
    /// What it gives; `None` when that is nothing, or nothing that a host can use.
    pub lease: Option<Lease>,
}

impl Reply {
    /// Reads a message; `None` when it is no reply to a DHCP client on Ethernet.
    pub fn parse(bytes: &[u8]) -> Option<Reply> {
        if bytes.len() < FIXED {
            return None;
        }
        let packet = DhcpPacket::new_checked(bytes).ok()?;
        // The opcode, hardware type and length, which tell how the rest is to be read.
        if bytes[..3] != [BOOTREPLY, 1, 6] || packet.magic_number() != MAGIC {
            return None;
        }
        let options = Options(packet);
        let kind = match options.get(MESSAGE_TYPE)? {
            [2] => Kind::Offer,
            [5] => Kind::Ack,
            [6] => Kind::Nak,
            _ => return None,
        };
        let server = options.address(SERVER_IDENTIFIER).filter(|server| is_host(*server))?;
        Some(Reply {
            kind,
            xid: options.0.transaction_id(),
            mac: Mac(options.0.client_hardware_address().0),
            server,
            lease: if kind == Kind::Nak { None } else { options.lease(server) },
        })
    }
}

struct Options<'a>(DhcpPacket<&'a [u8]>);

impl Options<'_> {
    /// The first option of that number.
    fn get(&self, number: u8) -> Option<&[u8]> {
        self.0.options().find(|option| option.kind == number).map(|option| option.data)
    }

    fn number(&self, number: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(number)?.try_into().ok()?))
    }

    fn address(&self, number: u8) -> Option<Ipv4Addr> {
        self.number(number).map(Ipv4Addr::from_bits)
    }

    /// The hosts of a list of addresses, as many as are kept.
    fn hosts(&self, number: u8) -> Vec<Ipv4Addr> {
        let (addresses, _) = self.get(number).unwrap_or_default().as_chunks::<4>();
        let addresses = addresses.iter().map(|address| Ipv4Addr::from(*address));
        addresses.filter(|address| is_host(*address)).take(MOST_SERVERS).collect()
    }

    fn lease(&self, server: Ipv4Addr) -> Option<Lease> {
        let address = self.0.your_ip();
        let prefix = match self.address(SUBNET_MASK) {
            Some(mask) => prefix(mask)?,
            None => natural_prefix(address),
        };
        if Addressing::fault(address, prefix).is_some() {
            return None;
        }
        let mut addressing = Addressing { address, prefix, gateway: None };
        let routers = self.hosts(ROUTER).into_iter();
        addressing.gateway = routers.into_iter().find(|router| addressing.gateway_fault(*router).is_none());
        let seconds = self.number(LEASE_TIME)?.clamp(SHORTEST_LEASE, LONGEST_LEASE);
        let renewal = self.number(RENEWAL_TIME).unwrap_or(seconds / 2).clamp(seconds / 8, seconds / 8 * 7);
        let text = self.get(DOMAIN_NAME).unwrap_or_default();
        // Some servers end it with a NUL.
        let domain = str::from_utf8(text).unwrap_or_default().trim_end_matches('\0');
        let usable =
            (1..=LONGEST_DOMAIN).contains(&domain.len()) && domain.bytes().all(|b| b.is_ascii_graphic());
        Some(Lease {
            addressing,
            server,
            dns: self.hosts(DNS_SERVERS),
            ntp: self.hosts(NTP_SERVERS),
            domain: usable.then(|| domain.to_owned()),
            duration: Duration::from_secs(seconds.into()),
            renewal: Duration::from_secs(renewal.into()),
        })
    }
}

/// The prefix length of a mask; `None` when its bits are not in a row.
fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    (bits.leading_ones() == bits.count_ones()).then_some(bits.leading_ones() as u8)
}

/// That of the address's class (RFC 791, section 3.2), for servers that give no mask.
fn natural_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast())
}

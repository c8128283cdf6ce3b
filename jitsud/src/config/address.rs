//! Addresses: what the file says about them, and whose each one is.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::reader::{Field, Line, Reader};

/// What stands for "ask a DHCP server", and is meant when there is no `address` at all.
pub const DHCP: &str = "dhcp";

/// Shortest network prefix, that of a class A network (RFC 791): no network of hosts is larger, and in one that is,
/// addresses could share the three bytes that go into [`Mac::of_address`](super::Mac::of_address).
const SHORTEST_PREFIX: u8 = 8;

/// Longest network prefix that leaves room for a service beside the node: /30 has two hosts.
pub const LONGEST_PREFIX: u8 = 30;

const EXAMPLE: &str = "address = \"192.168.1.2/24\"";

/// The node's place in its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Addressing {
    /// The bridge's address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix, 8..=30.
    pub prefix: u8,
    /// The way to other networks, if there is one.
    pub gateway: Option<Ipv4Addr>,
}

impl Addressing {
    /// The network mask that belongs to the prefix.
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    /// The network's own address, which no host may have.
    pub fn network(&self) -> Ipv4Addr {
        self.address & self.netmask()
    }

    /// The network's broadcast address.
    pub fn broadcast(&self) -> Ipv4Addr {
        self.address | !self.netmask()
    }

    /// Whether the address lies in the network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.netmask() == self.network()
    }

    /// Why no host can have this address and prefix, and what to do; `None` when one can.
    pub fn fault(address: Ipv4Addr, prefix: u8) -> Option<(&'static str, &'static str)> {
        let lengths = "give a prefix length of 8 to 30";
        if prefix < SHORTEST_PREFIX {
            return Some(("has a prefix length that no network of hosts has", lengths));
        }
        if prefix > LONGEST_PREFIX {
            return Some(("has a prefix length that leaves no room for services", lengths));
        }
        let hosts = u32::MAX >> prefix;
        let fault = match address {
            _ if address.is_loopback() || address.is_multicast() || address.is_unspecified() => {
                "cannot be a host's address"
            }
            _ if address.to_bits() & hosts == 0 => "is the network's own address",
            _ if address.to_bits() & hosts == hosts => "is the network's broadcast address",
            _ => return None,
        };
        Some((fault, "give the bridge a host address"))
    }

    /// Why this is no gateway for a node here; `None` when it may be one.
    pub fn gateway_fault(&self, gateway: Ipv4Addr) -> Option<String> {
        if gateway == self.address {
            Some("is the node's own address".to_owned())
        } else if !self.contains(gateway) {
            Some(format!("is not in the bridge's network {}/{}", self.network(), self.prefix))
        } else if gateway == self.network() || gateway == self.broadcast() {
            Some("cannot be a host's address".to_owned())
        } else {
            None
        }
    }
}

/// The node's own address: `None` when it is asked for by DHCP, also instead of one that is wrong.
pub fn of_node(reader: &mut Reader<'_, '_>) -> Option<Addressing> {
    let address = reader.string("address", EXAMPLE);
    let gateway = reader.string("gateway", "gateway = \"192.168.1.1\"");
    let leased = || !reader.has("address") || address.is_some_and(|address| address.value == DHCP);
    if leased() {
        if let Some(Field { line, .. }) = gateway {
            let fix = "remove it, or write the node's address too; the DHCP server's is used meanwhile";
            reader.problem(line, "gateway without a static address is ignored", fix);
        }
        return None;
    }
    let mut addressing = address.and_then(|address| static_address(reader, address))?;
    addressing.gateway = gateway.and_then(|gateway| reachable_gateway(reader, &addressing, gateway));
    Some(addressing)
}

fn static_address(reader: &mut Reader<'_, '_>, Field { value, line }: Field<&str>) -> Option<Addressing> {
    let parsed = value
        .split_once('/')
        .and_then(|(address, prefix)| Some((address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?)));
    let (fault, fix) = match parsed {
        None => ("is not an IPv4 address with a prefix length", format!("write {EXAMPLE}")),
        Some((address, prefix)) => match Addressing::fault(address, prefix) {
            None => return Some(Addressing { address, prefix, gateway: None }),
            Some((fault, fix)) => (fault, fix.to_owned()),
        },
    };
    reader.problem(line, format!("address {value:?} {fault}"), format!("{fix}; {DHCP} is used meanwhile"));
    None
}

fn reachable_gateway(
    reader: &mut Reader<'_, '_>,
    node: &Addressing,
    Field { value, line }: Field<&str>,
) -> Option<Ipv4Addr> {
    let fault = match value.parse::<Ipv4Addr>() {
        Err(_) => "is not an IPv4 address".to_owned(),
        Ok(gateway) => match node.gateway_fault(gateway) {
            None => return Some(gateway),
            Some(fault) => fault,
        },
    };
    let fix = "give the router's address or remove the key; no gateway is used meanwhile";
    reader.problem(line, format!("gateway {value:?} {fault}"), fix);
    None
}

/// Where a service's address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A DHCP server.
    Dhcp,
    /// The file.
    Static(Ipv4Addr),
}

/// A service's wish and the line it stands on; `None` when what stands there is no address.
///
/// Whether a static one fits into the network is another question, which waits for the node's own address.
pub fn of_service(reader: &mut Reader<'_, '_>, node: Option<&Addressing>) -> Option<(Wish, Line)> {
    if !reader.has("address") {
        return Some((Wish::Dhcp, reader.line));
    }
    let example = match node {
        Some(node) => format!("an address of {}/{} in quotes", node.network(), node.prefix),
        None => format!("{DHCP:?}, or an address of the node's network in quotes"),
    };
    let Field { value, line } = reader.string("address", &example)?;
    if value == DHCP {
        return Some((Wish::Dhcp, line));
    }
    if let Ok(address) = value.parse::<Ipv4Addr>() {
        return Some((Wish::Static(address), line));
    }
    let fix = match value.split_once('/') {
        Some((address, _)) => format!("write {address:?}; the prefix length is the node's"),
        None => format!("write {example}"),
    };
    reader.problem(line, format!("address {value:?} is not an IPv4 address"), fix);
    None
}

/// The network's addresses that are taken, and by whom.
pub struct Claims<'a> {
    node: &'a Addressing,
    taken: HashMap<Ipv4Addr, String>,
}

impl<'a> Claims<'a> {
    /// What the node and the network itself take.
    pub fn of(node: &'a Addressing) -> Self {
        let mut taken = HashMap::from([
            (node.network(), "the network itself".to_owned()),
            (node.broadcast(), "the network's broadcast".to_owned()),
            (node.address, "the node".to_owned()),
        ]);
        if let Some(gateway) = node.gateway {
            taken.insert(gateway, "the gateway".to_owned());
        }
        Claims { node, taken }
    }

    /// Gives the address to `owner`, or says why it cannot have it.
    pub fn claim(&mut self, address: Ipv4Addr, owner: &str) -> Result<(), Refusal> {
        let (network, prefix) = (self.node.network(), self.node.prefix);
        if !self.node.contains(address) {
            return Err(Refusal {
                fault: format!("is outside the bridge's network {network}/{prefix}"),
                take: format!("a free address of {network}/{prefix}"),
            });
        }
        if let Some(owner) = self.taken.get(&address) {
            return Err(Refusal {
                fault: format!("already belongs to {owner}"),
                take: format!("another address of {network}/{prefix}"),
            });
        }
        self.taken.insert(address, owner.to_owned());
        Ok(())
    }
}

/// Why an address cannot be had, and what could.
pub struct Refusal {
    pub fault: String,
    pub take: String,
}

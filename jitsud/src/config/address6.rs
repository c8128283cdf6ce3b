//! IPv6 addresses: the node's, beside those that it makes itself (RFC 4862), and its services'.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use super::NodeDraft;
use super::reader::{Field, Reader};

const NODE_EXAMPLE: &str = "address6 = \"fd00::2/64\"";
const SERVICE_EXAMPLE: &str = "address6 = \"fd00::5\"";

/// Longest prefix that leaves room for a service beside the node.
const LONGEST_PREFIX: u8 = 126;

/// The node's address and the length of its network's prefix, 1..=126.
pub fn of_node(reader: &mut Reader<'_, '_>) -> Option<(Ipv6Addr, u8)> {
    let Field { value, line } = reader.string("address6", NODE_EXAMPLE)?;
    let parsed = value
        .split_once('/')
        .and_then(|(address, prefix)| Some((address.parse::<Ipv6Addr>().ok()?, prefix.parse::<u8>().ok()?)));
    let fault = match parsed {
        None => "is not an IPv6 address with a prefix length",
        Some((_, prefix)) if !(1..=LONGEST_PREFIX).contains(&prefix) => {
            "has a prefix length that is not 1 to 126"
        }
        Some((address, prefix)) => match fault(address) {
            Some(fault) => fault,
            None if address == network(address, prefix) => "is the network's own address",
            None => return Some((address, prefix)),
        },
    };
    let fix = format!("write {NODE_EXAMPLE}; the node has none but those of its own making meanwhile");
    reader.problem(line, format!("address6 {value:?} {fault}"), fix);
    None
}

/// A service's address; `None` also when what stands there is none that it can have.
pub fn of_service(reader: &mut Reader<'_, '_>, claims: &mut Claims) -> Option<Ipv6Addr> {
    let Field { value, line } = reader.string("address6", SERVICE_EXAMPLE)?;
    let parsed = value.parse::<Ipv6Addr>();
    let fault = match parsed {
        Err(_) => "is not an IPv6 address".to_owned(),
        Ok(address) => match fault(address) {
            Some(fault) => fault.to_owned(),
            None => match claims.claim(address, &service(reader)) {
                Err(fault) => fault,
                Ok(()) => return Some(address),
            },
        },
    };
    let fix = match claims.network {
        Some((network, prefix)) => format!("take a free address of {network}/{prefix}"),
        None => format!("write a free address of the network, as in {SERVICE_EXAMPLE}"),
    };
    reader.problem(line, format!("address6 {value:?} {fault}"), fix);
    None
}

fn service(reader: &Reader<'_, '_>) -> String {
    reader.service.clone().unwrap_or_else(|| format!("the service on line {}", reader.line.0))
}

/// Why no host can be found at this address by its name; `None` when one can.
fn fault(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        Some("cannot be a host's address")
    } else if address.is_unicast_link_local() {
        Some("is a link-local address, which means nothing without its link")
    } else if address.to_ipv4_mapped().is_some() {
        Some("is an IPv4 address in another form")
    } else {
        None
    }
}

fn network(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let hosts = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & !hosts)
}

/// The addresses that are taken, and by whom.
pub struct Claims {
    /// The node's network, if it has one by its configuration.
    network: Option<(Ipv6Addr, u8)>,
    taken: HashMap<Ipv6Addr, String>,
}

impl Claims {
    /// What the node itself takes.
    pub fn of(node: &NodeDraft) -> Self {
        let mut taken = HashMap::new();
        if let Some((address, prefix)) = node.address6 {
            // The network's own address is every router's (RFC 4291, section 2.6.1).
            taken.insert(network(address, prefix), "the network's routers".to_owned());
            taken.insert(address, "the node".to_owned());
        }
        let network = node.address6.map(|(address, prefix)| (network(address, prefix), prefix));
        Claims { network, taken }
    }

    fn claim(&mut self, address: Ipv6Addr, owner: &str) -> Result<(), String> {
        if let Some((own, prefix)) = self.network
            && network(address, prefix) != own
        {
            return Err(format!("is outside the node's network {own}/{prefix}"));
        }
        match self.taken.get(&address) {
            Some(owner) => Err(format!("already belongs to {owner}")),
            None => {
                self.taken.insert(address, owner.to_owned());
                Ok(())
            }
        }
    }
}

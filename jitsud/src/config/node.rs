//! The `[node]` table.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::Node;
use super::names;
use super::reader::{Field, Reader};

const KEYS: [&str; 7] = ["name", "domain", "uplink", "address", "gateway", "bridge", "kernels"];

const DEFAULT_NAME: &str = "jitsu";
const DEFAULT_BRIDGE: &str = "br0";
const DEFAULT_KERNELS: &str = "/usr/lib/jitsu/kernels";

const ADDRESS_EXAMPLE: &str = "address = \"192.168.1.2/24\"";
const DOMAIN_EXAMPLE: &str = "domain = \"jitsu.example.org\"";

/// Longest network prefix that leaves room for a service beside the node: /30 has two hosts.
const LONGEST_PREFIX: u8 = 30;

/// Longest interface name, `IFNAMSIZ` - 1 (Linux, `include/uapi/linux/if.h`).
const MAX_INTERFACE: usize = 15;

/// Reads the table; `None` when the node cannot be without what is wrong or missing.
///
/// The domain is such a thing: every service's name hangs on it. So is the address.
pub fn read(reader: &mut Reader<'_, '_>) -> Option<Node> {
    reader.refuse_unknown(&KEYS, "[node]");
    let name = name(reader);
    let domain = domain(reader);
    let uplink = interface(reader, "uplink", "eth0", "the first Ethernet interface");
    let address = address(reader);
    let bridge = interface(reader, "bridge", DEFAULT_BRIDGE, DEFAULT_BRIDGE);
    let kernels = kernels(reader);
    let gateway = reader.string("gateway", "gateway = \"192.168.1.1\"");

    let (address, prefix) = address?;
    let mut node = Node {
        name,
        domain: domain?,
        uplink,
        address,
        prefix,
        gateway: None,
        bridge: bridge.unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()),
        kernels,
    };
    node.gateway = gateway.and_then(|gateway| reachable_gateway(reader, &node, gateway));
    Some(node)
}

fn name(reader: &mut Reader<'_, '_>) -> String {
    if let Some(name) = reader.string("name", "name = \"node\"") {
        match names::label_fault(name.value) {
            None => return name.value.to_owned(),
            Some(fault) => reader.problem(
                name.line,
                format!("name {:?} {fault}", name.value),
                format!("use a-z, 0-9 and hyphens inside; {DEFAULT_NAME} is used meanwhile"),
            ),
        }
    }
    DEFAULT_NAME.to_owned()
}

fn domain(reader: &mut Reader<'_, '_>) -> Option<String> {
    let domain = reader.required_string("domain", DOMAIN_EXAMPLE)?;
    let checked = match names::domain_name(domain.value) {
        Ok(name) if name.len() > names::MAX_ZONE => {
            Err(format!("has more than {} characters, too many for a zone", names::MAX_ZONE))
        }
        checked => checked,
    };
    match checked {
        Ok(name) => Some(name),
        Err(fault) => {
            let what = format!("domain {:?} {fault}", domain.value);
            reader.problem(domain.line, what, format!("write a DNS zone, as in {DOMAIN_EXAMPLE}"));
            None
        }
    }
}

fn address(reader: &mut Reader<'_, '_>) -> Option<(Ipv4Addr, u8)> {
    let Field { value, line } = reader.required_string("address", ADDRESS_EXAMPLE)?;
    let parsed = value
        .split_once('/')
        .and_then(|(address, prefix)| Some((address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?)));
    let Some((address, prefix)) = parsed else {
        let what = format!("address {value:?} is not an IPv4 address with a prefix length");
        reader.problem(line, what, format!("write {ADDRESS_EXAMPLE}"));
        return None;
    };
    if !(1..=LONGEST_PREFIX).contains(&prefix) {
        let what = format!("address {value:?} has a prefix length that leaves no room for services");
        reader.problem(line, what, format!("give a prefix length of 1 to {LONGEST_PREFIX}"));
        return None;
    }
    let hosts = u32::MAX >> prefix;
    let fault = match address {
        _ if address.is_loopback() || address.is_multicast() || address.is_unspecified() => {
            "cannot be a host's address"
        }
        _ if address.to_bits() & hosts == 0 => "is the network's own address",
        _ if address.to_bits() & hosts == hosts => "is the network's broadcast address",
        _ => return Some((address, prefix)),
    };
    reader.problem(line, format!("address {value:?} {fault}"), "give the bridge a host address");
    None
}

fn reachable_gateway(
    reader: &mut Reader<'_, '_>,
    node: &Node,
    Field { value, line }: Field<&str>,
) -> Option<Ipv4Addr> {
    let what = match value.parse::<Ipv4Addr>() {
        Err(_) => "is not an IPv4 address".to_owned(),
        Ok(gateway) if gateway == node.address => "is the node's own address".to_owned(),
        Ok(gateway) if !node.contains(gateway) => {
            format!("is not in the bridge's network {}/{}", node.network(), node.prefix)
        }
        Ok(gateway) if gateway == node.network() || gateway == node.broadcast() => {
            "cannot be a host's address".to_owned()
        }
        Ok(gateway) => return Some(gateway),
    };
    reader.problem(
        line,
        format!("gateway {value:?} {what}"),
        "give the router's address or remove the key; no gateway is used meanwhile",
    );
    None
}

fn interface(reader: &mut Reader<'_, '_>, key: &str, example: &str, otherwise: &str) -> Option<String> {
    let name = reader.string(key, &format!("{key} = {example:?}"))?;
    let usable = |c: char| c.is_ascii_graphic() && c != '/' && c != ':' && c != '%';
    if (1..=MAX_INTERFACE).contains(&name.value.len())
        && name.value.chars().all(usable)
        && name.value != "."
        && name.value != ".."
    {
        return Some(name.value.to_owned());
    }
    reader.problem(
        name.line,
        format!("{key} {:?} is not an interface name", name.value),
        format!("write for example {key} = {example:?}; {otherwise} is used meanwhile"),
    );
    None
}

fn kernels(reader: &mut Reader<'_, '_>) -> PathBuf {
    if let Some(path) = reader.string("kernels", &format!("kernels = {DEFAULT_KERNELS:?}")) {
        if path.value.starts_with('/') {
            return PathBuf::from(path.value);
        }
        reader.problem(
            path.line,
            format!("kernels {:?} is not an absolute path", path.value),
            format!("begin it with /; {DEFAULT_KERNELS} is used meanwhile"),
        );
    }
    PathBuf::from(DEFAULT_KERNELS)
}

//! The `[node]` table.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::draft::InterfaceLines;
use super::reader::{Field, Reader};
use super::{NodeDraft, TimeServer, address, address6, capture, forward, limits, logs, names, quiet, quota};

pub(super) const KEYS: [&str; 19] = [
    "name", "domain", "uplink", "address", "address6", "gateway", "bridge", "kernels", "ntp", "quota",
    "summons", "held", "shells", "quiet", "forward", "syslog", "log", "dns", "mdns",
];

/// The zone of a node that is not told another one. `.test` never clashes with the real tree (RFC 6761).
pub const DEFAULT_DOMAIN: &str = "jitsu.test";

const DEFAULT_NAME: &str = "jitsu";
/// The bridge's name when there is no other.
pub const DEFAULT_BRIDGE: &str = "br0";
const DEFAULT_KERNELS: &str = "/usr/lib/jitsu/kernels";
const DEFAULT_NTP: &str = "pool.ntp.org";

const DOMAIN_EXAMPLE: &str = "domain = \"jitsu.example.org\"";
const NTP_EXAMPLE: &str = "ntp = [\"192.168.1.1\", \"pool.ntp.org\"]";

/// Most time servers; more make the time no better.
const MAX_NTP: usize = 8;

/// Most domains of a shape that are kept ready. Each takes the memory of a service.
const MAX_SHELLS: u32 = 64;

/// Longest interface name, `IFNAMSIZ` - 1 (Linux, `include/uapi/linux/if.h`).
const MAX_INTERFACE: usize = 15;

/// Reads the table. Whatever is wrong with a key, its default is used: the node must come up, and be reachable
/// for whoever is to put it right.
pub fn read(reader: &mut Reader<'_, '_>) -> NodeDraft {
    reader.refuse_unknown(&KEYS, "[node]");
    NodeDraft {
        name: name(reader),
        domain: domain(reader),
        uplink: interface(reader, "uplink", "eth0", "the first Ethernet interface"),
        addressing: address::of_node(reader),
        address6: address6::of_node(reader),
        bridge: interface(reader, "bridge", DEFAULT_BRIDGE, DEFAULT_BRIDGE)
            .unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()),
        kernels: kernels(reader),
        ntp: ntp(reader),
        quota: quota::read(reader),
        capture: capture::read_node(reader),
        shells: reader.number("shells", 0, MAX_SHELLS, "domains").map_or(0, |shells| shells.value),
        quiet: quiet::read(reader),
        forward: forward::read(reader),
        syslog: logs::syslog(reader),
        log: logs::level(reader),
        dns: limits::read(reader),
        mdns: reader.boolean("mdns", "mdns = true").unwrap_or(false),
        lines: InterfaceLines { uplink: reader.line_of("uplink"), bridge: reader.line_of("bridge") },
    }
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

fn domain(reader: &mut Reader<'_, '_>) -> String {
    if let Some(domain) = reader.string("domain", DOMAIN_EXAMPLE) {
        let fault = match names::domain_name(domain.value) {
            Ok(name) if name.len() <= names::MAX_ZONE => return name,
            Ok(_) => format!("has more than {} characters, too many for a zone", names::MAX_ZONE),
            Err(fault) => fault,
        };
        reader.problem(
            domain.line,
            format!("domain {:?} {fault}", domain.value),
            format!("write a DNS zone, as in {DOMAIN_EXAMPLE}; {DEFAULT_DOMAIN} is used meanwhile"),
        );
    }
    DEFAULT_DOMAIN.to_owned()
}

/// An empty list is fine: nobody is asked for the time then.
fn ntp(reader: &mut Reader<'_, '_>) -> Vec<TimeServer> {
    let Some(listed) = reader.strings("ntp", NTP_EXAMPLE) else {
        return vec![TimeServer::Name(DEFAULT_NTP.to_owned())];
    };
    if listed.value.len() > MAX_NTP {
        let what = format!("ntp lists {} servers, more than {MAX_NTP}", listed.value.len());
        reader.problem(listed.line, what, format!("remove some; the first {MAX_NTP} are used meanwhile"));
    }
    let servers = listed.value.into_iter().take(MAX_NTP).filter_map(|Field { value, line }| {
        let server = time_server(value);
        if let Err(fault) = &server {
            let fix = format!("write {NTP_EXAMPLE}; this server is not asked meanwhile");
            reader.problem(line, format!("ntp server {value:?} {fault}"), fix);
        }
        server.ok()
    });
    servers.collect()
}

fn time_server(text: &str) -> Result<TimeServer, String> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        let host = !(address.is_unspecified() || address.is_multicast() || address.is_broadcast());
        return if host {
            Ok(TimeServer::Address(address))
        } else {
            Err("cannot be a host's address".into())
        };
    }
    let name = names::domain_name(text)?;
    // No top-level domain is a number (RFC 3696, section 2), so this was meant to be an address.
    match name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        true => Err("is not an IPv4 address".to_owned()),
        false => Ok(TimeServer::Name(name)),
    }
}

fn interface(reader: &mut Reader<'_, '_>, key: &str, example: &str, otherwise: &str) -> Option<String> {
    let name = reader.string(key, &format!("{key} = {example:?}"))?;
    if is_interface_name(name.value) {
        return Some(name.value.to_owned());
    }
    reader.problem(
        name.line,
        format!("{key} {:?} is not an interface name", name.value),
        format!("write for example {key} = {example:?}; {otherwise} is used meanwhile"),
    );
    None
}

/// Whether Linux takes it for an interface's name.
pub fn is_interface_name(name: &str) -> bool {
    let usable = |c: char| c.is_ascii_graphic() && c != '/' && c != ':' && c != '%';
    (1..=MAX_INTERFACE).contains(&name.len()) && name.chars().all(usable) && name != "." && name != ".."
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

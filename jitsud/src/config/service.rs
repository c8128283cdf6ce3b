//! A `[[service]]` table: each key on its own, then against the node and the services before it.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kernel::{self, KernelHead};
use super::names;
use super::reader::{Field, Line, Reader};
use super::{Node, Service};

const KEYS: [&str; 11] = [
    "name",
    "dns",
    "address",
    "kernel",
    "memory",
    "vcpus",
    "cmdline",
    "ttl",
    "idle",
    "boot_timeout",
    "wait_for_key",
];

/// Most memory for one service in MiB. The boards have 1 or 2 GiB in all.
pub const MAX_MEMORY_MIB: u32 = 2048;

/// Most virtual CPUs: what a GICv2 can address (ARM IHI 0048B).
pub const MAX_VCPUS: u32 = 8;

/// Longest `cmdline` in bytes. ARM Linux takes 1024 with the final NUL (`COMMAND_LINE_SIZE`); the node's own
/// `ip=` with the longest addresses and name takes 125 of them.
pub const MAX_CMDLINE: usize = 896;

const DEFAULT_MEMORY_MIB: u32 = 16;
const DEFAULT_TTL: u32 = 60;
const DEFAULT_BOOT_TIMEOUT: u32 = 10;
const DEFAULT_KEY: &str = "data/ready";

/// Longest TTL in seconds, a day: what is cached longer outlives every sensible idle time.
const MAX_TTL: u32 = 86_400;
/// Longest idle time in seconds, a week.
const MAX_IDLE: u32 = 604_800;
const MAX_BOOT_TIMEOUT: u32 = 300;
/// Longest relative XenStore path in bytes, `XENSTORE_REL_PATH_MAX` (`xen/include/public/io/xs_wire.h`).
const MAX_KEY: usize = 2048;

/// Where a zImage is put, counted from the beginning of memory; what is below holds page tables.
const IMAGE_OFFSET: u64 = 0x8000;
/// What a guest needs beside its image (bss, stack, heap, shared rings, device tree): 2 MiB.
const BESIDE_IMAGE_MIB: u64 = 2;
const MIB: u64 = 1 << 20;

/// Names and addresses that are taken, and by whom.
pub struct Claims {
    names: HashMap<String, String>,
    dns: HashMap<String, String>,
    addresses: HashMap<Ipv4Addr, String>,
}

impl Claims {
    /// What the node itself takes.
    pub fn of(node: &Node) -> Self {
        let mut addresses = HashMap::from([
            (node.network(), "the network itself".to_owned()),
            (node.broadcast(), "the network's broadcast".to_owned()),
            (node.address, "the node".to_owned()),
        ]);
        if let Some(gateway) = node.gateway {
            addresses.insert(gateway, "the gateway".to_owned());
        }
        let dns = HashMap::from([(node.fqdn(), "the node".to_owned())]);
        Claims { names: HashMap::new(), dns, addresses }
    }
}

/// Reads the table; `None` when anything in it was wrong.
pub fn read(
    reader: &mut Reader<'_, '_>,
    node: &Node,
    claims: &mut Claims,
    kernels: &dyn Fn(&Path) -> io::Result<KernelHead>,
) -> Option<Service> {
    let name = reader.required_string("name", "name = \"www\"");
    reader.service = name.map(|name| name.value.to_owned()).filter(|name| !name.is_empty());
    reader.refuse_unknown(&KEYS, "[[service]]");
    let name = name.and_then(|name| own_name(reader, name, claims));
    let dns = dns(reader, name.as_deref(), node, claims);
    let address = address(reader, name.as_deref(), node, claims);
    let image = image(reader, node, kernels);
    let memory = reader.number("memory", 1, MAX_MEMORY_MIB, "MiB");
    if let Some((_, size)) = &image {
        enough_memory(reader, memory, *size);
    }
    let vcpus = reader.number("vcpus", 1, MAX_VCPUS, "CPUs");
    let cmdline = cmdline(reader);
    let (ttl, idle) = times(reader);
    let boot_timeout = reader.number("boot_timeout", 1, MAX_BOOT_TIMEOUT, "seconds");
    let wait_for_key = wait_for_key(reader);

    if !reader.clean() {
        return None;
    }
    Some(Service {
        name: name?,
        dns: dns?,
        address: address?,
        kernel: image?.0,
        memory_mib: memory.map_or(DEFAULT_MEMORY_MIB, |memory| memory.value),
        vcpus: vcpus.map_or(1, |vcpus| vcpus.value),
        cmdline,
        ttl,
        idle,
        boot_timeout: seconds(boot_timeout.map_or(DEFAULT_BOOT_TIMEOUT, |timeout| timeout.value)),
        wait_for_key,
    })
}

fn own_name(
    reader: &mut Reader<'_, '_>,
    Field { value, line }: Field<&str>,
    claims: &mut Claims,
) -> Option<String> {
    if let Some(fault) = names::label_fault(value) {
        let lower = value.to_ascii_lowercase();
        let fix = match names::label_fault(&lower) {
            None => format!("write {lower:?}"),
            Some(_) => "use 1 to 63 of a-z, 0-9 and hyphens inside".to_owned(),
        };
        reader.problem(line, format!("name {value:?} {fault}"), fix);
        return None;
    }
    if let Some(owner) = claims.names.insert(value.to_owned(), format!("line {}", line.0)) {
        let what = format!("name {value:?} is already taken by the service on {owner}");
        claims.names.insert(value.to_owned(), owner);
        reader.problem(line, what, "give each service a name of its own");
        return None;
    }
    Some(value.to_owned())
}

fn dns(
    reader: &mut Reader<'_, '_>,
    name: Option<&str>,
    node: &Node,
    claims: &mut Claims,
) -> Option<Vec<String>> {
    let example = format!("dns = [\"{}.{}\"]", name.unwrap_or("www"), node.domain);
    let default = name.map(|name| format!("{name}.{}", node.domain));
    if !reader.has("dns") {
        let name = default?;
        return claim_dns(reader, name, reader.line, node, claims).map(|name| vec![name]);
    }
    let listed = reader.strings("dns", &example)?;
    if listed.value.is_empty() {
        reader.problem(listed.line, "dns is empty", "remove it for the default, or list a name");
        return None;
    }
    let claimed = listed.value.into_iter().map(|Field { value, line }| match names::domain_name(value) {
        Ok(name) => claim_dns(reader, name, line, node, claims),
        Err(fault) => {
            reader.problem(line, format!("DNS name {value:?} {fault}"), format!("write {example}"));
            None
        }
    });
    // Every name is looked at, so that every mistake is told.
    claimed.collect::<Vec<_>>().into_iter().collect()
}

fn claim_dns(
    reader: &mut Reader<'_, '_>,
    name: String,
    line: Line,
    node: &Node,
    claims: &mut Claims,
) -> Option<String> {
    if !names::is_within(&name, &node.domain) {
        let what = format!("DNS name {name:?} is outside the node's zone {:?}", node.domain);
        reader.problem(line, what, format!("end it in .{}, or change [node] domain", node.domain));
        return None;
    }
    if let Some(owner) = claims.dns.get(&name) {
        let what = format!("DNS name {name:?} already belongs to {owner}");
        reader.problem(line, what, "give each service names of its own");
        return None;
    }
    let owner = reader.service.clone().unwrap_or_else(|| format!("the service on line {}", reader.line.0));
    claims.dns.insert(name.clone(), owner);
    Some(name)
}

fn address(
    reader: &mut Reader<'_, '_>,
    name: Option<&str>,
    node: &Node,
    claims: &mut Claims,
) -> Option<Ipv4Addr> {
    let (network, prefix) = (node.network(), node.prefix);
    let example = format!("an address of {network}/{prefix} in quotes");
    let Field { value, line } = reader.required_string("address", &example)?;
    let Ok(address) = value.parse::<Ipv4Addr>() else {
        let fix = match value.split_once('/') {
            Some((address, _)) => format!("write {address:?}; the prefix length is the node's"),
            None => format!("write {example}"),
        };
        reader.problem(line, format!("address {value:?} is not an IPv4 address"), fix);
        return None;
    };
    if !node.contains(address) {
        let what = format!("address {address} is outside the bridge's network {network}/{prefix}");
        reader.problem(line, what, format!("take a free address of {network}/{prefix}"));
        return None;
    }
    if let Some(owner) = claims.addresses.get(&address) {
        let what = format!("address {address} already belongs to {owner}");
        reader.problem(line, what, format!("take another address of {network}/{prefix}"));
        return None;
    }
    let owner = name.map_or_else(|| format!("the service on line {}", reader.line.0), str::to_owned);
    claims.addresses.insert(address, owner);
    Some(address)
}

/// The kernel's path and its image's size.
fn image(
    reader: &mut Reader<'_, '_>,
    node: &Node,
    kernels: &dyn Fn(&Path) -> io::Result<KernelHead>,
) -> Option<(PathBuf, u64)> {
    let Field { value, line } = reader.required_string("kernel", "kernel = \"www\"")?;
    if value.is_empty() {
        reader.problem(line, "kernel is empty", "name an ARM zImage");
        return None;
    }
    let path = node.kernels.join(value);
    let head = match kernels(&path) {
        Ok(head) => head,
        Err(error) => {
            let what = format!("kernel {} cannot be read: {error}", path.display());
            reader.problem(line, what, "put the zImage there or correct the path");
            return None;
        }
    };
    match kernel::image_size(&head) {
        Ok(size) => Some((path, size)),
        Err((fault, fix)) => {
            reader.problem(line, format!("kernel {} {fault}", path.display()), fix);
            None
        }
    }
}

fn enough_memory(reader: &mut Reader<'_, '_>, memory: Option<Field<u32>>, image: u64) {
    let needed = (IMAGE_OFFSET + image).div_ceil(MIB) + BESIDE_IMAGE_MIB;
    let (given, line) = memory.map_or((DEFAULT_MEMORY_MIB, reader.line), |field| (field.value, field.line));
    let already_reported = memory.is_none() && reader.has("memory");
    if !already_reported && u64::from(given) < needed {
        let what = format!("memory = {given} MiB is too little for a kernel of {} KiB", image.div_ceil(1024));
        reader.problem(line, what, format!("give at least memory = {needed}"));
    }
}

fn cmdline(reader: &mut Reader<'_, '_>) -> String {
    let Some(Field { value, line }) = reader.string("cmdline", "cmdline = \"token=abc\"") else {
        return String::new();
    };
    if value.len() > MAX_CMDLINE {
        let what = format!("cmdline has {} bytes, more than {MAX_CMDLINE}", value.len());
        reader.problem(line, what, format!("shorten it to {MAX_CMDLINE} bytes"));
    }
    if let Some(c) = value.chars().find(|c| c.is_control()) {
        let what = format!("cmdline contains the control character {c:?}");
        reader.problem(line, what, "remove it; arguments are separated by spaces");
    }
    value.to_owned()
}

fn times(reader: &mut Reader<'_, '_>) -> (Duration, Duration) {
    let ttl = reader.number("ttl", 1, MAX_TTL, "seconds").map_or(DEFAULT_TTL, |ttl| ttl.value);
    let Some(idle) = reader.number("idle", 1, MAX_IDLE, "seconds") else {
        // Twice, so that a client that asks again when its answer expires always finds the service up.
        return (seconds(ttl), seconds(2 * ttl));
    };
    if idle.value < ttl {
        let what = format!("idle = {} s is shorter than ttl = {ttl} s", idle.value);
        let fix = format!("give idle at least {ttl}: cached answers would lead to a stopped service");
        reader.problem(idle.line, what, fix);
    }
    (seconds(ttl), seconds(idle.value))
}

fn wait_for_key(reader: &mut Reader<'_, '_>) -> String {
    let Some(Field { value, line }) = reader.string("wait_for_key", "wait_for_key = \"data/ready\"") else {
        return DEFAULT_KEY.to_owned();
    };
    // The characters that a XenStore path may have (`docs/misc/xenstore.txt` of Xen).
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-/_@".contains(c);
    let fault = if value.starts_with('/') {
        "is not relative to the domain's directory"
    } else if value.len() > MAX_KEY || value.split('/').any(str::is_empty) || !value.chars().all(allowed) {
        "is not a XenStore path"
    } else {
        return value.to_owned();
    };
    reader.problem(
        line,
        format!("wait_for_key {value:?} {fault}"),
        format!("write for example {DEFAULT_KEY:?}"),
    );
    DEFAULT_KEY.to_owned()
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

//! A `[[service]]` table: each key on its own, then against the node and the services before it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::draft::{ServiceDraft, Settings};
use super::kernel::{self, Kernels, MAX_KERNELS};
use super::reader::{Field, Line, Reader};
use super::{
    NodeDraft, address, address6, announce, capture, disk, dns, instances, keys, names, policy, vif,
};
use crate::domain::DEFAULT_WEIGHT;

pub(super) const KEYS: [&str; 32] = [
    "name",
    "dns",
    "address",
    "address6",
    "instances",
    "announce",
    "kernel",
    "ramdisk",
    "memory",
    "vcpus",
    "weight",
    "cmdline",
    "start",
    "answer",
    "response_delay",
    "wake",
    "tcp",
    "udp",
    "refuse",
    "quiet",
    "ttl",
    "idle",
    "min_uptime",
    "max_uptime",
    "boot_timeout",
    "stop",
    "stop_timeout",
    "wait_for_key",
    "listens_on",
    "keys",
    "vif",
    "disk",
];

/// Most memory for one service in MiB. The boards have 1 or 2 GiB in all.
pub const MAX_MEMORY_MIB: u32 = 2048;

/// Most virtual CPUs: what a GICv2 can address (ARM IHI 0048B).
pub const MAX_VCPUS: u32 = 8;

/// Longest `cmdline` in bytes. ARM Linux takes 1024 with the final NUL (`COMMAND_LINE_SIZE`); the node's own
/// `ip=` with the longest addresses and name takes 125 of them.
pub const MAX_CMDLINE: usize = 896;

const DEFAULT_MEMORY_MIB: u32 = 16;
const DEFAULT_BOOT_TIMEOUT: u32 = 10;

const MAX_BOOT_TIMEOUT: u32 = 300;

/// Where a zImage is put, counted from the beginning of memory; what is below holds page tables.
const IMAGE_OFFSET: u64 = 0x8000;
/// Bytes that a guest needs beside its image (bss, stack, heap, shared rings, device tree): what the unikernels shipped
/// need under load. Others may need more.
const BESIDE_IMAGE: u64 = 3 << 19;
const MIB: u64 = 1 << 20;

/// What is taken, and by whom.
pub struct Claims {
    names: HashMap<String, String>,
    pub(super) dns: dns::Claims,
    addresses6: address6::Claims,
    /// The files that will be kept in memory, and their lengths in bytes.
    files: HashMap<PathBuf, u64>,
    disks: disk::Claims,
}

impl Claims {
    /// What the node itself takes.
    pub fn of(node: &NodeDraft) -> Self {
        Claims {
            names: HashMap::new(),
            dns: dns::Claims::of(node),
            addresses6: address6::Claims::of(node),
            files: HashMap::new(),
            disks: disk::Claims::default(),
        }
    }
}

/// Reads the table. One with instances becomes as many services.
pub fn read(
    reader: &mut Reader<'_, '_>,
    node: &NodeDraft,
    claims: &mut Claims,
    kernels: &Kernels<'_>,
) -> Vec<ServiceDraft> {
    let name = reader.required_string("name", "name = \"www\"");
    reader.service = name.map(|name| name.value.to_owned()).filter(|name| !name.is_empty());
    reader.refuse_unknown(&KEYS, "[[service]]");
    let name = name.and_then(|name| own_name(reader, name, claims));
    let instances = instances::read(reader);
    let dns = dns::read(reader, name.as_deref(), node, &mut claims.dns, instances.is_some());
    let address = address::of_service(reader, node.addressing.as_ref());
    let address6 = address6::of_service(reader, &mut claims.addresses6);
    let image = image(reader, node, claims, kernels);
    let ramdisk = ramdisk(reader, node, claims, kernels);
    let memory = reader.number("memory", 1, MAX_MEMORY_MIB, "MiB");
    if let Some((_, size)) = &image {
        enough_memory(reader, memory, *size, ramdisk.as_ref().map(|(_, size)| *size));
    }
    let vcpus = reader.number("vcpus", 1, MAX_VCPUS, "CPUs");
    let weight = reader.number("weight", 1, u16::MAX.into(), "(256 is a domain's usual share)");
    let cmdline = cmdline(reader);
    let policy = policy::read(reader);
    let waking = capture::read_service(reader, &node.quiet);
    let boot_timeout = reader.number("boot_timeout", 1, MAX_BOOT_TIMEOUT, "seconds");
    let wait_for_key = keys::wait_for_key(reader);
    let listens_on = listens_on(reader);
    let keys = keys::keys(reader, &wait_for_key);
    let announce = announce::read(reader);
    let vifs = vif::read(reader);
    let disks = disk::read(reader, &mut claims.disks, kernels);

    if instances.is_some() {
        instances::fit(reader, &policy, &keys, &wait_for_key, &disks);
    }
    let owner = name.clone().unwrap_or_else(|| format!("the service on line {}", reader.line.0));
    let settings = || {
        Some(Settings {
            name: name?,
            dns: dns?,
            instance_of: None,
            announce,
            address6,
            kernel: image?.0,
            ramdisk: ramdisk.map(|(path, _)| path),
            memory_mib: memory.map_or(DEFAULT_MEMORY_MIB, |memory| memory.value),
            vcpus: vcpus.map_or(1, |vcpus| vcpus.value),
            weight: weight.and_then(|weight| weight.value.try_into().ok()).unwrap_or(DEFAULT_WEIGHT),
            cmdline,
            policy,
            waking,
            boot_timeout: seconds(boot_timeout.map_or(DEFAULT_BOOT_TIMEOUT, |timeout| timeout.value)),
            wait_for_key,
            listens_on,
            keys,
            vifs,
            disks,
        })
    };
    let draft = ServiceDraft {
        owner,
        name: reader.service.clone(),
        table: reader.line,
        address,
        settings: if reader.clean() { settings() } else { None },
    };
    match instances {
        Some(addresses) => {
            let Line(line) = reader.line;
            let claim = |name: &str| claims.names.insert(name.to_owned(), format!("line {line}")).is_none();
            instances::expand(reader, draft, &addresses, claim)
        }
        None => vec![draft],
    }
}

fn listens_on(reader: &mut Reader<'_, '_>) -> Option<u16> {
    let port = reader.number("listens_on", 1, u16::MAX.into(), "(a TCP port)");
    if let Some(port) = &port
        && reader.has("wait_for_key")
    {
        let fix = "keep the one of them by which it can be told that it accepts connections";
        reader.problem(port.line, "listens_on and wait_for_key exclude each other", fix);
    }
    port.and_then(|port| port.value.try_into().ok())
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

/// The kernel's path and its image's size in bytes.
fn image(
    reader: &mut Reader<'_, '_>,
    node: &NodeDraft,
    claims: &mut Claims,
    kernels: &Kernels<'_>,
) -> Option<(PathBuf, u64)> {
    let Field { value, line } = reader.required_string("kernel", "kernel = \"www\"")?;
    if value.is_empty() {
        reader.problem(line, "kernel is empty", "name an ARM zImage");
        return None;
    }
    let (path, head) = match kernels.find("kernel", value, &node.kernels) {
        Ok(found) => found,
        Err(fault) => {
            reader.problem(line, fault, "put the zImage there or correct the path");
            return None;
        }
    };
    let size = match kernel::image_size(&head) {
        Ok(size) => size,
        Err((fault, fix)) => {
            reader.problem(line, format!("kernel {} {fault}", path.display()), fix);
            return None;
        }
    };
    keep_in_memory(reader, claims, "kernel", line, &path, head.length)?;
    Some((path, size.max(head.length)))
}

/// The ramdisk's path and its size in bytes; `None` also when there is none.
fn ramdisk(
    reader: &mut Reader<'_, '_>,
    node: &NodeDraft,
    claims: &mut Claims,
    kernels: &Kernels<'_>,
) -> Option<(PathBuf, u64)> {
    let Field { value, line } = reader.string("ramdisk", "ramdisk = \"initrd\"")?;
    let found = match value {
        "" => Err("ramdisk is empty".to_owned()),
        _ => kernels.find("ramdisk", value, &node.kernels),
    };
    let (fault, fix) = match found {
        Ok((path, head)) if head.length > 0 => {
            keep_in_memory(reader, claims, "ramdisk", line, &path, head.length)?;
            return Some((path, head.length));
        }
        Ok((path, _)) => (format!("ramdisk {} is an empty file", path.display()), "copy the file again"),
        Err(fault) => (fault, "put the file there, correct the path, or remove the key"),
    };
    reader.problem(line, fault, fix);
    None
}

/// Notes a file of `length` bytes that will be kept in dom0's memory, once for all services that use it; `None`,
/// with a problem, when that is too much.
fn keep_in_memory(
    reader: &mut Reader<'_, '_>,
    claims: &mut Claims,
    what: &str,
    line: Line,
    path: &Path,
    length: u64,
) -> Option<()> {
    let others: u64 = claims.files.iter().filter(|(other, _)| *other != path).map(|(_, length)| length).sum();
    if others.saturating_add(length) <= MAX_KERNELS {
        claims.files.insert(path.to_owned(), length);
        return Some(());
    }
    let (length, most) = (length.div_ceil(MIB), MAX_KERNELS / MIB);
    let fault = match others {
        0 => format!("{what} {} has {length} MiB, more than {most}", path.display()),
        others => format!(
            "{what} {} has {length} MiB, too many beside the {} MiB of those before it",
            path.display(),
            others.div_ceil(MIB)
        ),
    };
    let fix = format!("make it smaller: all kernels and ramdisks together may have {most} MiB");
    reader.problem(line, fault, fix);
    None
}

fn enough_memory(reader: &mut Reader<'_, '_>, memory: Option<Field<u32>>, image: u64, ramdisk: Option<u64>) {
    let needed = (IMAGE_OFFSET + image + ramdisk.unwrap_or(0) + BESIDE_IMAGE).div_ceil(MIB);
    let (given, line) = memory.map_or((DEFAULT_MEMORY_MIB, reader.line), |field| (field.value, field.line));
    let already_reported = memory.is_none() && reader.has("memory");
    if !already_reported && u64::from(given) < needed {
        let ramdisk =
            ramdisk.map_or(String::new(), |size| format!(" and a ramdisk of {} KiB", size.div_ceil(1024)));
        let image = image.div_ceil(1024);
        let what = format!("memory = {given} MiB is too little for a kernel of {image} KiB{ramdisk}");
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

pub(super) fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

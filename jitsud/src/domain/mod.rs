//! Making and unmaking domains.
//!
//! [`layout`], [`devicetree`] and [`nodes`] are pure: what a guest finds in memory and in XenStore. [`disk`] opens block
//! devices, and [`builder`] makes the hypercalls.

pub mod builder;
pub mod devicetree;
pub mod disk;
pub mod layout;
pub mod nodes;
mod realtime;
pub mod shell;

pub use builder::{BuildError, Domain, build, build_in, footprint, make_shell, take_over};
pub use shell::{Shape, Shell};

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config::{Disk, Key};

/// The weight that Xen gives to every new domain, and dom0 has (`CSCHED2_DEFAULT_WEIGHT`, `xen/common/sched/credit2.c`).
pub const DEFAULT_WEIGHT: u16 = 256;

/// A domain to be made.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name in XenStore.
    pub name: String,
    /// A UUID, so that it can be told from a later domain with the same number.
    pub uuid: [u8; 16],
    /// What it runs: a zImage, in memory from the start of the daemon, so that a summon reads no file.
    pub kernel: Arc<[u8]>,
    /// What the kernel finds as its ramdisk (Linux: initrd, initramfs), in memory like it.
    pub ramdisk: Option<Arc<[u8]>>,
    /// MiB of RAM, from 1 to 3072.
    pub memory_mib: u32,
    /// vCPUs, at least 1.
    pub vcpus: u32,
    /// Its share of CPU time, at least 1, relative to those of others; [`DEFAULT_WEIGHT`] is what they have.
    pub weight: u16,
    /// The kernel's command line.
    pub bootargs: String,
    /// More XenStore nodes below its directory, which it may read.
    pub keys: Vec<Key>,
    /// Its block devices.
    pub disks: Vec<Disk>,
    /// Its network interfaces; the first is the one that its address is for.
    pub vifs: Vec<Vif>,
    /// What the next daemon is to know of it, if it still runs then.
    pub record: String,
}

impl Spec {
    /// Bytes that are copied into the domain, but for the device tree.
    pub fn loaded_bytes(&self) -> usize {
        self.kernel.len() + self.ramdisk.as_ref().map_or(0, |ramdisk| ramdisk.len())
    }
}

/// A virtual network interface.
#[derive(Clone, Debug)]
pub struct Vif {
    /// The guest's address on the link.
    pub mac: [u8; 6],
    /// For dom0's tools to see; the guest learns it from its command line.
    pub address: Option<Ipv4Addr>,
    /// The bridge it is a port of.
    pub bridge: String,
}

/// A MAC address as XenStore has it.
pub fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// A UUID as XenStore has it.
pub fn uuid_text(uuid: [u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

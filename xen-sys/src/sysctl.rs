//! `__HYPERVISOR_sysctl`: facts about the whole machine (`xen/include/public/sysctl.h`).
//!
//! What is used here has the same layout in interface versions 0x15 (Xen 4.17 to 4.20) and 0x16 (4.21 and 4.22).

use crate::DomId;
use core::mem::{offset_of, size_of};

/// The interface versions whose layouts are known, the most likely first.
pub const KNOWN_VERSIONS: [u32; 2] = [0x15, 0x16];

/// Fills a [`PhysInfo`].
pub const XEN_SYSCTL_PHYSINFO: u32 = 3;
/// Tells the scheduler that runs: a `u32` at the beginning of the union, an `XEN_SCHEDULER_` number of
/// [`crate::domctl`].
pub const XEN_SYSCTL_SCHED_ID: u32 = 4;
/// Fills an array of [`crate::domctl::DomainInfo`]; argument [`DomainInfoList`].
pub const XEN_SYSCTL_GETDOMAININFOLIST: u32 = 6;

/// `struct xen_sysctl`; the union is 128 bytes, which begin with the command's argument.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Sysctl {
    /// One of the `XEN_SYSCTL_` numbers.
    pub cmd: u32,
    /// Must be the hypervisor's own, or it answers EACCES.
    pub interface_version: u32,
    /// The union.
    pub u: [u64; 16],
}
const _: () = assert!(size_of::<Sysctl>() == 136 && offset_of!(Sysctl, u) == 8);

/// `struct xen_sysctl_physinfo`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct PhysInfo {
    /// Threads in a core.
    pub threads_per_core: u32,
    /// Cores in a socket.
    pub cores_per_socket: u32,
    /// CPUs online.
    pub nr_cpus: u32,
    /// Highest CPU number possible.
    pub max_cpu_id: u32,
    /// NUMA nodes online.
    pub nr_nodes: u32,
    /// Highest NUMA node possible.
    pub max_node_id: u32,
    /// The CPUs' (on ARM the counter's) frequency in kHz.
    pub cpu_khz: u32,
    /// `XEN_SYSCTL_PHYSCAP_` flags.
    pub capabilities: u32,
    /// The architecture's own flags.
    pub arch_capabilities: u32,
    /// Not used.
    pub pad: u32,
    /// Pages of RAM that Xen manages.
    pub total_pages: u64,
    /// Pages free now.
    pub free_pages: u64,
    /// Pages waiting to be scrubbed; they are not among the free ones.
    pub scrub_pages: u64,
    /// Pages claimed but not yet handed out.
    pub outstanding_pages: u64,
    /// The highest machine frame.
    pub max_mfn: u64,
    /// The architecture's own.
    pub hw_cap: [u32; 8],
}
const _: () = assert!(size_of::<PhysInfo>() == 112 && offset_of!(PhysInfo, free_pages) == 48);

/// `struct xen_sysctl_getdomaininfolist`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct DomainInfoList {
    /// Start with this domain, or the next above it.
    pub first_domain: DomId,
    /// Must be 0.
    pub pad: u16,
    /// Room in the buffer, in elements.
    pub max_domains: u32,
    /// Address of an array of [`crate::domctl::DomainInfo`].
    pub buffer: u64,
    /// How many were filled in.
    pub num_domains: u32,
    /// Must be 0.
    pub pad2: u32,
}
const _: () = assert!(size_of::<DomainInfoList>() == 24 && offset_of!(DomainInfoList, buffer) == 8);

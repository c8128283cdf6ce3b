//! `__HYPERVISOR_domctl`: creating, describing and ending domains (`xen/include/public/domctl.h`,
//! ARM parts in `arch-arm.h`).
//!
//! The interface is not stable: every argument carries a version, and a hypervisor that speaks another
//! one answers EACCES. [`Interface`] names the versions whose layouts are known. Of what is used here only
//! `createdomain` differs between them.

use crate::DomId;
use core::mem::{offset_of, size_of};

/// A version of the domctl interface whose layout is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// Xen 4.17.
    V15,
    /// Xen 4.18: the architecture's part gained the SVE vector length.
    V16,
    /// Xen 4.19 to 4.21: `altp2m_opts` came before `vmtrace_size`.
    V17,
    /// Xen 4.22: the architecture's part gained two bytes at its end.
    V18,
}

impl Interface {
    /// Every known version, the ones that distributions ship first.
    pub const ALL: [Interface; 4] = [Interface::V15, Interface::V17, Interface::V18, Interface::V16];

    /// The number on the wire, `XEN_DOMCTL_INTERFACE_VERSION`.
    pub const fn number(self) -> u32 {
        match self {
            Interface::V15 => 0x15,
            Interface::V16 => 0x16,
            Interface::V17 => 0x17,
            Interface::V18 => 0x18,
        }
    }
}

/// Makes a domain; argument [`CreateDomainV15`], [`CreateDomainV17`] or [`CreateDomainV18`]. The number chosen comes back
/// in [`Domctl::domain`].
pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1;
/// Ends a domain and takes its memory back.
pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2;
/// Stops scheduling a domain.
pub const XEN_DOMCTL_PAUSEDOMAIN: u32 = 3;
/// Lets a domain run; a new one is paused.
pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4;
/// Fills a [`DomainInfo`] for the domain, or the next above it.
pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5;
/// Bounds a domain's memory; argument [`MaxMem`].
pub const XEN_DOMCTL_MAX_MEM: u32 = 11;
/// Sets a vCPU's registers and brings it online; argument [`SetVcpuContext`].
pub const XEN_DOMCTL_SETVCPUCONTEXT: u32 = 12;
/// Makes a new domain's vCPUs; argument [`MaxVcpus`].
pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15;
/// Sets or asks what the scheduler knows of a domain; argument [`SchedulerOp`].
pub const XEN_DOMCTL_SCHEDULER_OP: u32 = 16;
/// Cleans the data cache for guest frames; argument [`CacheFlush`].
pub const XEN_DOMCTL_CACHEFLUSH: u32 = 71;
/// Sets the pool from which a guest's stage-2 tables are made; argument [`PagingMempool`].
pub const XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE: u32 = 86;

/// `struct xen_domctl`; the union is 128 bytes, which begin with the command's argument.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Domctl {
    /// One of the `XEN_DOMCTL_` numbers.
    pub cmd: u32,
    /// [`Interface::number`].
    pub interface_version: u32,
    /// The domain meant; in a new domain's case, [`DomId::ANY`] to have a number chosen.
    pub domain: DomId,
    /// Must be 0.
    pub pad: [u16; 3],
    /// The union.
    pub u: [u64; 16],
}
const _: () = {
    assert!(size_of::<Domctl>() == 144);
    assert!(offset_of!(Domctl, domain) == 8 && offset_of!(Domctl, u) == 16);
};

/// Flag in [`CreateDomainHead::flags`]: on ARM every domain has it.
pub const XEN_DOMCTL_CDF_HVM: u32 = 1 << 0;
/// Flag in [`CreateDomainHead::flags`]: two-stage translation; on ARM every domain has it.
pub const XEN_DOMCTL_CDF_HAP: u32 = 1 << 1;
/// Flag in [`CreateDomainHead::flags`], needed from Xen 4.21 on and unknown before: an access to what is not mapped
/// is a data abort, as it always was. Otherwise it reads all ones; and Xen maps a domain's RAM only when it is first
/// accessed, but looks for that after it has answered so (`do_trap_stage2_abort_guest` of `xen/arch/arm/traps.c`).
pub const XEN_DOMCTL_CDF_TRAP_UNMAPPED_ACCESSES: u32 = 1 << 8;
/// [`CreateDomainTail::gic_version`]: a virtual GICv2.
pub const XEN_DOMCTL_CONFIG_GIC_V2: u8 = 1;

/// [`CreateDomainHead::grant_opts`]: grant tables of version 1 only. Nothing here uses version 2, and it
/// has been the source of security advisories.
pub const XEN_DOMCTL_GRANT_VERSION_1: u32 = 1;

/// `struct xen_domctl_createdomain`, the part that all versions begin with.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CreateDomainHead {
    /// Security label.
    pub ssidref: u32,
    /// A UUID, so that a domain can be told from a later one with the same number.
    pub handle: [u8; 16],
    /// `XEN_DOMCTL_CDF_` flags.
    pub flags: u32,
    /// IOMMU options.
    pub iommu_opts: u32,
    /// vCPUs it may have, at least 1.
    pub max_vcpus: u32,
    /// The highest event channel port it may use.
    pub max_evtchn_port: u32,
    /// The largest grant table, in frames; below 0 the hypervisor's default.
    pub max_grant_frames: i32,
    /// Frames for tracking the grants it maps; below 0 the hypervisor's default.
    pub max_maptrack_frames: i32,
    /// Grant table version.
    pub grant_opts: u32,
}

/// `struct xen_domctl_createdomain`, the part that all versions end with; the architecture's
/// `struct xen_arch_domainconfig` is flattened into it. Version 0x15 has a byte of padding where later
/// ones have `sve_vl`, so one struct serves all.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CreateDomainTail {
    /// Trace buffer bytes per vCPU; 0 for none.
    pub vmtrace_size: u32,
    /// CPU pool.
    pub cpupool_id: u32,
    /// Which interrupt controller the guest sees.
    pub gic_version: u8,
    /// SVE vector length / 128; 0 for none.
    pub sve_vl: u8,
    /// Trusted execution environment; 0 for none.
    pub tee_type: u16,
    /// Shared peripheral interrupts; 0 as a guest without devices needs none.
    pub nr_spis: u32,
    /// Filled by Xen: the counter's frequency in Hz where firmware did not set CNTFRQ, else 0.
    pub clock_frequency: u32,
}

/// `struct xen_domctl_createdomain` of versions 0x15 and 0x16.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CreateDomainV15 {
    /// Up to `grant_opts`.
    pub head: CreateDomainHead,
    /// From `vmtrace_size` on.
    pub tail: CreateDomainTail,
}
const _: () = {
    assert!(size_of::<CreateDomainV15>() == 68);
    assert!(offset_of!(CreateDomainHead, flags) == 20);
    assert!(offset_of!(CreateDomainHead, grant_opts) == 44);
    assert!(offset_of!(CreateDomainV15, tail) == 48);
    assert!(offset_of!(CreateDomainTail, gic_version) == 8);
    assert!(offset_of!(CreateDomainTail, nr_spis) == 12);
};

/// `struct xen_domctl_createdomain` of version 0x17.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CreateDomainV17 {
    /// Up to `grant_opts`.
    pub head: CreateDomainHead,
    /// x86 only; 0.
    pub altp2m_opts: u32,
    /// From `vmtrace_size` on.
    pub tail: CreateDomainTail,
}
const _: () = {
    assert!(size_of::<CreateDomainV17>() == 72);
    assert!(offset_of!(CreateDomainV17, altp2m_opts) == 48);
    assert!(offset_of!(CreateDomainV17, tail) == 52);
};

/// `struct xen_domctl_createdomain` of version 0x18.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CreateDomainV18 {
    /// Up to `grant_opts`.
    pub head: CreateDomainHead,
    /// x86 only; 0.
    pub altp2m: u32,
    /// From `vmtrace_size` on.
    pub tail: CreateDomainTail,
    /// System control interface; 0 for none.
    pub arm_sci_type: u8,
    /// ARMv8-R only; 0.
    pub v8r_el1_msa: u8,
    /// Must be 0.
    pub pad: u16,
}
const _: () = {
    assert!(size_of::<CreateDomainV18>() == 76);
    assert!(offset_of!(CreateDomainV18, arm_sci_type) == 72);
};

/// `struct xen_domctl_getdomaininfo`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct DomainInfo {
    /// Which domain this is about.
    pub domain: DomId,
    /// Not used.
    pub pad1: u16,
    /// `XEN_DOMINF_` flags, and the shutdown code from bit 16.
    pub flags: u32,
    /// Pages it has.
    pub tot_pages: u64,
    /// Pages it may have.
    pub max_pages: u64,
    /// Pages claimed for it.
    pub outstanding_pages: u64,
    /// Pages shared.
    pub shr_pages: u64,
    /// Pages paged out.
    pub paged_pages: u64,
    /// Frame of its shared info page.
    pub shared_info_frame: u64,
    /// Time its vCPUs have run, in nanoseconds.
    pub cpu_time: u64,
    /// vCPUs online.
    pub nr_online_vcpus: u32,
    /// Highest vCPU number; all ones when it has none.
    pub max_vcpu_id: u32,
    /// Security label.
    pub ssidref: u32,
    /// The UUID it was created with.
    pub handle: [u8; 16],
    /// CPU pool.
    pub cpupool: u32,
    /// Bits of its physical addresses.
    pub gpaddr_bits: u8,
    /// Not used.
    pub pad2: [u8; 7],
    /// As it was created; the last word since version 0x18.
    arch: [u32; 4],
}
const _: () = {
    assert!(size_of::<DomainInfo>() == 112 + 8);
    assert!(offset_of!(DomainInfo, tot_pages) == 8);
    assert!(offset_of!(DomainInfo, handle) == 76);
    assert!(offset_of!(DomainInfo, arch) == 104);
};

/// Flag of [`DomainInfo`]: it is being taken apart; it is gone when the last reference is.
pub const XEN_DOMINF_DYING: u32 = 1 << 0;
/// Flag of [`DomainInfo`]: its toolstack has paused it.
pub const XEN_DOMINF_PAUSED: u32 = 1 << 3;
/// Flag of [`DomainInfo`]: the guest has shut down, for [`DomainInfo::shutdown_code`].
pub const XEN_DOMINF_SHUTDOWN: u32 = 1 << 2;

impl DomainInfo {
    /// Whether it is being taken apart.
    pub fn is_dying(&self) -> bool {
        self.flags & XEN_DOMINF_DYING != 0
    }

    /// Whether its toolstack has paused it, or has not let it run yet.
    pub fn is_paused(&self) -> bool {
        self.flags & XEN_DOMINF_PAUSED != 0
    }

    /// Why the guest shut down, a `SHUTDOWN_` number of [`crate::sched`]; `None` when it has not.
    pub fn shutdown_code(&self) -> Option<u8> {
        (self.flags & XEN_DOMINF_SHUTDOWN != 0).then_some((self.flags >> 16) as u8)
    }
}

/// `struct xen_domctl_max_mem`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct MaxMem {
    /// KiB.
    pub max_memkb: u64,
}

/// `struct xen_domctl_max_vcpus`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MaxVcpus {
    /// How many; not more than the domain was created for.
    pub max: u32,
}

/// `struct xen_domctl_paging_mempool`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct PagingMempool {
    /// Bytes, a multiple of the page size.
    pub size: u64,
}

/// The credit scheduler.
pub const XEN_SCHEDULER_CREDIT: u32 = 5;
/// Its successor, Xen's default.
pub const XEN_SCHEDULER_CREDIT2: u32 = 6;

/// [`SchedulerOp::cmd`]: sets.
pub const XEN_DOMCTL_SCHEDOP_PUTINFO: u32 = 0;

/// `struct xen_domctl_scheduler_op`, for the two credit schedulers, whose parts of it are the same.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct SchedulerOp {
    /// The scheduler that runs, an `XEN_SCHEDULER_` number.
    pub sched_id: u32,
    /// An `XEN_DOMCTL_SCHEDOP_` number.
    pub cmd: u32,
    /// The domain's share of CPU time, relative to those of others.
    pub weight: u16,
    /// The most it gets in percent of a CPU; 0 for no bound.
    pub cap: u16,
    /// What other schedulers have there.
    pub pad: [u32; 3],
}
const _: () = assert!(size_of::<SchedulerOp>() == 24 && offset_of!(SchedulerOp, weight) == 8);

/// `struct xen_domctl_cacheflush`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct CacheFlush {
    /// The first guest frame.
    pub start_pfn: u64,
    /// How many frames.
    pub nr_pfns: u64,
}

/// `struct xen_domctl_vcpucontext`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct SetVcpuContext {
    /// Which vCPU.
    pub vcpu: u32,
    /// Must be 0.
    pub pad: u32,
    /// Address of a [`VcpuGuestContext`].
    pub ctxt: u64,
}
const _: () = assert!(size_of::<SetVcpuContext>() == 16);

/// [`VcpuGuestContext::flags`]: the vCPU runs as soon as the domain does.
pub const VGCF_ONLINE: u32 = 1;
/// Initial CPSR of a 32-bit guest: SVC mode, interrupts masked, Z set as U-Boot and QEMU leave it.
pub const PSR_GUEST32_INIT: u64 = (1 << 30) | (1 << 8) | (1 << 6) | (1 << 7) | 0x13;
/// Initial system control register: MMU and caches off.
pub const SCTLR_GUEST_INIT: u64 = 0x00c5_0078;

/// `struct vcpu_guest_context`, with the registers of a 32-bit guest.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct VcpuGuestContext {
    /// `VGCF_` flags.
    pub flags: u32,
    /// Not used.
    pub pad: u32,
    /// r0 to r12, then the banked registers up to `lr_fiq`, each in 64 bits.
    pub regs: [u64; 31],
    /// Where it starts.
    pub pc: u64,
    /// Its mode and masks.
    pub cpsr: u64,
    /// Saved status of SVC mode.
    pub spsr_svc: u64,
    /// Saved status of FIQ, IRQ, UND and ABT modes.
    pub spsr_fiq_irq_und_abt: [u32; 4],
    /// For 64-bit guests: sp_el0, sp_el1, elr_el1.
    pub el: [u64; 3],
    /// System control register.
    pub sctlr: u64,
    /// Translation control.
    pub ttbcr: u64,
    /// Translation base 0.
    pub ttbr0: u64,
    /// Translation base 1.
    pub ttbr1: u64,
}
const _: () = {
    assert!(offset_of!(VcpuGuestContext, pc) == 8 + 31 * 8);
    assert!(offset_of!(VcpuGuestContext, sctlr) == 8 + 34 * 8 + 16 + 24);
    assert!(size_of::<VcpuGuestContext>() == 8 + 34 * 8 + 16 + 24 + 32);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_codes_are_read_from_the_flags() {
        let mut info = DomainInfo { flags: 3 << 16, ..DomainInfo::default() };
        assert_eq!(info.shutdown_code(), None);
        info.flags |= XEN_DOMINF_SHUTDOWN;
        assert_eq!(info.shutdown_code(), Some(3));
    }
}

//! Hypercall numbers and the instruction that carries them.
//!
//! On 32-bit ARM a hypercall is `hvc #XEN_HYPERCALL_TAG` with the number in r12, up to five arguments
//! in r0 to r4 and the result in r0; on arm64 the number is in x16 and the arguments in x0 to x4
//! (`xen/include/public/arch-arm.h`, "Hypercall calling convention"). All guest memory that a hypercall
//! reads or writes must be mapped as Normal, Inner and Outer Write-Back Cacheable, Inner Shareable.

/// The immediate of the `hvc` instruction (`xen/include/public/arch-arm.h`).
pub const XEN_HYPERCALL_TAG: u16 = 0xEA1;

// `enum hypercall_num`, xen/include/public/xen.h: those that exist on ARM.

/// Memory layout and ballooning: `memory_op(cmd, argument)`.
pub const HYPERVISOR_MEMORY_OP: u32 = 12;
/// Several hypercalls at once: `multicall(calls, count)`.
pub const HYPERVISOR_MULTICALL: u32 = 13;
/// The hypervisor's version and features: `xen_version(cmd, argument)`.
pub const HYPERVISOR_XEN_VERSION: u32 = 17;
/// The emergency console: `console_io(cmd, count, buffer)`.
pub const HYPERVISOR_CONSOLE_IO: u32 = 18;
/// Grant tables: `grant_table_op(cmd, arguments, count)`.
pub const HYPERVISOR_GRANT_TABLE_OP: u32 = 20;
/// Virtual CPUs of the caller: `vcpu_op(cmd, vcpu, argument)`.
pub const HYPERVISOR_VCPU_OP: u32 = 24;
/// Security modules: `xsm_op(argument)`.
pub const HYPERVISOR_XSM_OP: u32 = 27;
/// Scheduling and shutdown: `sched_op(cmd, argument)`.
pub const HYPERVISOR_SCHED_OP: u32 = 29;
/// Event channels: `event_channel_op(cmd, argument)`.
pub const HYPERVISOR_EVENT_CHANNEL_OP: u32 = 32;
/// Physical devices: `physdev_op(cmd, argument)`.
pub const HYPERVISOR_PHYSDEV_OP: u32 = 33;
/// Parameters of hardware-assisted guests, which all ARM guests are: `hvm_op(cmd, argument)`.
pub const HYPERVISOR_HVM_OP: u32 = 34;
/// Control of the host, for toolstacks: `sysctl(argument)`.
pub const HYPERVISOR_SYSCTL: u32 = 35;
/// Control of domains, for toolstacks: `domctl(argument)`.
pub const HYPERVISOR_DOMCTL: u32 = 36;
/// Device models: `dm_op(domid, count, buffers)`.
pub const HYPERVISOR_DM_OP: u32 = 41;

/// `console_io` command: write `count` bytes. A release build of Xen drops what other guests than
/// the hardware domain write (`CONSOLEIO_write`, `xen/include/public/xen.h`).
pub const CONSOLEIO_WRITE: u32 = 0;

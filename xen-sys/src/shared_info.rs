//! The page that Xen and a guest share: event channel bits and wall clock (`xen/include/public/xen.h`,
//! `struct shared_info`; `arch-arm.h` for the types).
//!
//! The layout is the same on 32-bit and 64-bit ARM, because `xen_ulong_t` has 64 bits on both. Both
//! sides change the page at any time, so a guest reads and writes single fields through atomics at the
//! offsets of this struct and never makes a reference to the whole.

use core::mem::{offset_of, size_of};

/// Event channels of the two-level ABI: 64 words of 64 bits (`EVTCHN_2L_NR_CHANNELS`).
pub const EVTCHN_2L_NR_CHANNELS: u32 = 64 * 64;

/// Virtual CPUs that have their `vcpu_info` in the shared page (`XEN_LEGACY_MAX_VCPUS`).
pub const XEN_LEGACY_MAX_VCPUS: usize = 1;

/// `struct vcpu_time_info`. ARM guests read the architected timer instead; Xen leaves it zero.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct VcpuTimeInfo {
    /// Odd while Xen updates the rest.
    pub version: u32,
    /// Unused.
    pub pad0: u32,
    /// Time stamp counter at the last update.
    pub tsc_timestamp: u64,
    /// Nanoseconds since boot at the last update.
    pub system_time: u64,
    /// Scale from counter to nanoseconds.
    pub tsc_to_system_mul: u32,
    /// Shift that goes before the scale.
    pub tsc_shift: i8,
    /// `XEN_PVCLOCK_*`.
    pub flags: u8,
    /// Unused.
    pub pad1: [u8; 2],
}

/// `struct vcpu_info`. `arch_vcpu_info` is empty on ARM.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct VcpuInfo {
    /// Set by Xen when it sets a bit of `evtchn_pending_sel`; the guest clears it before it looks. The
    /// event interrupt's level follows this byte.
    pub evtchn_upcall_pending: u8,
    /// Unused: ARM has no paravirtual interrupt mask.
    pub pad0: u8,
    /// Unused.
    pub pad1: [u8; 6],
    /// Which words of [`SharedInfo::evtchn_pending`] may have unmasked bits set.
    pub evtchn_pending_sel: u64,
    /// Unused on ARM.
    pub time: VcpuTimeInfo,
}

/// `struct shared_info`. `arch_shared_info` is empty on ARM.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct SharedInfo {
    /// Of virtual CPU 0.
    pub vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
    /// One bit a port; set by Xen, cleared by the guest.
    pub evtchn_pending: [u64; 64],
    /// One bit a port, 1 = masked; changed by the guest only. All zero at first: new ports are unmasked.
    pub evtchn_mask: [u64; 64],
    /// Odd while Xen updates the wall clock.
    pub wc_version: u32,
    /// Seconds of the Unix epoch at which the system time was 0, low 32 bits.
    pub wc_sec: u32,
    /// Nanoseconds, likewise.
    pub wc_nsec: u32,
    /// Seconds, high 32 bits.
    pub wc_sec_hi: u32,
}

const _: () = {
    assert!(size_of::<VcpuTimeInfo>() == 32);
    assert!(offset_of!(VcpuTimeInfo, tsc_timestamp) == 8);
    assert!(offset_of!(VcpuTimeInfo, system_time) == 16);
    assert!(offset_of!(VcpuTimeInfo, tsc_to_system_mul) == 24);
    assert!(offset_of!(VcpuTimeInfo, flags) == 29);
    assert!(size_of::<VcpuInfo>() == 48);
    assert!(offset_of!(VcpuInfo, evtchn_pending_sel) == 8);
    assert!(offset_of!(VcpuInfo, time) == 16);
    assert!(size_of::<SharedInfo>() == 1088);
    assert!(offset_of!(SharedInfo, evtchn_pending) == 48);
    assert!(offset_of!(SharedInfo, evtchn_mask) == 560);
    assert!(offset_of!(SharedInfo, wc_version) == 1072);
    assert!(offset_of!(SharedInfo, wc_sec_hi) == 1084);
};

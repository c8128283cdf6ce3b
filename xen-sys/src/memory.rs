//! `__HYPERVISOR_memory_op`: giving memory to a domain, and arranging its physical address space
//! (`xen/include/public/memory.h`).
//!
//! On ARM `xen_ulong_t`, `xen_pfn_t` and guest handles are 64 bits wide on both architectures.

use crate::DomId;
use core::mem::{offset_of, size_of};

/// Populates guest frames with fresh, zeroed memory; argument [`MemoryReservation`]. Returns the
/// number of extents done, which is short when memory has run out.
pub const XENMEM_POPULATE_PHYSMAP: u32 = 6;
/// Takes memory back; argument [`MemoryReservation`].
pub const XENMEM_DECREASE_RESERVATION: u32 = 1;
/// Makes a page of Xen's appear in a guest; argument [`AddToPhysmap`].
pub const XENMEM_ADD_TO_PHYSMAP: u32 = 7;
/// Removes a page from a guest's address space; argument [`RemoveFromPhysmap`].
pub const XENMEM_REMOVE_FROM_PHYSMAP: u32 = 15;

/// [`AddToPhysmap::space`]: the shared info page, index 0.
pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
/// [`AddToPhysmap::space`]: a frame of the grant table.
pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;

/// `struct xen_memory_reservation`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MemoryReservation {
    /// Address of an array of frame numbers, each the first of an extent.
    pub extent_start: u64,
    /// How many extents.
    pub nr_extents: u64,
    /// log2 of the pages in each: 0 for 4 KiB, 9 for 2 MiB.
    pub extent_order: u32,
    /// XENMEMF flags; 0 for none.
    pub mem_flags: u32,
    /// Whose memory.
    pub domid: DomId,
    /// Not looked at.
    pub pad: [u16; 3],
}
const _: () = {
    assert!(size_of::<MemoryReservation>() == 32);
    assert!(offset_of!(MemoryReservation, extent_order) == 16);
    assert!(offset_of!(MemoryReservation, domid) == 24);
};

/// `struct xen_add_to_physmap`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AddToPhysmap {
    /// Into whose address space.
    pub domid: DomId,
    /// Only for ranges; 0.
    pub size: u16,
    /// One of the `XENMAPSPACE_` numbers.
    pub space: u32,
    /// Which page of that space.
    pub idx: u64,
    /// The frame where it is to appear.
    pub gpfn: u64,
}
const _: () = {
    assert!(size_of::<AddToPhysmap>() == 24);
    assert!(offset_of!(AddToPhysmap, space) == 4);
    assert!(offset_of!(AddToPhysmap, gpfn) == 16);
};

/// `struct xen_remove_from_physmap`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RemoveFromPhysmap {
    /// From whose address space.
    pub domid: DomId,
    /// Not looked at.
    pub pad: [u16; 3],
    /// The frame to remove.
    pub gpfn: u64,
}
const _: () = assert!(size_of::<RemoveFromPhysmap>() == 16);

//! Grant tables, version 1: how a domain lends its pages (`xen/include/public/grant_table.h`).
//!
//! The granting domain fills an entry of its own table, `frame` and `domid` first, `flags` last with a
//! write barrier between; the other side maps or copies by `(domid, ref)`. A hypercall is
//! `grant_table_op(GNTTABOP_x, arguments, count)`. Version 2 and page transfer are left out.

use core::mem::{offset_of, size_of};

use crate::{DomId, GrantRef};

/// One entry of the table, `struct grant_entry_v1`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GrantEntryV1 {
    /// `GTF_*`. Xen adds [`GTF_READING`] and [`GTF_WRITING`].
    pub flags: u16,
    /// Who may use the frame.
    pub domid: DomId,
    /// The frame's number in the granting domain (the low 32 bits are all that version 1 has).
    pub frame: u32,
}

/// Entries 0 to 7 are reserved for the tools (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
/// The entry that grants the console page to the console daemon.
pub const GNTTAB_RESERVED_CONSOLE: GrantRef = GrantRef(0);
/// The entry that grants the XenStore page to the XenStore daemon.
pub const GNTTAB_RESERVED_XENSTORE: GrantRef = GrantRef(1);

/// The entry grants nothing.
pub const GTF_INVALID: u16 = 0;
/// `domid` may map and copy `frame`.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// With [`GTF_PERMIT_ACCESS`]: for reading only.
pub const GTF_READONLY: u16 = 1 << 2;
/// Set by Xen while the frame is mapped or copied for reading.
pub const GTF_READING: u16 = 1 << 3;
/// Set by Xen while the frame is mapped or copied for writing.
pub const GTF_WRITING: u16 = 1 << 4;

/// Map granted frames; [`GnttabMapGrantRef`].
pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
/// Give mappings back; [`GnttabUnmapGrantRef`].
pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
/// Make a domain's table have a number of frames; [`GnttabSetupTable`].
pub const GNTTABOP_SETUP_TABLE: u32 = 2;
/// Copy between frames and grants.
pub const GNTTABOP_COPY: u32 = 5;
/// A table's size; [`GnttabQuerySize`].
pub const GNTTABOP_QUERY_SIZE: u32 = 6;

/// Argument of [`GNTTABOP_SETUP_TABLE`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GnttabSetupTable {
    /// IN: whose table.
    pub dom: DomId,
    /// IN: frames wanted.
    pub nr_frames: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Unused.
    pub pad: [u16; 3],
    /// IN: address of an array of `nr_frames` 64-bit frame numbers that Xen fills.
    pub frame_list: u64,
}

/// Argument of [`GNTTABOP_QUERY_SIZE`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GnttabQuerySize {
    /// IN: whose table.
    pub dom: DomId,
    /// OUT: frames it has.
    pub nr_frames: u32,
    /// OUT: frames it may have.
    pub max_nr_frames: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
}

/// [`GnttabMapGrantRef::flags`]: map it for devices.
pub const GNTMAP_DEVICE_MAP: u32 = 1 << 0;
/// [`GnttabMapGrantRef::flags`]: map it for the CPUs.
pub const GNTMAP_HOST_MAP: u32 = 1 << 1;
/// [`GnttabMapGrantRef::flags`]: for reading only.
pub const GNTMAP_READONLY: u32 = 1 << 2;

/// Argument of [`GNTTABOP_MAP_GRANT_REF`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GnttabMapGrantRef {
    /// IN: on ARM the guest physical address where the frame is to appear.
    pub host_addr: u64,
    /// IN: `GNTMAP_*`.
    pub flags: u32,
    /// IN: the entry in `dom`'s table.
    pub grant_ref: GrantRef,
    /// IN: the granting domain.
    pub dom: DomId,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// OUT: what [`GNTTABOP_UNMAP_GRANT_REF`] wants to see.
    pub handle: u32,
    /// OUT: the address for devices, with [`GNTMAP_DEVICE_MAP`].
    pub dev_bus_addr: u64,
}

/// Argument of [`GNTTABOP_UNMAP_GRANT_REF`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GnttabUnmapGrantRef {
    /// IN: as given when it was mapped; 0 leaves that mapping alone.
    pub host_addr: u64,
    /// IN: as given when it was mapped; 0 leaves that mapping alone.
    pub dev_bus_addr: u64,
    /// IN: as returned when it was mapped.
    pub handle: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
}

/// Success; every other `GNTST_*` is negative.
pub const GNTST_OKAY: i16 = 0;

/// What a `GNTST_*` status means, in the header's words.
pub const fn status_message(status: i16) -> &'static str {
    match status {
        0 => "okay",
        -2 => "unrecognised domain id",
        -3 => "invalid grant reference",
        -4 => "invalid mapping handle",
        -5 => "invalid virtual address",
        -6 => "invalid device address",
        -7 => "no spare translation slot in the I/O MMU",
        -8 => "permission denied",
        -9 => "bad page",
        -10 => "copy arguments cross page boundary",
        -11 => "page address size too large",
        -12 => "operation not done; try again",
        -13 => "out of space",
        _ => "undefined error",
    }
}

const _: () = {
    assert!(size_of::<GrantEntryV1>() == 8);
    assert!(offset_of!(GrantEntryV1, domid) == 2);
    assert!(offset_of!(GrantEntryV1, frame) == 4);
    assert!(size_of::<GnttabSetupTable>() == 24);
    assert!(offset_of!(GnttabSetupTable, nr_frames) == 4);
    assert!(offset_of!(GnttabSetupTable, status) == 8);
    assert!(offset_of!(GnttabSetupTable, frame_list) == 16);
    assert!(size_of::<GnttabQuerySize>() == 16);
    assert!(offset_of!(GnttabQuerySize, nr_frames) == 4);
    assert!(offset_of!(GnttabQuerySize, max_nr_frames) == 8);
    assert!(offset_of!(GnttabQuerySize, status) == 12);
    assert!(size_of::<GnttabMapGrantRef>() == 32);
    assert!(offset_of!(GnttabMapGrantRef, flags) == 8);
    assert!(offset_of!(GnttabMapGrantRef, grant_ref) == 12);
    assert!(offset_of!(GnttabMapGrantRef, dom) == 16);
    assert!(offset_of!(GnttabMapGrantRef, status) == 18);
    assert!(offset_of!(GnttabMapGrantRef, handle) == 20);
    assert!(offset_of!(GnttabMapGrantRef, dev_bus_addr) == 24);
    assert!(size_of::<GnttabUnmapGrantRef>() == 24);
    assert!(offset_of!(GnttabUnmapGrantRef, dev_bus_addr) == 8);
    assert!(offset_of!(GnttabUnmapGrantRef, handle) == 16);
    assert!(offset_of!(GnttabUnmapGrantRef, status) == 20);
};

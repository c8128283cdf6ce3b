//! A guest's physical memory map and what it finds there, fixed by Xen
//! (`xen/include/public/arch-arm.h`, "guest memory layout").
//!
//! ```text
//! 0x0300_1000  GICv2 distributor          0x3800_0000  grant table, where the guest may map it
//! 0x0300_2000  GICv2 CPU interface        0x3900_0000  magic pages: console ring, XenStore ring
//!                                         0x4000_0000  RAM, up to 3 GiB
//! ```

/// GICv2 distributor: guest physical address.
pub const GUEST_GICD_BASE: u64 = 0x0300_1000;
/// Bytes of the GICv2 distributor's registers.
pub const GUEST_GICD_SIZE: u64 = 0x1000;
/// GICv2 CPU interface: guest physical address.
pub const GUEST_GICC_BASE: u64 = 0x0300_2000;
/// Bytes of the GICv2 CPU interface's registers.
pub const GUEST_GICC_SIZE: u64 = 0x2000;
/// Where the toolstack tells a guest to map its grant table.
pub const GUEST_GNTTAB_BASE: u64 = 0x3800_0000;
/// Bytes set aside for the grant table.
pub const GUEST_GNTTAB_SIZE: u64 = 0x0100_0000;
/// The magic pages: rings that the toolstack populates before the guest starts.
pub const GUEST_MAGIC_BASE: u64 = 0x3900_0000;
/// The first bank of RAM.
pub const GUEST_RAM0_BASE: u64 = 0x4000_0000;
/// The largest first bank: 3 GiB.
pub const GUEST_RAM0_SIZE: u64 = 0xC000_0000;

/// Interrupt number (INTID) of the virtual timer; as a PPI it is 11.
pub const GUEST_TIMER_VIRT_PPI: u32 = 27;
/// Interrupt number (INTID) of the secure physical timer; as a PPI it is 13.
pub const GUEST_TIMER_PHYS_S_PPI: u32 = 29;
/// Interrupt number (INTID) of the non-secure physical timer; as a PPI it is 14.
pub const GUEST_TIMER_PHYS_NS_PPI: u32 = 30;
/// Interrupt number (INTID) by which Xen tells a guest of pending events; as a PPI it is 15.
pub const GUEST_EVTCHN_PPI: u32 = 31;

/// Where the 32-bit Linux boot protocol wants a kernel, from the start of RAM
/// (Linux `Documentation/arm/booting.rst`: "32 KiB from the start of RAM").
pub const ZIMAGE_OFFSET: u64 = 0x8000;
/// The magic number of an ARM zImage, a little-endian word at byte 0x24.
pub const ZIMAGE_MAGIC: u32 = 0x016f_2818;
/// Byte offset of [`ZIMAGE_MAGIC`]; the start and end addresses follow it.
pub const ZIMAGE_MAGIC_OFFSET: usize = 0x24;

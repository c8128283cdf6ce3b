//! Adds to the translation tables that `entry.s` has made. Addresses are not translated: a table only
//! says what kind of memory is where. Nothing is ever unmapped.

use core::ptr;

use crate::arch::cpu;

unsafe extern "C" {
    /// First-level table, from the linker script: a word for each of the lower 2048 MiB.
    static mut __translation_table: [u32; 2048];
}

/// What is at an address. Values are section descriptors without the address, as in `entry.s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Memory {
    /// Registers: Device, shareable, never executed.
    Device = 0x0001_0416,
    /// Pages of Xen's or of other domains: cacheable like RAM, as Xen wants them, never executed.
    Shared = 0x0001_141e,
}

const SECTION_SHIFT: u32 = 20;

/// Maps `size` bytes at `start`, rounded outwards to MiB. RAM is mapped already.
///
/// # Panics
/// The range is not below 2 GiB, or a part of it is mapped as something else.
pub fn map(start: u64, size: u64, memory: Memory) {
    let first = start >> SECTION_SHIFT;
    let last = start.saturating_add(size.saturating_sub(1)) >> SECTION_SHIFT;
    assert!(size > 0 && last < 2048, "cannot map {size:#x} bytes at {start:#x}: not below 2 GiB");
    for section in first..=last {
        let descriptor = (section as u32) << SECTION_SHIFT | memory as u32;
        // SAFETY: `section` is below 2048. The processor reads the table at any time and sees whole words;
        // no reference to the table exists.
        unsafe {
            let entry = (&raw mut __translation_table).cast::<u32>().add(section as usize);
            let old = ptr::read_volatile(entry);
            assert!(
                old == 0 || old == descriptor,
                "cannot map {start:#x} as {memory:?}: the tables have {old:#x} there"
            );
            ptr::write_volatile(entry, descriptor);
        }
    }
    cpu::synchronise_translation();
}

//! This guest's own image, as it was loaded.
#![allow(unsafe_code)]

use core::{ptr, slice};

use xen_sys::PAGE_SIZE;

unsafe extern "C" {
    /// The first byte of the image, from `entry.s`.
    static _start: u8;
    /// The first page behind the image and its data, from the linker script.
    static __appended_start: u8;
}

/// Where a zImage's header has the address after its last byte, counted from its first one.
const END: usize = 0x2c;

/// What was appended to the image, and the address of the first page behind it: that is the heap's. The header says where
/// the image ends, and whoever appends something has to make it say so.
///
/// # Panics
/// The image ends behind `ram_end`.
pub fn appended(ram_end: usize) -> (&'static [u8], usize) {
    let image = &raw const _start;
    let start = &raw const __appended_start;
    // SAFETY: the header is in the image. It may have been written since it was linked, of which the compiler knows nothing.
    let length = unsafe { ptr::read_volatile(image.add(END).cast::<u32>()) } as usize;
    let end = image.addr().saturating_add(length);
    assert!(end <= ram_end, "the image ends at {end:#x}, and RAM at {ram_end:#x}");
    let bytes = end.saturating_sub(start.addr());
    // SAFETY: the builder has loaded it there, and it is in RAM. The heap begins behind it, nothing else is there, and
    // nobody writes to it.
    let appended = unsafe { slice::from_raw_parts(start, bytes) };
    (appended, (start.addr() + bytes).next_multiple_of(PAGE_SIZE))
}

//! The heap: the RAM behind the image, except for the device tree.
#![allow(unsafe_code)]

use core::ops::Range;

use talc::TalcLock;
use talc::source::Manual;

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

unsafe extern "C" {
    /// The first page behind the image and its data, from the linker script.
    static __heap_start: u8;
}

/// Gives the heap all RAM up to `ram_end`, except `reserved`.
///
/// # Safety
/// That RAM is mapped, is not used by anything else, and is not given twice.
pub unsafe fn init(ram_end: usize, reserved: Range<usize>) {
    let start = (&raw const __heap_start).addr();
    for part in [start..reserved.start.min(ram_end), reserved.end.max(start)..ram_end] {
        if part.start < part.end {
            // SAFETY: the caller vouches for the RAM; the two parts do not overlap.
            // A part that is too small to be of use is left alone.
            unsafe { HEAP.lock().claim(part.start as *mut u8, part.len()) };
        }
    }
}

//! The heap: the RAM behind the image and what is appended to it, except for the device tree.
#![allow(unsafe_code)]

use core::ops::Range;

use talc::TalcLock;
use talc::source::Manual;

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

/// Gives the heap this RAM, except `reserved`.
///
/// # Safety
/// That RAM is mapped, is not used by anything else, and is not given twice.
pub unsafe fn init(ram: Range<usize>, reserved: Range<usize>) {
    for part in [ram.start..reserved.start.min(ram.end), reserved.end.max(ram.start)..ram.end] {
        if part.start < part.end {
            // SAFETY: the caller vouches for the RAM; the two parts do not overlap.
            // A part that is too small to be of use is left alone.
            unsafe { HEAP.lock().claim(part.start as *mut u8, part.len()) };
        }
    }
}

//! Device registers.

use core::ptr;

use crate::arch::mmu::{self, Memory};

/// A device's registers, mapped as device memory.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: usize,
    size: usize,
}

impl Mmio {
    /// Maps the registers at `start`, as the device tree gives them.
    ///
    /// # Safety
    /// There is a device at `start` whose registers, `size` bytes of them, do not read or write this
    /// guest's memory, and this is the only driver for it.
    pub unsafe fn map(start: u64, size: u64) -> Self {
        mmu::map(start, size, Memory::Device);
        Mmio { base: start as usize, size: size as usize }
    }

    fn register(&self, offset: usize) -> *mut u32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.size, "register {offset:#x}");
        (self.base + offset) as *mut u32
    }

    /// Reads the 32-bit register at `offset`.
    pub fn read(&self, offset: usize) -> u32 {
        // SAFETY: `register` checks that it is one; `map`'s caller vouches for the device.
        unsafe { ptr::read_volatile(self.register(offset)) }
    }

    /// Writes the 32-bit register at `offset`.
    pub fn write(&self, offset: usize, value: u32) {
        // SAFETY: `register` checks that it is one; `map`'s caller vouches for the device.
        unsafe { ptr::write_volatile(self.register(offset), value) }
    }
}

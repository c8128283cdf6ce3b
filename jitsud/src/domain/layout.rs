//! Where in a guest's memory its kernel, ramdisk and device tree go. Pure.
//!
//! ```text
//! 0x4000_0000  RAM
//! 0x4000_8000  zImage; it unpacks itself to the beginning of RAM, and moves out of its own way first
//! …            ramdisk, as high as Linux can reach it early
//! …            device tree, at the end of RAM
//! ```
//!
//! By Linux's `Documentation/arch/arm/booting.rst`: ramdisk and tree must lie where the unpacking kernel does not
//! write, and the ramdisk in memory that the kernel maps for good.

use std::ops::Range;

use xen_sys::layout::{GUEST_RAM0_BASE, ZIMAGE_OFFSET};
use xen_sys::{PAGE_SHIFT, PAGE_SIZE};

/// Room for the device tree at the end of RAM: a command line of 1 KiB and the most vCPUs fit many times over.
pub const TREE_PAGES: u64 = 16;

/// RAM, counted from its beginning, that every 32-bit Linux maps for good, however its address space is split
/// (`arch/arm/Kconfig`, `VMSPLIT_*`; the rest is "high memory").
const LOW_MEMORY: u64 = 512 << 20;

/// What the unpacking kernel needs beside the image: its stack and heap (`arch/arm/boot/compressed/head.S`).
const UNPACKER: u64 = 128 << 10;

/// Why the kernel and what goes with it do not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge {
    /// Bytes that are needed.
    pub needed: u64,
}

/// Where the ramdisk of `ramdisk` bytes goes, by its first address and the one after its last, if there is one.
/// `memory` is the RAM's size; both in bytes.
///
/// # Errors
/// The kernel, unpacked, reaches into what must lie behind it.
pub fn place(memory: u64, kernel: &[u8], ramdisk: Option<usize>) -> Result<Option<Range<u64>>, TooLarge> {
    let tree = TREE_PAGES << PAGE_SHIFT;
    let pages = ramdisk.map_or(0, |length| (length.div_ceil(PAGE_SIZE) as u64) << PAGE_SHIFT);
    let kernel = room_for(kernel).next_multiple_of(PAGE_SIZE as u64);
    let end = memory.saturating_sub(tree).min(if ramdisk.is_some() { LOW_MEMORY } else { memory });
    let start = end.checked_sub(pages).filter(|start| *start >= kernel);
    let start = start.ok_or(TooLarge { needed: kernel + pages + tree })? + GUEST_RAM0_BASE;
    Ok(ramdisk.map(|length| start..start + length as u64))
}

/// Bytes from the beginning of RAM that a kernel may write to before it has looked at its device tree.
///
/// A Linux zImage says how much it unpacks to: a table that its header points to (`arch/arm/boot/compressed/head.S`
/// and `vmlinux.lds.S`) has an entry with the offset of a word with the unpacked size, the bss, and the distance
/// from the beginning of RAM. Others take the room that they are loaded to.
fn room_for(kernel: &[u8]) -> u64 {
    /// Says that the next word is the offset of the table.
    const TABLE_MAGIC: (usize, u32) = (0x34, 0x4545_4545);
    /// Tag of the entry, "KLSZ".
    const KERNEL_SIZE: u32 = 0x5a53_4c4b;

    let word = |at: usize| {
        let bytes = kernel.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let loaded = ZIMAGE_OFFSET + kernel.len() as u64;
    let unpacked = || {
        let table = (word(TABLE_MAGIC.0)? == TABLE_MAGIC.1).then(|| word(TABLE_MAGIC.0 + 4))?? as usize;
        let entry = |number: usize| word(table.checked_add(4 * number)?);
        (entry(1)? == KERNEL_SIZE).then_some(())?;
        let (size, bss, offset) = (word(entry(2)? as usize)?, entry(3)?, entry(4)?);
        let image = u64::from(offset) + u64::from(size);
        // It runs the unpacker behind the place of the unpacked image; of the bss nothing is needed until then.
        Some(image + u64::from(bss).max(kernel.len() as u64 + UNPACKER))
    };
    unpacked().map_or(loaded, |unpacked| unpacked.max(loaded))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const RAM: u64 = GUEST_RAM0_BASE;

    /// An image of 4 MiB that unpacks to 20 MiB, 2 MiB and 32 KiB from the beginning of RAM, with 1 MiB of bss.
    fn zimage() -> Vec<u8> {
        let mut image = vec![0; 4 << 20];
        let mut put = |at: usize, word: u32| image[at..at + 4].copy_from_slice(&word.to_le_bytes());
        put(0x34, 0x4545_4545);
        put(0x38, 0x40);
        for (number, word) in [6, 0x5a53_4c4b, 0x100, 1 << 20, 0x20_8000].into_iter().enumerate() {
            put(0x40 + 4 * number, word);
        }
        put(0x100, 20 << 20);
        image
    }

    #[test]
    fn a_ramdisk_ends_below_the_tree_and_in_low_memory() {
        let tree = TREE_PAGES << PAGE_SHIFT;
        for (memory, ramdisk, expected) in [
            (64, 5000, RAM + 64 * MIB - tree - 8192),
            (512, 4096, RAM + 512 * MIB - tree - 4096),
            (1024, 4096, RAM + 512 * MIB - 4096),
        ] {
            let range = place(memory * MIB, &zimage(), Some(ramdisk)).expect("room").expect("a place");
            assert_eq!(range, expected..expected + ramdisk as u64, "{memory} MiB");
        }
        assert_eq!(place(64 * MIB, &zimage(), None), Ok(None));
    }

    #[test]
    fn nothing_lies_where_the_kernel_unpacks_itself() {
        // 2 MiB and 32 KiB, 20 MiB unpacked, 4 MiB packed, the unpacker's own; the tree's room.
        let needed = (26 << 20) + (32 << 10) + UNPACKER + (TREE_PAGES << PAGE_SHIFT);
        assert_eq!(place(needed, &zimage(), None), Ok(None));
        assert_eq!(place(needed - 1, &zimage(), None), Err(TooLarge { needed }));
        let with_ramdisk = place(needed, &zimage(), Some(1));
        assert_eq!(with_ramdisk, Err(TooLarge { needed: needed + PAGE_SIZE as u64 }));
    }

    #[test]
    fn an_image_that_says_nothing_takes_what_it_is_loaded_to() {
        let needed = ZIMAGE_OFFSET + 2 * MIB + (TREE_PAGES << PAGE_SHIFT);
        let mut damaged = zimage();
        damaged.truncate(2 << 20);
        for at in [0x34, 0x38, 0x44, 0x48] {
            let mut image = damaged.clone();
            image[at..at + 4].copy_from_slice(&0xffff_ff00_u32.to_le_bytes());
            assert_eq!(place(needed, &image, None), Ok(None), "{at:#x}");
            assert_eq!(place(needed - 4096, &image, None), Err(TooLarge { needed }), "{at:#x}");
        }
        assert_eq!(place(MIB, &[], None), Ok(None));
    }
}

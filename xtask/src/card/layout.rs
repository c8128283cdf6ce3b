//! Where everything is on a card, and what is the same on all of them.
//!
//! ```text
//!      0      partition table
//!      8 KiB  U-Boot: the A20's and R40's boot ROM reads its first stage from here
//!      4 MiB  partition 1: FAT32, what the board starts from and what people edit
//!    196 MiB  partition 2: ext4, the node's data; grows to the end of the card
//!    260 MiB  end
//! ```

use super::BLOCK;

/// A part of the card, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From the card's start.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// Where the boot ROM looks.
pub const FIRMWARE: Extent = Extent { start: 8 << 10, size: FAT.start - (8 << 10) };
/// 4 MiB is a multiple of any card's erase block.
pub const FAT: Extent = Extent { start: 4 << 20, size: 192 << 20 };
/// The last one, so that it can grow.
pub const DATA: Extent = Extent { start: FAT.start + FAT.size, size: 64 << 20 };
/// Bytes of the image.
pub const SIZE: u64 = DATA.start + DATA.size;

/// The date of everything on a card, in seconds since 1970: 1 January 2026, midnight UTC.
pub const DATE: u32 = 1_767_225_600;
/// Name of the data partition.
pub const DATA_LABEL: &str = "jitsu-data";
/// Its UUID, 6a697473-752d-4461-b461-000000000001 ("jitsu-Da…"): one card is in a board at a time.
pub const DATA_UUID: [u8; 16] = *b"jitsu-Da\xb4\x61\0\0\0\0\0\x01";

const _: () = assert!(
    FAT.start.is_multiple_of(BLOCK) && FAT.size.is_multiple_of(BLOCK) && DATA.size.is_multiple_of(BLOCK)
);
const _: () = assert!(SIZE < 480_000_000, "a card of 512 MB has somewhat less");

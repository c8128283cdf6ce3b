//! The partition table: a master boot record, which U-Boot, Linux and every PC understand.
//!
//! U-Boot's first stage lies at 8 KiB, where the table of the newer kind (GPT) would be.

/// Bytes of a sector, the unit of the table.
pub const SECTOR: u64 = 512;

/// The disk's signature ("jits"). Linux and U-Boot name partitions after it: 6a697473-01.
pub const SIGNATURE: u32 = 0x6a69_7473;

/// Kinds of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// FAT32 with logical block addresses.
    Fat32 = 0x0c,
    /// Any file system of Linux.
    Linux = 0x83,
}

/// One partition; offsets and sizes are in bytes, multiples of [`SECTOR`], below 2 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// What is on it.
    pub kind: Kind,
    /// From the start of the card.
    pub start: u64,
    /// Of the partition.
    pub size: u64,
}

/// The partition that starts the table's part of the sector; four of 16 bytes.
const TABLE: usize = 446;

/// The first sector of a card with these partitions, four at most.
pub fn sector(partitions: &[Partition]) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    sector[440..444].copy_from_slice(&SIGNATURE.to_le_bytes());
    for (entry, partition) in sector[TABLE..TABLE + 64].chunks_exact_mut(16).zip(partitions) {
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX);
        let (first, count) = (sectors(partition.start), sectors(partition.size));
        entry[1..4].copy_from_slice(&cylinder_head_sector(first));
        entry[4] = partition.kind as u8;
        entry[5..8].copy_from_slice(&cylinder_head_sector(first + count - 1));
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&count.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// A sector's address as the first PCs counted, with the usual invented geometry of 255 heads and 63 sectors a
/// track; the largest where it does not fit.
fn cylinder_head_sector(sector: u32) -> [u8; 3] {
    let (track, within) = (sector / 63, sector % 63 + 1);
    let (cylinder, head) = (track / 255, track % 255);
    if cylinder > 1023 {
        return [254, 0xff, 0xff];
    }
    [head as u8, (within | (cylinder >> 8) << 6) as u8, (cylinder & 0xff) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_where_readers_look() {
        let mebi = |n: u64| n << 20;
        let sector = sector(&[
            Partition { kind: Kind::Fat32, start: mebi(4), size: mebi(192) },
            Partition { kind: Kind::Linux, start: mebi(196), size: mebi(64) },
        ]);
        assert_eq!(&sector[440..444], b"stij");
        let word = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().expect("four"));
        assert_eq!((sector[450], word(454), word(458)), (0x0c, 8192, 393_216));
        assert_eq!((sector[466], word(470), word(474)), (0x83, 401_408, 131_072));
        assert!(sector[478..510].iter().all(|&byte| byte == 0));
        assert_eq!(sector[510..], [0x55, 0xaa]);
    }

    #[test]
    fn old_addresses() {
        assert_eq!(cylinder_head_sector(0), [0, 1, 0]);
        assert_eq!(cylinder_head_sector(8192), [130, 3, 0]);
        assert_eq!(cylinder_head_sector(63 * 255 * 300), [0, 1 | 1 << 6, 44]);
        assert_eq!(cylinder_head_sector(u32::MAX), [254, 0xff, 0xff]);
    }
}

//! Names of partitions, and the partition table of a card's first sector. No I/O.
//!
//! A card has the partition table of the PC's master boot record: the last 66 bytes of the first sector are four
//! entries of 16 bytes and a mark, and the four bytes before those and two reserved ones are the disk's
//! signature. Signature and number together name a partition ([`PartUuid`]), whatever the disk is called.
//!
//! Everything here comes from a card that anybody may have written; nothing of it is believed unchecked.

use std::fmt;
use std::str::FromStr;

/// Bytes in a sector, as partition tables and Linux count them, whatever the disk's own sectors are.
pub const SECTOR: u64 = 512;

const SIGNATURE: usize = 440;
const ENTRIES: usize = 446;
const ENTRY_BYTES: usize = 16;
const MARK: usize = 510;
/// Offset of the length, in sectors, within an entry; its first sector is in the four bytes before.
const LENGTH: usize = 12;

/// The partition type of Linux's file systems.
const TYPE_LINUX: u8 = 0x83;

/// The number of the data partition.
pub const DATA: u8 = 2;

/// What a card's end is rounded down to, in sectors: 1 MiB, as the image aligns its partitions.
const ALIGNMENT: u64 = (1 << 20) / SECTOR;

/// What Linux calls PARTUUID for a disk with a master boot record (`block/partitions/msdos.c`): the disk's
/// signature and the partition's number, as in `6a697473-01`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PartUuid {
    /// The disk's signature.
    pub disk: u32,
    /// The partition's number, 1..=4: a card has no logical partitions.
    pub number: u8,
}

/// Not of the form `6a697473-01`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a partition is named by eight hexadecimal digits, a hyphen and 01 to 04, as in 6a697473-01")]
pub struct NotAPartUuid;

impl FromStr for PartUuid {
    type Err = NotAPartUuid;

    fn from_str(text: &str) -> Result<Self, NotAPartUuid> {
        let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (disk, number) = text.split_once('-').ok_or(NotAPartUuid)?;
        if disk.len() != 8 || number.len() != 2 || !hexadecimal(disk) || !hexadecimal(number) {
            return Err(NotAPartUuid);
        }
        let disk = u32::from_str_radix(disk, 16).map_err(|_| NotAPartUuid)?;
        let number = u8::from_str_radix(number, 16).map_err(|_| NotAPartUuid)?;
        (1..=4).contains(&number).then_some(PartUuid { disk, number }).ok_or(NotAPartUuid)
    }
}

impl fmt::Display for PartUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:02x}", self.disk, self.number)
    }
}

/// A disk's first sector.
#[derive(Clone, PartialEq, Eq)]
pub struct Table([u8; SECTOR as usize]);

/// One partition, in sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The first sector.
    pub start: u32,
    /// How many there are, never 0.
    pub length: u32,
}

impl Extent {
    fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.length)
    }
}

/// Why a partition is left at its size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotGrown {
    /// Without its mark the sector is not a partition table.
    #[error("the first sector has no partition table")]
    NoTable,
    /// The data partition is not what the image made.
    #[error("partition {DATA} is not one for Linux")]
    NotOurs,
    /// Some partition lies behind it or shares sectors with it, or with the table itself.
    #[error("partition {DATA} is not the last one, or partitions overlap")]
    NotLast,
    /// An entry reaches beyond the disk.
    #[error("the partition table is for a larger disk")]
    TooSmall,
}

impl Table {
    /// Takes a disk's first sector.
    pub fn new(sector: [u8; SECTOR as usize]) -> Self {
        Table(sector)
    }

    /// The sector's bytes.
    pub fn sector(&self) -> &[u8; SECTOR as usize] {
        &self.0
    }

    fn is_marked(&self) -> bool {
        self.0[MARK..] == [0x55, 0xaa]
    }

    /// The disk's signature; `None` when there is no partition table.
    pub fn disk(&self) -> Option<u32> {
        self.is_marked().then(|| self.word(SIGNATURE))
    }

    fn word(&self, offset: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.0[offset..offset + 4]);
        u32::from_le_bytes(word)
    }

    /// Where the entry of partition `number`, 1..=4, begins.
    fn entry(number: u8) -> usize {
        ENTRIES + (usize::from(number) - 1) * ENTRY_BYTES
    }

    /// Partition `number`; `None` for an unused entry.
    ///
    /// # Panics
    /// If the number is not in 1..=4.
    pub fn partition(&self, number: u8) -> Option<Extent> {
        let entry = Self::entry(number);
        let extent = Extent { start: self.word(entry + LENGTH - 4), length: self.word(entry + LENGTH) };
        (self.0[entry + 4] != 0 && extent.length != 0).then_some(extent)
    }

    /// The table in which the data partition reaches the end of a disk of `disk` sectors; `None` when it does
    /// already, but for less than the alignment.
    ///
    /// Sectors beyond 2³² (2 TiB) cannot be expressed and stay unused.
    ///
    /// # Errors
    /// When the table is not one whose last partition may be made longer without harm to anything.
    pub fn grown(&self, disk: u64) -> Result<Option<Table>, NotGrown> {
        if !self.is_marked() {
            return Err(NotGrown::NoTable);
        }
        let data = self.partition(DATA).ok_or(NotGrown::NotOurs)?;
        if self.0[Self::entry(DATA) + 4] != TYPE_LINUX {
            return Err(NotGrown::NotOurs);
        }
        let mut extents: Vec<Extent> = (1..=4).filter_map(|number| self.partition(number)).collect();
        extents.sort_by_key(|extent| extent.start);
        let mut free = 1; // Sector 0 is the table.
        for extent in &extents {
            if u64::from(extent.start) < free {
                return Err(NotGrown::NotLast);
            }
            free = extent.end();
        }
        if extents.last() != Some(&data) {
            return Err(NotGrown::NotLast);
        }
        if data.end() > disk {
            return Err(NotGrown::TooSmall);
        }
        let end = (disk - disk % ALIGNMENT).min(u64::from(u32::MAX));
        let length = end.saturating_sub(u64::from(data.start)) as u32;
        if length <= data.length {
            return Ok(None);
        }
        let mut grown = self.clone();
        let field = Self::entry(DATA) + LENGTH;
        // Nothing but the length changes: start and end in cylinders, heads and sectors are what firmware of the
        // last century looks at, and for disks of today they are at their largest values anyhow.
        grown.0[field..field + 4].copy_from_slice(&length.to_le_bytes());
        Ok(Some(grown))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions: Vec<_> = (1..=4).map(|number| self.partition(number)).collect();
        f.debug_struct("Table").field("disk", &self.disk()).field("partitions", &partitions).finish()
    }
}

#[cfg(test)]
mod tests;
